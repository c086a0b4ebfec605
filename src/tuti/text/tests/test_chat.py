import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import UserError
from tuti.text import ChatTemplate, Tokenizer, sandbox
from tuti.text.backend import SPECIALS
from tuti.text.chat import Rendered
from tuti.text.sandbox import render_template
from tuti.text.tests.sample import tokenizer
from tuti.text.tests.test_tokenizer import llama

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|system|>\nYou are a parrot.<|end|>\n' }}{% endif %}"
    "{{'<|' + message['role'] + '|>\n' + message['content'] + '<|end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "سلام، who are you?"},
    {"role": "assistant", "content": "I am a طوطی."},
    {"role": "user", "content": "  Count: 12\n"},
    {"role": "assistant", "content": "1, 2"},
]
CONTENT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.lists(
    st.sampled_from([*SPECIALS, "<", "|end|>", "\n", " ", "x", "\u200b"]), max_size=6
).map("".join)
DIALOGUES = st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), max_size=5).flatmap(
    lambda roles: st.tuples(*[CONTENT] * (len(roles) + 1)).map(
        lambda contents: [
            {"role": role, "content": content}
            for role, content in zip(["user", *roles], contents, strict=True)
        ]
    )
)


def template() -> ChatTemplate:
    return ChatTemplate.default(tokenizer())


def said(rendered: Rendered) -> list[int]:
    return [i for i, mine in zip(rendered.ids, rendered.mask, strict=True) if mine]


def test_default_text_mask_and_stops() -> None:
    found = template().render(CHAT[:3], add_generation_prompt=True)
    assert found.text == (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nسلام، who are you?<|end|>\n"
        "<|assistant|>\nI am a طوطی.<|end|>\n<|assistant|>\n"
    )
    assert tokenizer().decode(found.ids) == found.text
    end = tokenizer().special("<|end|>")
    assert said(found) == [*tokenizer().encode("I am a طوطی."), end]
    assert template().stops == (end, tokenizer().end)


def test_mixtrals_instruct_format() -> None:
    """As its model card writes it: begin, then [INST] … [/INST] answer end, turn by turn."""
    made = ChatTemplate.default(tokenizer(), "mixtral")
    chat = [
        {"role": "user", "content": "Instruction"}, {"role": "assistant", "content": "Model answer"},
        {"role": "user", "content": "Follow-up instruction"},
    ]
    found = made.render(chat, add_generation_prompt=True)
    card = "<s> [INST] Instruction [/INST] Model answer</s> [INST] Follow-up instruction [/INST]"
    end = "<|endoftext|>"
    assert found.text == card.replace("<s>", end).replace("</s>", end)
    assert said(found) == [*tokenizer().encode(" Model answer"), tokenizer().end]
    assert made.stops == (tokenizer().end,)
    told = made.render([{"role": "system", "content": "Be brief."}, chat[0]]).text
    assert told == f"{end} [INST] Be brief.\n\nInstruction [/INST]"


def test_stop_token_is_trained_in_every_turn() -> None:
    found = template().render(CHAT)
    assert tokenizer().decode(said(found)) == "I am a طوطی.<|end|>1, 2<|end|>"
    assert said(found).count(template().stops[0]) == 2
    assert not any(template().render(CHAT[:2]).mask)


@pytest.mark.parametrize("source", [None, CHATML])
def test_ids_equal_transformers(tmp_path: Path, source: str | None) -> None:
    from transformers import AutoTokenizer

    ours = template() if source is None else ChatTemplate(tokenizer(), source)
    ours.save(tmp_path)
    peer = AutoTokenizer.from_pretrained(tmp_path)
    for chat in (CHAT, CHAT[1:], CHAT[:2], CHAT[1:2], [{"role": "tool", "content": "{}"}]):
        for prompt in (False, True):
            theirs = peer.apply_chat_template(
                chat, tokenize=True, return_dict=False, add_generation_prompt=prompt
            )
            assert ours.render(chat, add_generation_prompt=prompt).ids == theirs
    again = ChatTemplate.load(tmp_path)
    assert again.hash == ours.hash and again.source == ours.source and again.stops == ours.stops


@settings(max_examples=80, deadline=None)
@given(DIALOGUES)
def test_turns_cannot_be_forged_and_prompts_begin_what_is_trained(
    chat: list[dict[str, str]],
) -> None:
    found = template().render(chat)
    special = set(tokenizer().specials.values())
    controls = [i for i in found.ids if i in special]
    wanted = [
        tokenizer().special(name)
        for message in chat
        for name in (f"<|{message['role']}|>", "<|end|>")
    ]
    assert controls == wanted
    assert found.text.replace("\u200b", "") == "".join(
        f"<|{m['role']}|>\n{m['content']}<|end|>\n" for m in chat
    ).replace("\u200b", "")
    assert tokenizer().decode(found.ids) == found.text
    end = tokenizer().special("<|end|>")
    assert said(found).count(end) == sum(m["role"] == "assistant" for m in chat)
    for i, message in enumerate(chat):
        if message["role"] == "assistant":
            prompt = template().render(chat[:i], add_generation_prompt=True).ids
            answer = tokenizer().encode(template().neutralise(message["content"]))
            whole = [*prompt, *answer, end]
            assert found.ids[: len(whole)] == whole
            assert all(found.mask[len(prompt) : len(whole)]) and not found.mask[len(prompt) - 1]


def test_hash_depends_on_template_and_tokenizer() -> None:
    other = ChatTemplate.default(Tokenizer.from_merges([]))
    assert len({template().hash, ChatTemplate(tokenizer(), CHATML).hash, other.hash}) == 3


def test_template_in_tokenizer_config(tmp_path: Path) -> None:
    tokenizer().save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    for found in (
        CHATML,
        [{"name": "tools", "template": "x"}, {"name": "default", "template": CHATML}],
    ):
        path.write_text(json.dumps(config | {"chat_template": found}))
        assert ChatTemplate.load(tmp_path).source == CHATML
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="no chat template"):
        ChatTemplate.load(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not readable"):
        ChatTemplate.load(tmp_path)


def test_sentencepiece_ids_and_mask(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    llama(tmp_path)
    source = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content ~ eos_token }}{% endgeneration %}{% else %}{{ '<' ~ m.content ~ '>' }}{% endif %}"
        "{% endfor %}"
    )
    (tmp_path / "chat_template.jinja").write_text(source)
    ours = ChatTemplate.load(tmp_path)
    chat = [
        {"role": r, "content": c}
        for r, c in (("user", "a </s>"), ("assistant", "sol a"), ("user", "b"))
    ]
    found = ours.render(chat)
    assert ours.tokenizer.decode(said(found)).strip() == "sol a</s>"
    assert found.ids.count(2) == 1 and ours.stops == (2,)
    ours.save(tmp_path / "copy")
    peer = AutoTokenizer.from_pretrained(tmp_path / "copy")
    plain = [m | {"content": m["content"].replace(" </s>", "")} for m in chat]
    assert ours.render(plain).ids == peer.apply_chat_template(
        plain, tokenize=True, return_dict=False
    )


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ([], "must begin"),
        ([{"role": "assistant", "content": "x"}], "must begin"),
        (
            [{"role": "user", "content": "x"}, {"role": "king", "content": "x"}],
            "message 1 has the role",
        ),
        ([{"role": "user"}], "message 0 has content of type NoneType"),
        ([{"role": "user", "content": [{"type": "text"}]}], "type list"),
        (["hello"], "message 0"),
    ],
)
def test_bad_messages(chat: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as found:
        template().render(chat)
    assert "hint:" in str(found.value)


TURN = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no') }}",
        "{% for m in messages",
        "{{ undefined_function() }}",
        "{% include '/etc/passwd' %}",
        "x" * 2**20,
        "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
        "{{ 'a'" + "|upper" * 20_000 + " }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set xs = [1] * 40 %}{% for x in xs recursive %}{{ loop(xs) }}{% endfor %}",
        "{% set ns = namespace(s='aa') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='aa') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='aa') %}{% for i in range(99) %}"
        "{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
        "{{ 'a' * 10**10 }}",
        "{{ 10**10**10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'a'.center(10**10) }}",
        "{{ 'a'['center'](10**10) }}",
        "{{ 'a'|center(10**10) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'].x }}",
        "{{ ''|attr('__class__') }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    ],
)
def test_hostile_templates(source: str) -> None:
    start = time.process_time()
    with pytest.raises(UserError, match="hint:"):
        ChatTemplate(tokenizer(), TURN + source)
    assert time.process_time() - start < 5
    assert template().render(CHAT[:1]).text == "<|system|>\nBe brief.<|end|>\n"  # the next is not harmed


def test_an_answer_that_was_not_waited_for_is_not_the_next_ones() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            loop = "{% for a in range(99999) %}"
            render_template(loop + loop + "{% endfor %}{% endfor %}late", {})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert render_template("{{ 1 + 1 }}", {}) == "2"


def test_templates_render_under_a_limit_of_the_machines_own() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (600, 600));"
        "from tuti.text.sandbox import render_template; print(render_template('{{ 1 + 1 }}', {}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_what_does_not_start_is_no_fault_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.sys, "executable", "/bin/false")
    sandbox._process.cache_clear()
    with pytest.raises(UserError, match="does not start"):
        render_template("x", {})
    monkeypatch.undo()
    assert render_template("x", {}) == "x"


def test_threads_get_their_own_answers() -> None:
    def ask(n: int) -> str:
        return render_template("{{ n }}", {"n": n})

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(200))) == [str(n) for n in range(200)]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "without a special token"),
        ("{{ messages|length }}" + TURN, "anew"),
        ("{% for m in messages[-1:] %}{{ m.content }}<|end|>{% endfor %}", "anew"),
    ],
)
def test_templates_that_cannot_be_trained(source: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        ChatTemplate(tokenizer(), source)


def test_what_real_templates_use() -> None:
    source = (
        "{%- set ns = namespace(seen=false) -%}{%- for m in messages -%}"
        "{%- if m['role'] == 'system' and not ns.seen -%}{%- set ns.seen = true -%}"
        "{%- continue -%}{%- endif -%}"
        "{{ '<|' ~ m.role.strip().upper()|lower ~ '|>' }}{{ m.content | trim | replace('x', 'y') }}"
        "{{ [1, m.role] | tojson }}{{ {'é': 1} | tojson(False, 1) }}"
        "{{ ['a', 'b'] | join('-') }}{{ 'a,b'.split(',')[-1] }}"
        "{%- if tools is not none and strftime_now is defined -%}never{%- endif -%}{{ '<|end|>' }}"
        "{%- endfor -%}{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
    )
    found = ChatTemplate(tokenizer(), source).render(CHAT[:2])
    told = '[1, "user"]{\n "é": 1\n}a-bb<|end|>'
    assert found.text == "<|user|>سلام، who are you?" + told


def test_a_long_message_is_no_attack() -> None:
    long = "word " * 100_000
    found = template().render([{"role": "user", "content": long}])
    assert len(found.text) == len(long) + len("<|user|>\n<|end|>\n")
