"""Folders that load, and folders whose parts do not belong together."""

import json
from pathlib import Path

import pytest
import torch

from tuti.infer import Sampling, generate, load_model
from tuti.infer.loading import Precision
from tuti.nn import Decoder, DecoderConfig, load_decoder, save_decoder
from tuti.run import Run, RunOptions, UserError
from tuti.text import ChatTemplate, Tokenizer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run `teacher` that holds a model with a template."""
    run = Run(tmp_path / "teacher", RunOptions())
    template = ChatTemplate.default(Tokenizer.from_merges([]))
    with run.save("model", "LanguageModel", chat=True, template=template.hash) as folder:
        config = DecoderConfig(template.tokenizer.vocab_size, 16, 1, 2, 1, 8, 32, 64)
        save_decoder(Decoder(config, torch.Generator().manual_seed(0)), folder)
        template.save(folder)
    return run.folder


def test_a_run_loads_and_answers(run: Path) -> None:
    loaded = load_model(run)
    assert (loaded.name, loaded.context) == ("teacher", 64)
    assert load_model(run / "artifacts" / "model").name == "teacher"
    assert loaded.template is not None and loaded.ends == loaded.template.stops
    prompt = loaded.template.render(
        [{"role": "user", "content": "سلام"}], add_generation_prompt=True
    )
    tokens = generate(loaded.model, loaded.tokenizer, prompt.ids, Sampling(seed=1, max_tokens=5))
    assert len(list(tokens)) == 5


def test_another_template_is_refused(run: Path) -> None:
    path = run / "artifacts" / "model" / "chat_template.jinja"
    path.write_bytes(
        path.read_bytes().replace(b"<|end|>\\n", b"<|end|> \\n")[: path.stat().st_size]
    )
    about = run / "artifacts" / "model" / "tuti.json"
    facts = json.loads(about.read_text())
    facts["files"]["chat_template.jinja"]["bytes"] = path.stat().st_size
    about.write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"(?s)chat template.*hint: restore"):
        load_model(run)


def test_a_pretrained_model_has_no_template_and_a_foreign_tokenizer_is_refused(run: Path) -> None:
    folder = run / "artifacts" / "model"
    facts = json.loads((folder / "tuti.json").read_text())
    (folder / "tuti.json").write_text(json.dumps(facts | {"chat": False}))
    loaded = load_model(run)
    assert loaded.template is None and loaded.ends == (loaded.tokenizer.end,)
    (folder / "tuti.json").unlink()
    (folder / "chat_template.jinja").unlink()
    assert load_model(folder).template is None  # a plain Hugging Face folder
    Tokenizer.from_merges([(b"a", b"b")]).save(folder)
    with pytest.raises(UserError, match="tokenizer has 265 tokens"):
        load_model(folder)


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_fewer_bits_answer_too(run: Path, bits: Precision) -> None:
    loaded = load_model(run, bits=bits)
    rule = Sampling(seed=1, max_tokens=5)
    assert len(list(generate(loaded.model, loaded.tokenizer, [1, 2, 3], rule))) == 5


@pytest.mark.parametrize("bits", [32, 8])
def test_weights_that_are_no_numbers_are_refused(run: Path, bits: Precision) -> None:
    folder = run / "artifacts" / "model"
    model = load_decoder(folder)
    with torch.no_grad():
        model.blocks[0].mlp.down.weight[3, 4] = float("nan")  # pyright: ignore
    save_decoder(model, folder)
    (folder / "tuti.json").unlink()
    with pytest.raises(UserError, match=r"(?s)blocks\.0\.mlp\.down\.weight holds NaN.*hint: "):
        load_model(folder, bits=bits)


def test_a_gguf_file_keeps_its_own_bits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)read as it stands.*hint: leave"):
        load_model(tmp_path / "m.gguf", bits=4)
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\0\0\0")
    with pytest.raises(UserError, match=r"(?s)not a whole GGUF file.*hint: "):
        load_model(tmp_path / "m.gguf")
