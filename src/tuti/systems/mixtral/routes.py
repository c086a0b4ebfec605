"""View `routes`: which expert takes which token. What a router has learnt is seen, and counted in bits."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from annotated_types import Len
from numpy.typing import NDArray
from selectolax.lexbor import LexborHTMLParser

from tuti.nn import Decoder, load_decoder
from tuti.nn.moe import Journal
from tuti.run import UserError, find_artifact
from tuti.text import Tokenizer, script_of

WINDOWS = 32
"""Contexts of each text that are read"""
SUFFIXES = (".txt", ".md", ".html")
PARTS = 4
"""Parts of the text that a token's position is told by"""


@dataclass(frozen=True)
class Routes:
    """Loads, idle experts, and what the choice of an expert tells of its token."""

    model: tyro.conf.Positional[Path]
    """A run, or a folder, that holds a LanguageModel with experts"""
    texts: tyro.conf.Positional[Annotated[tuple[Path, ...], Len(1)]]
    """Text or HTML, files or folders of such; several, e.g. one in each language, are shown side by side"""


@dataclass(frozen=True)
class Traced:
    """One text through a mixture of experts: its pieces, and who took them with which weight, [L, T, k].

    A character in several tokens is the last one's piece; those before it have none. bits: per byte.
    """

    pieces: Sequence[str]
    bits: float
    experts: int
    chosen: NDArray[np.int64]
    weights: NDArray[np.float64]

    @property
    def loads(self) -> NDArray[np.int64]:
        """Tokens of each expert, [L, E]."""
        return np.stack([np.bincount(layer.ravel(), minlength=self.experts) for layer in self.chosen])

    @property
    def first(self) -> NDArray[np.int64]:
        """The expert with the largest weight, [L, T]."""
        return self.chosen[:, :, 0]


def routes(config: Routes) -> None:
    """Prints a line for each layer and text, and what the expert tells of script, kind and position."""
    model, tokenizer = read_model(config.model)
    names = [path.name for path in config.texts]
    names = [str(path) if names.count(path.name) > 1 else path.name for path in config.texts]
    read = (trace(model, tokenizer, read_text(path), WINDOWS) for path in config.texts)
    found = dict(zip(names, read, strict=True))
    wide = max(map(len, found))
    for name, traced in found.items():
        print(f"{name:<{wide}}  {len(traced.pieces):>6,} tokens, {traced.bits:.3f} bits per byte")
    print("\nload of each expert in % of the tokens that it could get")
    for layer in range(model.config.layers):
        for name, traced in found.items():
            load = traced.loads[layer]
            shares = " ".join(f"{100 * tokens / len(traced.pieces):>3.0f}" for tokens in load)
            told = f"entropy {evenness(load):.2f} of 1, idle {(load == 0).sum()}"
            print(f"layer {layer:>2}  {name:<{wide}}  {shares}   {told}")
    print("\nbits that a token's first expert tells (what chance would tell is taken off):")
    if len(found) > 1:
        texts = np.repeat(np.arange(len(found)), [len(one.pieces) for one in found.values()])
        _tell(np.concatenate([one.first for one in found.values()], 1), {"text": texts})
    for name, traced in found.items():
        print(name)
        _tell(traced.first, kinds(traced.pieces))


def _tell(first: NDArray[np.int64], kinds: Mapping[str, NDArray[np.int64]]) -> None:
    for name, labels in kinds.items():
        told = [informed(row, labels) for row in first]
        print(f"{name:>9}  {' '.join(f'{bits:>5.2f}' for bits in told)}   of {entropy(labels):.2f}")


def read_text(path: Path) -> str:
    """A file's text, or that of all of a folder's in order; HTML without its marks."""
    try:
        if path.is_dir():
            return "\n".join(read_text(file) for file in sorted(path.iterdir()) if file.suffix in SUFFIXES)
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable text: {error}", hint="give a UTF-8 file") from error
    return LexborHTMLParser(text).text() if path.suffix == ".html" else text


def read_model(path: Path) -> tuple[Decoder, Tokenizer]:
    """A model with experts and its tokenizer."""
    folder = find_artifact(path, "LanguageModel")
    model = load_decoder(folder)
    if not model.config.experts:
        raise UserError(f"{path} has no experts", hint="tuti mixtral train TOKENS makes a model that has")
    return model, Tokenizer.load(folder)


@torch.inference_mode()
def trace(model: Decoder, tokenizer: Tokenizer, text: str, windows: int = 1) -> Traced:
    """The routing of a text's first tokens, in so many windows of the model's context at most."""
    ids = tokenizer.encode(text)[: windows * model.config.context]
    if not ids:
        raise UserError("there is no text to look at", hint="give a sentence at least")
    journals, nats = list[Journal](), 0.0
    for start in range(0, len(ids), model.config.context):
        part = torch.tensor([ids[start : start + model.config.context]])
        journals.append(Journal())
        hidden = model(part, journal=journals[-1])
        nats += float(F.cross_entropy(model.logits(hidden[0, :-1]), part[0, 1:], reduction="sum"))
    foretold = (i for at, i in enumerate(ids) if at % model.config.context)
    size = sum(len(tokenizer.token_bytes(i)) for i in foretold)
    layers = list(zip(*journals, strict=True))
    stream = tokenizer.stream(skip_specials=False)
    return Traced(
        [stream.push(i) for i in ids], nats / np.log(2) / max(1, size), model.config.experts,
        np.stack([torch.cat([routing.chosen for routing in layer]).numpy() for layer in layers]),
        np.stack([torch.cat([routing.weights.double() for routing in layer]).numpy() for layer in layers]),
    )


def evenness(load: NDArray[np.int64]) -> float:
    """Entropy of the loads over that of even loads: 1 when all experts get the same."""
    return entropy(np.repeat(np.arange(len(load)), load)) / np.log2(len(load)) if len(load) > 1 else 1.0


def kinds(pieces: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """A number for each token's script, kind (of its first character; spaces begin words) and position."""
    def numbered(label: Callable[[str], str]) -> NDArray[np.int64]:
        return np.unique([label(piece) for piece in pieces], return_inverse=True)[1].astype(np.int64)

    position = np.arange(len(pieces)) * PARTS // max(1, len(pieces))
    return {"script": numbered(script_of), "kind": numbered(_kind), "position": position}


def _kind(piece: str) -> str:
    """Unicode's letter for the first character (L letter, N number, P punctuation …), and a word's begin."""
    if not piece.strip():
        return "space" if piece else "part"
    return unicodedata.category(piece.strip()[0])[0] + (" begins" if piece[0].isspace() else "")


def entropy(labels: NDArray[np.int64]) -> float:
    """H of the labels' shares, in bits."""
    shares = np.bincount(labels) / len(labels)
    return float(-(shares * np.log2(np.where(shares > 0, shares, 1))).sum())


def informed(experts: NDArray[np.int64], labels: NDArray[np.int64], shuffles: int = 20) -> float:
    """Mutual information I(expert; label) in bits, less its mean over labels in random order (≥ 0).

    Few tokens seem informative by chance alone: counted bits grow with cells ÷ tokens (Miller 1955).
    """
    chance = np.random.default_rng(0)
    by_chance = [_mutual(experts, chance.permutation(labels)) for _ in range(shuffles)]
    return max(0.0, _mutual(experts, labels) - float(np.mean(by_chance)))


def _mutual(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    return entropy(a) + entropy(b) - entropy(a * (int(b.max()) + 1) + b)
