"""Base models: where they come from, what is refused, and SmolLM2 against transformers."""

import shutil
from pathlib import Path

import pytest
import torch

from tuti.infer import Sampling, generate, load_model
from tuti.nn import load_decoder
from tuti.pipelines.base import base_folder
from tuti.run import UserError, find_artifact
from tuti.run.assets import asset_folder, fetch
from tuti.systems.finetune.tests.small import build
from tuti.text import ChatTemplate, Tokenizer

PROMPTS = (
    "What is the capital of France?", "Name three colours.", "Write a line about the sea.",
    "How many legs has a spider?", "2 + 2 =", "Tell me a joke.", "Who wrote Hamlet?", "سلام، خوبی؟",
    "Translate 'cat' into French.", "What is water made of?", "Say hello.", "def add(a, b):",
    "Give me a synonym of happy.", "Is the sun a star?", "List two fruits.", "Why is the sky blue?",
    "What day follows Monday?", "Spell 'parrot'.", "Finish: once upon a", "What do bees make?",
)  # fmt: skip
smollm2 = pytest.mark.skipif(
    not asset_folder("smollm2").exists(), reason="the asset smollm2 is not here: tuti fetch smollm2"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build(folder)
    return folder


def test_a_path_or_run_is_itself(small: Path) -> None:
    assert base_folder(small / "model") == small / "model" / "artifacts" / "model"
    inside = small / "model" / "artifacts" / "model"
    assert base_folder(str(inside)) == inside


@pytest.mark.parametrize("name", ["nonsense", "", "a/b/c", "../x/y"])
def test_what_is_no_base_is_refused_with_the_choices(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="smollm2"):
        base_folder(name or tmp_path / "nothing")


def test_a_hub_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[dict[str, object]] = []

    def unreachable(name: str, **options: object) -> str:
        asked.append(options)
        raise OSError("network is unreachable")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UserError, match="could not fetch org/name.*\n.*smollm2"):
        base_folder("org/name")
    patterns = asked[0]["allow_patterns"]
    assert isinstance(patterns, list) and "*.safetensors" in patterns
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in patterns)


def test_a_hub_model_without_template_gets_the_plain_one(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setenv("TUTI_CACHE", str(tmp_path / "cache"))
    snapshot = tmp_path / "snapshot"
    shutil.copytree(find_artifact(small / "model", "LanguageModel"), snapshot)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: str(snapshot))
    assert base_folder("org/chatty") == snapshot
    for name in ("chat_template.jinja", "tuti.json"):
        (snapshot / name).unlink()
    folder = base_folder("org/plain")
    template = ChatTemplate.load(folder)
    rendered = template.render(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    )
    assert rendered.text == "user: a\nassistant: b<|endoftext|>\n"
    assert template.stops == (template.tokenizer.end,)
    assert load_decoder(find_artifact(folder, "LanguageModel")).config.layers == 2


@smollm2
def test_smollm2_is_converted_once_and_loads_in_transformers() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = base_folder("smollm2")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert base_folder("smollm2") == folder and base_folder(folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    theirs, ours = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        load_decoder(folder),
    )
    template, tokenizer = ChatTemplate.load(folder), AutoTokenizer.from_pretrained(folder)
    for prompt in PROMPTS[:4]:
        messages = [{"role": "user", "content": prompt}]
        ids = template.render(messages, add_generation_prompt=True).ids
        found = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        assert list(found) == ids
    batch = torch.tensor([ids])
    with torch.no_grad():
        assert float((theirs(batch).logits - ours.logits(ours(batch))).abs().max()) < 1e-4


@smollm2
def test_the_gguf_file_itself_answers_as_its_folder_does() -> None:
    folder, [file] = base_folder("smollm2"), list(fetch("smollm2").glob("*.gguf"))
    packed, whole = load_model(file), load_model(folder)
    assert packed.template is not None and whole.template is not None
    same, seen = 0, 0
    for prompt in PROMPTS[:4]:
        asked = [{"role": "user", "content": prompt}]
        ids = packed.template.render(asked, add_generation_prompt=True).ids
        assert ids == whole.template.render(asked, add_generation_prompt=True).ids
        said = generate(whole.model, whole.tokenizer, ids, Sampling(temperature=0, max_tokens=16))
        text = torch.tensor([ids + [token.id for token in said]])
        caches = [one.model.cache(1, text.shape[1]).window([0], [text.shape[1]]) for one in (packed, whole)]
        pairs = zip((packed.model, whole.model), caches, strict=True)
        ours, theirs = (model.logits(model(text, cache=cache))[0] for model, cache in pairs)
        theirs, ours = (logits - logits.mean(-1, keepdim=True) for logits in (theirs, ours))
        assert float(((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max()) < 0.15
        same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        seen += len(ours)
    assert same > 0.85 * seen  # what weights are multiplied with is rounded to 8 bits


@smollm2
@pytest.mark.slow
def test_smollm2_equals_transformers_on_the_same_gguf() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, source = base_folder("smollm2"), fetch("smollm2")
    name = next(source.glob("*.gguf")).name
    theirs = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, dtype=torch.float32
    ).eval()
    ours, template = load_decoder(folder).eval(), ChatTemplate.load(folder)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    rule = Sampling(temperature=0, max_tokens=16)
    for prompt in PROMPTS:
        ids = template.render([{"role": "user", "content": prompt}], add_generation_prompt=True).ids
        batch = torch.tensor([ids])
        with torch.no_grad():
            assert float((theirs(batch).logits - ours.logits(ours(batch))).abs().max()) < 1e-4, (
                prompt
            )
            made = theirs.generate(
                batch, max_new_tokens=16, do_sample=False, eos_token_id=list(template.stops)
            )
        said = "".join(
            t.text for t in generate(ours, template.tokenizer, ids, rule, template.stops)
        )
        expected = tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True)
        assert said == expected, prompt


@smollm2
def test_the_gguf_tokenizer_needs_its_lists() -> None:
    with pytest.raises(UserError, match="GGUF"):
        Tokenizer.from_gguf({})
    assert isinstance(ChatTemplate.load(base_folder("smollm2")).tokenizer, Tokenizer)
