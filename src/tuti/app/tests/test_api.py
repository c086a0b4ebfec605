"""The API over real sockets: the official client, lm-eval, hostile input, clients that hang up."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
import uvicorn

from tuti.app.api import create_app
from tuti.app.serve import apart, listen
from tuti.app.tests.parrot import CONTEXT, QUESTION, SENTENCE, save_parrot
from tuti.infer import LoadedModel, load_model
from tuti.nn import load_decoder, token_nll
from tuti.run import UserError

ASKED: Any = [{"role": "user", "content": QUESTION}]


@dataclass
class Server:
    port: int
    models: list[LoadedModel]
    http: httpx.Client
    client: openai.OpenAI

    @property
    def folder(self) -> Path:
        return self.models[0].folder

    def metric(self, name: str, model: str = "parrot") -> float:
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith(f'{name}{{model="{model}"}} '):
                return float(line.rpartition(" ")[2])
        raise AssertionError(name)


@contextmanager
def serving(models: list[LoadedModel], **options: Any) -> Iterator[Server]:
    listening = listen("127.0.0.1", 0)
    app = create_app(models, **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = listening.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0, timeout=30)
    with httpx.Client(base_url=url, timeout=30) as http, client:
        yield Server(port, models, http, client)
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = save_parrot(tmp_path_factory.mktemp("runs") / "parrot")
    parrot = load_model(folder)
    models = [parrot, replace(load_model(folder), name="base", template=None)]
    with serving(models, slots=4, waiting=70) as made:
        yield made


def test_what_loads_the_models_has_ended_before_they_answer() -> None:
    loader = apart(threading.current_thread)
    assert loader is not threading.current_thread() and not loader.is_alive()
    with pytest.raises(UserError, match="no model"):
        apart(lambda: load_model("no model"))


def test_the_models_are_listed(server: Server) -> None:
    listed = list(server.client.models.list())
    assert [one.id for one in listed] == ["parrot", "base"]
    assert server.client.models.retrieve("base").id == "base"
    assert server.http.get("/health").json() == {"status": "ok", "models": ["parrot", "base"]}


def test_a_chat_is_answered_whole_and_streamed_without_broken_characters(server: Server) -> None:
    whole = server.client.chat.completions.create(model="parrot", messages=ASKED, temperature=0)
    assert whole.choices[0].message.content == SENTENCE
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == len(SENTENCE.encode()) + 1  # bytes, and the end
    pieces: list[str] = []
    told = None
    for chunk in server.client.chat.completions.create(
        model="parrot",
        messages=ASKED,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ):
        told = chunk.usage or told
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(pieces) == SENTENCE and len(pieces) > len(SENTENCE)
    assert "\ufffd" not in "".join(pieces)
    assert told == whole.usage


def test_persian_cut_by_max_tokens_loses_only_half_a_letter(server: Server) -> None:
    answer = server.client.chat.completions.create(
        model="parrot", messages=ASKED, temperature=0, max_completion_tokens=5
    )
    assert answer.choices[0].message.content == SENTENCE[:2]
    assert answer.choices[0].finish_reason == "length"


def test_stop_strings_end_an_answer_and_never_show(server: Server) -> None:
    for stop in ("می‌خورد", ["گوید", "شکر می", "z"]):
        stream = server.client.chat.completions.create(
            model="parrot", messages=ASKED, temperature=0, stop=stop, stream=True
        )
        chunks = [chunk.choices[0] for chunk in stream]
        first = stop if isinstance(stop, str) else stop[1]
        assert "".join(c.delta.content or "" for c in chunks) == SENTENCE[: SENTENCE.index(first)]
        assert chunks[-1].finish_reason == "stop"


def test_seeds_n_and_logprobs_in_chat(server: Server) -> None:
    def ask(**more: Any) -> Any:
        return server.client.chat.completions.create(
            model="parrot", messages=ASKED, temperature=1.5, max_tokens=30, **more
        )

    three = ask(n=3, seed=5, logprobs=True, top_logprobs=3)
    texts = [choice.message.content for choice in three.choices]
    assert [choice.index for choice in three.choices] == [0, 1, 2] and len(set(texts)) == 3
    assert [c.message.content for c in ask(n=3, seed=5).choices] == texts
    assert ask(seed=6).choices[0].message.content == texts[1]  # the i-th choice has seed + i
    for choice in three.choices:
        said = choice.logprobs.content
        spelt = b"".join(bytes(token.bytes) for token in said)
        assert spelt.decode("utf-8", "replace").startswith(choice.message.content[:-1])
        for token in said:
            assert len(token.top_logprobs) == 3 and token.logprob <= token.top_logprobs[0].logprob


def test_completions_echo_prompts_of_every_kind_and_logprobs(server: Server) -> None:
    def complete(prompt: Any, **more: Any) -> Any:
        more = {"max_tokens": 4, "temperature": 0, "model": "base"} | more
        return server.client.completions.create(prompt=prompt, **more)

    tokenizer = server.models[1].tokenizer
    ids = tokenizer.encode("طوطی")
    by_text, by_ids = complete("طوطی"), complete(ids)
    assert by_text.choices[0].text == by_ids.choices[0].text
    many = complete(["طوطی", "b"], n=2, seed=1, temperature=1)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    assert many.usage.prompt_tokens == len(ids) + 1
    assert len(complete([ids, [3], [4, 5]]).choices) == 3
    echoed = complete(ids, echo=True, logprobs=2).choices[0]
    assert echoed.text.startswith("طوطی")
    judged = echoed.logprobs
    assert len(judged.tokens) == len(ids) + 4
    assert judged.token_logprobs[0] is None and judged.top_logprobs[0] is None
    assert judged.tokens[0] == "bytes:\\xd8" and judged.text_offset[:2] == [0, 10]
    assert all(len(top) in (2, 3) for top in judged.top_logprobs[1:])
    scored = complete(ids, echo=True, logprobs=0, max_tokens=0).choices[0]
    assert scored.text == "طوطی" and scored.finish_reason == "length"
    assert scored.logprobs.token_logprobs == judged.token_logprobs[: len(ids)]
    assert complete("").choices[0].text is not None
    pieces = complete("طوطی", echo=True, stream=True, n=2)
    texts = ["", ""]
    for chunk in pieces:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [complete("طوطی", echo=True).choices[0].text] * 2


UNSUPPORTED: dict[str, Any] = {
    "logit_bias": {"1": 3},
    "functions": [{"name": "f"}],
    "suffix": "x",
    "best_of": 2,
    "guided_json": {},
    "guided_regex": "a",
    "guided_choice": ["a"],
    "guided_grammar": "a",
}


def test_errors_are_openais_with_a_hint(server: Server) -> None:
    client = server.client
    with pytest.raises(openai.NotFoundError, match="served here: parrot, base"):
        client.chat.completions.create(model="gpt-4", messages=ASKED)
    with pytest.raises(openai.BadRequestError, match="hint: use /v1/completions"):
        client.chat.completions.create(model="base", messages=ASKED)
    wrongs: list[dict[str, Any]] = [
        {"max_tokens": -1},
        {"temperature": -0.1},
        {"top_p": 1.1},
        {"n": 0},
        {"n": 17},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"logprobs": True, "top_logprobs": 21},
        {"frequency_penalty": 2.1},
        {"logit_bias": {"1": 3}},
        {"tools": [{"type": "function", "function": {"name": "no name"}}]},
        {"messages": []},
        {"messages": [{"role": "pirate", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    ]
    for wrong in wrongs:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**({"model": "parrot", "messages": ASKED} | wrong))
        assert caught.value.body["message"], wrong  # type: ignore[index]
    for name, value in UNSUPPORTED.items():
        with pytest.raises(openai.BadRequestError, match=name):
            client.chat.completions.create(model="parrot", messages=ASKED, extra_body={name: value})
        with pytest.raises(openai.BadRequestError, match=name):
            client.completions.create(model="base", prompt="a", extra_body={name: value})
    nothing = {"logit_bias": {}, "functions": [], "suffix": "", "best_of": 1, "guided_json": None}
    assert client.completions.create(model="base", prompt="a", max_tokens=1, extra_body=nothing).choices
    for few in (["a"] * 65, [[1]] * 65):
        with pytest.raises(openai.BadRequestError, match="65 prompts.*\n?.*at most 64"):
            client.completions.create(model="base", prompt=few)  # type: ignore[arg-type]
    for stop, said in ((["a"] * 5, "at most 4"), ("a" * 257, "at most 256"), (["a" * 257], "at most 256")):
        with pytest.raises(openai.BadRequestError, match=f"stop.* {said}"):
            client.completions.create(model="base", prompt="a", stop=stop)
    for prompt in ([10**6], [[1], []], [], "a" * 10**6, [-1], [[1], "b"]):
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model="base", prompt=prompt)  # type: ignore[arg-type]
    assert server.metric("tuti_running") == 0


def test_bad_bodies_end_in_errors_and_nothing_breaks(server: Server) -> None:
    http = server.http
    url = "/v1/completions"
    deep = b'{"model": "base", "prompt": ' + b"[" * 100_000
    bodies = [b"", b"{", b"[]", b"null", b'{"model": 3}', b"\xff\xfe", deep, b'{"a":' * 5000]
    bodies.append(b'{"model": "base", "prompt": "x", "temperature": NaN}')
    bodies.append(b'{"model": "base", "prompt": "x", "seed": ' + b"9" * 5000 + b"}")
    bodies.append(b'{"model": "\\ud800", "prompt": "x"}')
    for body in bodies:
        answer = http.post(url, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 404), (body[:40], answer.text)
        assert answer.json()["error"]["message"], body[:40]
    lone = b'{"model": "base", "prompt": "\\ud800 x", "echo": true, "max_tokens": 1}'
    kind = {"content-type": "application/json"}
    lone_answer = http.post(url, content=lone, headers=kind).json()
    assert lone_answer["choices"][0]["text"].startswith("? x")
    unnamed = http.post(url, content=lone).json()["error"]["message"]
    assert "Content-Type: application/json" in unnamed
    large = http.post(url, content=b" " * (2 * 2**20 + 1))
    assert large.status_code == 413 and "hint" in large.json()["error"]["message"]
    chunked = http.post(url, content=(b" " * 2**16 for _ in range(33)))
    assert chunked.status_code == 413
    assert http.get("/v1/nothing").json()["error"]["message"]
    assert http.get(url).status_code == 405
    assert http.post(url, json={"model": "base", "prompt": "x"}).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_slots_within_a_second(
    server: Server, stream: bool
) -> None:
    """Raw sockets, closed amid eight answers on four slots, none of which can end by itself."""
    body = {"model": "base", "prompt": "x", "max_tokens": 10**6, "temperature": 2, "n": 8}
    endless = {"structured_outputs": {"regex": "[a-z]{9999}"}}
    content = json.dumps(body | endless | {"stream": stream}).encode()
    before = server.metric("tuti_cancelled_total", "base")
    one = server.models[1].model
    slow = type(one).__call__

    def crawl(self: Any, *given: Any, **named: Any) -> Any:
        time.sleep(0.02)  # a model so small would be done before the client has left
        return slow(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(one), "__call__", crawl)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
            connection.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + content)
            deadline = time.monotonic() + 5
            while server.metric("tuti_running", "base") != 4:
                assert time.monotonic() < deadline
        left = time.monotonic()
        while server.metric("tuti_running", "base") or server.metric("tuti_waiting", "base"):
            assert time.monotonic() < left + 1
            time.sleep(0.01)
    assert server.metric("tuti_cancelled_total", "base") == before + 8


def test_a_full_queue_answers_429_with_retry_after(server: Server) -> None:
    with serving([server.models[0]], slots=1, waiting=16) as client:
        body = {"model": "parrot", "prompt": "x", "max_tokens": 200, "temperature": 2, "n": 16}
        with client.http.stream("POST", "/v1/completions", json=body | {"stream": True}):
            answer = client.http.post("/v1/completions", json=body)
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["type"] == "rate_limit_error"
            with pytest.raises(openai.RateLimitError):
                client.client.completions.create(**body)
        deadline = time.monotonic() + 5  # what was submitted of it has been taken back
        while client.metric("tuti_running") or client.metric("tuti_waiting"):
            assert time.monotonic() < deadline
        assert client.http.post("/v1/completions", json=body | {"n": 1}).status_code == 200


def test_more_answers_than_may_ever_wait_are_refused_for_good(server: Server) -> None:
    with serving([server.models[0]], slots=1, waiting=3) as client:
        answer = client.http.post("/v1/completions", json={"model": "parrot", "prompt": "x", "n": 4})
        assert answer.status_code == 400
        assert "4 answers at once, 3 at most" in answer.json()["error"]["message"]
        body = {"model": "parrot", "prompt": "x", "n": 3, "max_tokens": 1}
        assert len(client.http.post("/v1/completions", json=body).json()["choices"]) == 3


def test_only_known_hosts_and_own_pages_may_ask(server: Server) -> None:
    http = server.http
    for host in ("localhost", f"127.0.0.1:{server.port}", "[::1]:1", "LOCALHOST:80"):
        assert http.get("/health", headers={"host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""):
        assert http.get("/health", headers={"host": host}).status_code == 403
    refused = http.get("/health", headers={"host": "192.168.1.5:8000"})
    assert refused.status_code == 403 and "--names 192.168.1.5" in refused.json()["error"]["message"]
    own = f"http://127.0.0.1:{server.port}"
    assert http.get("/health", headers={"origin": own}).status_code == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        answer = http.get("/v1/models", headers={"origin": origin})
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "foreign_origin"


def test_a_token_is_asked_for_and_a_browser_keeps_it(server: Server) -> None:
    with serving([server.models[0]], names=["parrot.example"], token="sesame") as client:
        http = client.http
        assert http.get("/health").status_code == 401
        assert http.get("/health", headers={"host": "parrot.example"}).status_code == 401
        for wrong in ("Bearer no", "Basic sesame", "Bearer sésame".encode()):
            assert http.get("/health", headers={"authorization": wrong}).status_code == 401
        right = {"authorization": "Bearer sesame"}
        assert http.get("/health", headers=right).status_code == 200
        with pytest.raises(openai.AuthenticationError):
            client.client.models.list()
        came = http.get("/health?token=sesame")
        assert came.status_code == 303 and came.headers["location"] == "/health"
        cookie = came.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert http.get("/health", headers={"cookie": cookie.split(";")[0]}).status_code == 200


def test_a_port_in_use_is_said_so(server: Server) -> None:
    with pytest.raises(UserError, match=rf"(?s)port {server.port}.*hint: --port"):
        listen("127.0.0.1", server.port)


def test_lm_eval_finds_the_log_likelihoods_that_we_compute(server: Server) -> None:
    """200 continuations through lm-eval's local-completions, token ids and batches, ≤ 1e-4 each."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    lm = LocalCompletionsAPI(
        model="base",
        tokenizer=str(server.folder),
        base_url=f"http://127.0.0.1:{server.port}/v1/completions",
        tokenizer_backend="huggingface",
        batch_size=16,
        max_length=CONTEXT,
    )
    words = (SENTENCE + " The parrot eats sugar 12.").split()
    pairs = [
        (" ".join(words[i % 7 : i % 7 + 1 + i % 5]), " " + " ".join(words[i % 9 :][: 1 + i % 4]))
        for i in range(200)
    ]
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i)
        for i, pair in enumerate(pairs)
    ]
    found = lm.loglikelihood(asked, disable_tqdm=True)
    tokenizer, decoder = server.models[1].tokenizer, load_decoder(server.folder)
    worst = 0.0
    for (context, continuation), (logprob, greedy) in zip(pairs, found, strict=True):
        given, whole = tokenizer.encode(context), tokenizer.encode(context + continuation)
        ids = torch.tensor([whole])
        with torch.no_grad():
            nll = token_nll(decoder, ids[:, :-1], ids[:, 1:])[0, len(given) - 1 :]
            best = decoder.logits(decoder(ids))[0, len(given) - 1 : -1].argmax(-1)
        worst = max(worst, abs(float(nll.sum()) + logprob))
        assert greedy == bool((best == ids[0, len(given) :]).all())
    assert worst <= 1e-4


def test_serve_prints_its_address_and_answers_until_interrupted(server: Server) -> None:
    """The command itself, Studio's pages beside the API."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuti", "serve", str(server.folder.parent.parent), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=server.folder,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.communicate()
        body = {"model": "parrot", "messages": ASKED, "temperature": 0}
        answer = httpx.post(f"{address}v1/chat/completions", json=body, timeout=30).json()
        assert answer["choices"][0]["message"]["content"] == SENTENCE
        assert "Tuti" in httpx.get(address, timeout=30).text
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert "Traceback" not in said
    finally:
        process.kill()
        process.wait()
