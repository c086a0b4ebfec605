"""Total tokens/s of 16 concurrent HTTP streams ÷ transformers' generate on the same 16 prompts, padded.

SmolLM2-135M, fp32, 2 threads each, greedy, up to 64 tokens an answer, an end token ends it; prompts
of 30 to 200 tokens, reading them included; tokens after an answer's end do not count. Ours is the
server in a process of its own, its clients on the same two cores. Checked first: every answer is
what transformers makes of that prompt alone. The speed of one stream by itself stands beside.
"""

import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import torch
from decode import QUESTIONS, their_ids
from harness import compare, rate, report, show
from transformers import AutoModelForCausalLM

from tuti.pipelines.base import base_folder
from tuti.text import ChatTemplate

NEW, STREAMS = 64, 16
STORY = """A merchant kept a parrot in a cage, and the bird could speak as people do. When he made ready
to travel to India he asked everyone in the house what he should bring, and he asked the parrot too. If you
meet my kin in the green woods, said the parrot, tell them that I long for them and sit here behind bars,
and ask what they would have me do. The merchant promised. Far away he saw parrots in a tree, and he gave
them the message. At once one of them trembled and fell down dead. The merchant was sorry that he had spoken,
and when he came home he told his own parrot what had happened. It trembled too, and fell, and lay still. He
wept and took it out of the cage. Then it flew up to a branch and said: her death was her answer to me."""


def prompts(template: ChatTemplate) -> tuple[list[str], list[list[int]]]:
    """16 questions of very different lengths, as text and as the ids that the model sees."""
    words = STORY.split()
    texts = [
        f"{QUESTIONS[i % 4]} {' '.join(words[: (i * 37) % 150])}".strip() for i in range(STREAMS)
    ]
    asked = [[{"role": "user", "content": text}] for text in texts]
    return texts, [template.render(one, add_generation_prompt=True).ids for one in asked]


async def stream(client: httpx.AsyncClient, model: str, text: str) -> tuple[str, int]:
    """One streamed answer and the number of its tokens."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": NEW,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    pieces: list[str] = []
    tokens = 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            pieces += [choice["delta"].get("content", "") for choice in chunk["choices"]]
            tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
    return "".join(pieces), tokens


def answers(address: str, model: str, texts: Sequence[str]) -> list[tuple[str, int]]:
    """All at once, each over a connection of its own."""

    async def ask() -> list[tuple[str, int]]:
        async with httpx.AsyncClient(base_url=address, timeout=600) as client:
            return await asyncio.gather(*(stream(client, model, text) for text in texts))

    return asyncio.run(ask())


def padded(
    model: AutoModelForCausalLM, ids: Sequence[Sequence[int]], pad: int, stops: Sequence[int]
) -> list[list[int]]:
    """The peer: one batch, padded on the left; each answer up to and with its end token."""
    longest = max(map(len, ids))
    rows = torch.tensor([[pad] * (longest - len(one)) + list(one) for one in ids])
    lengths = torch.tensor([[longest - len(one)] for one in ids])
    mask = (torch.arange(longest)[None] >= lengths).long()
    made = model.generate(
        rows,
        attention_mask=mask,
        max_new_tokens=NEW,
        do_sample=False,
        pad_token_id=pad,
        eos_token_id=list(stops),
    )
    found = []
    for row in made[:, longest:].tolist():
        end = next((i for i, token in enumerate(row) if token in stops), len(row) - 1)
        found.append(row[: end + 1])
    return found


def start(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """The server in its own process, and its address."""
    command = [sys.executable, "-m", "tuti", "serve", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    folder = base_folder("smollm2")
    template = ChatTemplate.load(folder)
    texts, ids = prompts(template)
    show(f"prompts of {min(map(len, ids))} to {max(map(len, ids))} tokens")
    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pad, stops = template.tokenizer.end, template.stops
    process, address = start(folder)
    try:
        name = httpx.get(f"{address}v1/models").json()["data"][0]["id"]
        found = answers(address, name, texts)
        peer.generation_config.eos_token_id = list(stops)
        for (text, _), one in zip(found, ids, strict=True):
            alone = their_ids(peer, one, NEW)
            wanted = template.tokenizer.decode(alone, skip_specials=True)
            assert text == wanted, (text, wanted)
        show(f"equal answers: {len(found)} of {STREAMS}")
        one_stream: list[float] = []

        def ours() -> float:
            return float(sum(count for _, count in answers(address, name, texts)))

        pairs = compare(ours, lambda: float(sum(map(len, padded(peer, ids, pad, stops)))), pairs=5)
        for _ in range(3):
            one_stream.append(rate(lambda: float(answers(address, name, texts[:1])[0][1])))
        report(
            "serve",
            pairs,
            unit="tokens/s",
            streams=STREAMS,
            one_stream={"unit": "tokens/s", "median": statistics.median(one_stream)},
        )
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
