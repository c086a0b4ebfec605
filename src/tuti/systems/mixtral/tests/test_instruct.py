"""Base, then sft: a folder of experts in Mixtral's Instruct format, which transformers reads as it stands."""

import dataclasses
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuti.infer import Sampling, generate, load_model
from tuti.nn import load_decoder
from tuti.run import read_events
from tuti.systems.finetune.sft import Sft, sft
from tuti.systems.mixtral.train import Experts, tiny, train
from tuti.systems.spark.pack import Pack, pack
from tuti.systems.spark.prepare import Prepare, prepare
from tuti.systems.transformer.tests.grammar import write_corpus
from tuti.systems.transformer.tests.small import go
from tuti.systems.transformer.tokenizer import TokenizerConfig, tokenizer
from tuti.text.chat import TEMPLATES

CHAT = [{"role": "user", "content": "What is da?"}]


def test_experts_learn_to_answer_in_mixtrals_format(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", size=80_000)
    clean = go(tmp_path / "clean", prepare, Prepare(source=(tmp_path / "corpus",), genre="any")).folder
    words = TokenizerConfig(words=clean, vocab=400, template="mixtral")
    words = go(tmp_path / "words", tokenizer, words).folder
    packed = go(tmp_path / "pack", pack, Pack(documents=clean, tokenizer=words)).folder
    sizes = {"width": 48, "layers": 2, "hidden": 64, "rows": 4, "steps": 12, "every": 6}
    small = dataclasses.replace(tiny(), tokens=packed, model=Experts(experts=4), **sizes)
    base = go(tmp_path / "base", train, small).folder
    lessons = Sft(base, clean, packed, context=128, rows=4, steps=30, every=15, held_out=8)
    tuned = go(tmp_path / "tuned", sft, lessons)
    losses = [event["loss"] for event in read_events(tuned.folder, "step")]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    folder = tuned.folder / "artifacts" / "model"
    assert json.loads((folder / "config.json").read_text())["model_type"] == "mixtral"
    assert (folder / "chat_template.jinja").read_text() == TEMPLATES["mixtral"]
    loaded = load_model(tuned.folder)
    assert loaded.template is not None and loaded.ends == (loaded.tokenizer.end,)
    prompt = loaded.template.render(CHAT, add_generation_prompt=True)
    assert list(generate(loaded.model, loaded.tokenizer, prompt.ids, Sampling(max_tokens=8, seed=1)))
    theirs = AutoTokenizer.from_pretrained(folder)
    assert theirs.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) == prompt.text
    ids = torch.tensor([prompt.ids])
    with torch.no_grad():
        ours, peer = load_decoder(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
        torch.testing.assert_close(ours.logits(ours(ids)), peer(ids).logits, atol=1e-4, rtol=0)
