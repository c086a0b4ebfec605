"""A model small enough for tests that has learnt one Persian sentence by heart, byte by byte."""

from pathlib import Path

import torch

from tuti.nn import Decoder, DecoderConfig, nll, save_decoder
from tuti.run import Run, RunOptions
from tuti.text import ChatTemplate, Tokenizer

SENTENCE = "طوطی شکر می‌خورد و سخن می‌گوید."
QUESTION = "چه می‌کند؟"
CONTEXT = 256


def save_parrot(folder: Path, *, chat: bool = True) -> Path:
    """The run `folder`; asked anything like `QUESTION`, its model says `SENTENCE` and stops."""
    tokenizer = Tokenizer.from_merges([])  # every Persian letter is two tokens
    template = ChatTemplate.default(tokenizer)
    config = DecoderConfig(tokenizer.vocab_size, 48, 2, 4, 2, 12, 96, CONTEXT)
    model = Decoder(config, torch.Generator().manual_seed(0))
    asked = {"role": "user", "content": QUESTION}
    turns = [asked, {"role": "assistant", "content": SENTENCE}]
    ids = torch.tensor([template.render(turns).ids, template.render([*turns]).ids])
    ids[1, : len(ids[1]) // 4] = 1  # what comes before matters little
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        (nll(model, ids[:, :-1], ids[:, 1:]) / ids.numel()).backward()
        optimiser.step()
    run = Run(folder, RunOptions())
    with run.save("model", "LanguageModel", chat=chat, template=template.hash) as made:
        save_decoder(model, made)
        template.save(made)
    return folder
