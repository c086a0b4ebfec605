"""Models that say one text by heart, once or for ever, without any training: for tests of pages."""

from pathlib import Path

import torch

from tuti.nn import Decoder, DecoderConfig, save_decoder
from tuti.run import Run, RunOptions
from tuti.text import ChatTemplate, Tokenizer
from tuti.text.tests.sample import count_words

PERSIAN = " سلام دوست باغ طوطی قفس کتاب می\u200cخواند چای ماه شب خانه"
ENGLISH = " hello friend garden parrot cage book reads tea moon night house"
HOSTILE = " <img onerror=alert(1)>"
WIDTH = 64


def save_wordy(runs: Path, name: str, text: str, *, ends: bool = False, chat: bool = True) -> Path:
    """A run whose model answers with the text, over and over unless it `ends`.

    Its block is silent, so that the next token depends on the last alone: row b of the readout is
    the embedding of the token that b follows.
    """
    counts = {word: 50 for word in count_words([text])}
    tokenizer = Tokenizer.train(counts, 600)
    template = ChatTemplate.default(tokenizer)
    spoken = tokenizer.encode(text)
    assert len(set(spoken)) == len(spoken), "a token has one successor"
    sizes = {"layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16, "hidden": 32}
    config = DecoderConfig(
        vocab=tokenizer.vocab_size, width=WIDTH, context=8192, tied=False, **sizes
    )
    model = Decoder(config, torch.Generator().manual_seed(1))
    assert model.head is not None
    asked = [{"role": "user", "content": "a"}]
    prompt = (
        template.render(asked, add_generation_prompt=True).ids if chat else tokenizer.encode("?")
    )
    end = tokenizer.special("<|end|>") if chat else tokenizer.end
    last = end if ends else spoken[0]
    with torch.no_grad():
        for part in model.blocks.parameters():
            if part.ndim == 2:
                part.zero_()
        rows = model.embedding.weight
        rows.div_(rows.norm(dim=1, keepdim=True))
        model.head.weight.zero_()
        for before, after in zip([prompt[-1], *spoken], [*spoken, last], strict=True):
            model.head.weight[after] += 4 * rows[before]
    run = Run.create("tests", "wordy", None, RunOptions(out=runs / name))
    with run.save("model", "LanguageModel", chat=chat, template=template.hash) as folder:
        save_decoder(model, folder)
        template.save(folder)
    return run.folder
