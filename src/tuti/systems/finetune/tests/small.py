"""A corpus, its tokens and a model so small that a whole job takes seconds; shared by tests."""

import json
import random
from pathlib import Path
from typing import Any

import torch

from tuti.data import Document, write_tokens
from tuti.nn import Decoder, DecoderConfig, save_decoder
from tuti.run import Run, RunOptions, execute
from tuti.text import ChatTemplate, Tokenizer
from tuti.text.tests.sample import count_words

COLOURS = ("red", "blue", "green", "grey", "white", "brown")
ANIMALS = ("parrot", "cat", "goat", "horse", "fish", "owl")
PLACES = ("garden", "river", "market", "desert", "city", "mountain")
PERSIAN = ("باغ", "بلبل", "شراب", "یار", "دل", "نسیم", "گل", "ساقی", "صبا")


def english(chance: random.Random) -> str:
    lines = [
        f"The {chance.choice(COLOURS)} {chance.choice(ANIMALS)} sits in the {chance.choice(PLACES)},\n"
        f"and there it waits for me till {chance.choice(('dawn', 'noon', 'night'))}."
        for _ in range(5)
    ]
    return "\n".join(lines)


def persian(chance: random.Random) -> str:
    lines = [
        f"ای {chance.choice(PERSIAN)} ز {chance.choice(PERSIAN)} و {chance.choice(PERSIAN)} بگو"
        for _ in range(8)
    ]
    return "\n".join(lines)


def play(chance: random.Random) -> str:
    names = ("ROMEO", "JULIET", "NURSE")
    turns = [
        f"**{names[n % 3]}**\nI saw the {chance.choice(ANIMALS)} run to the {chance.choice(PLACES)}."
        for n in range(7)
    ]
    return "\n\n".join(turns)


def rows(count: int, seed: int) -> list[dict[str, str]]:
    chance = random.Random(seed)
    kinds = ((english, "Latin"), (persian, "Arabic"), (play, "Latin"), (english, "Latin"))
    made = [(kinds[n % 4][0](chance), kinds[n % 4][1]) for n in range(count)]
    return [
        {"id": f"{seed}{n:06d}", "source": "s", "script": script, "text": text}
        for n, (text, script) in enumerate(made)
    ]


def chat(n: int) -> dict[str, Any]:
    colour = COLOURS[n % 6]
    asked = {"role": "user", "content": f"What is {colour}?"}
    return {"id": str(n), "messages": [asked, {"role": "assistant", "content": f"It is {colour}."}]}


def write_jsonl(path: Path, found: list[Any]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in found]
    path.write_text("".join(lines), encoding="utf-8")


def go(folder: Path, stage: Any, config: Any) -> Run:
    run = Run(folder, RunOptions(out=folder, device="cpu", threads=1, resume=True))
    folder.mkdir(parents=True, exist_ok=True)
    execute(stage, config, run)
    return run


def build(folder: Path, dialogues: int = 6) -> None:
    """folder/documents, folder/tokens and folder/model (random weights)."""
    torch.set_num_threads(1)
    parts = {"train": rows(120, 1), "valid": rows(24, 2)}
    run = Run(folder / "documents", RunOptions())
    with run.save("documents", "Documents") as target:
        for split, found in parts.items():
            write_jsonl(target / f"{split}-00.jsonl", found)
        write_jsonl(target / "dialogues-train.jsonl", [chat(n) for n in range(dialogues)])
        write_jsonl(target / "dialogues-valid.jsonl", [chat(n) for n in range(min(dialogues, 2))])
    texts = [row["text"] for row in parts["train"]]
    tokenizer = Tokenizer.train(count_words(texts), 480)
    facts = {"tokenizer": tokenizer.hash}
    with Run(folder / "tokens", RunOptions()).save("tokens", "Tokens", **facts) as target:
        for split, found in parts.items():
            encoded = [
                Document(
                    [tokenizer.end, *tokenizer.encode(row["text"])],
                    len(row["text"].encode()),
                    row["script"],
                )
                for row in found
            ]
            write_tokens(target, split, encoded, vocab=tokenizer.vocab_size)
        tokenizer.save(target)
        ChatTemplate.default(tokenizer).save(target)
    shape = DecoderConfig(tokenizer.vocab_size, 48, 2, 4, 2, 12, 96, 128)
    model = Decoder(shape, torch.Generator().manual_seed(0))
    template = ChatTemplate.default(tokenizer)
    with Run(folder / "model", RunOptions()).save("model", "LanguageModel", chat=False) as target:
        save_decoder(model, target)
        template.save(target)
