"""View `routes`: which expert takes which token. What a router has learnt is seen, and counted in bits."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from tuti.nn import Decoder, load_decoder
from tuti.nn.moe import Journal
from tuti.run import UserError, find_artifact
from tuti.text import Tokenizer, script_of

PARTS = 4
"""Parts of the text that a token's position is told by"""


@dataclass(frozen=True)
class Routes:
    """Loads, idle experts, and what the choice of an expert tells of its token."""

    model: tyro.conf.Positional[Path]
    """A run, or a folder, that holds a LanguageModel with experts"""
    text: tyro.conf.Positional[Path]
    """The file whose text is read, its first tokens up to the model's context"""


@dataclass(frozen=True)
class Traced:
    """One text through a mixture of experts: its pieces, and who took them with which weight, [L, T, k].

    A character in several tokens is the last one's piece; those before it have none.
    """

    pieces: Sequence[str]
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
    """Prints one line a layer, and the bits that the expert tells of script, kind and position."""
    try:
        text = config.text.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{config.text} is not readable text: {error}", hint="give a UTF-8 file") from error
    found = trace(*read_model(config.model), text)
    print(f"{len(found.pieces)} tokens; load of each expert in % of the tokens that it could get")
    for number, load in enumerate(found.loads):
        shares = " ".join(f"{100 * tokens / len(found.pieces):>3.0f}" for tokens in load)
        print(f"layer {number:>2}  {shares}   entropy {evenness(load):.2f} of 1, idle {(load == 0).sum()}")
    print("\nbits that a token's first expert tells (what chance would tell is taken off):")
    for name, labels in kinds(found.pieces).items():
        told = [informed(row, labels) for row in found.first]
        print(f"{name:>9}  {' '.join(f'{bits:>5.2f}' for bits in told)}   of {entropy(labels):.2f}")


def read_model(path: Path) -> tuple[Decoder, Tokenizer]:
    """A model with experts and its tokenizer."""
    folder = find_artifact(path, "LanguageModel")
    model = load_decoder(folder)
    if not model.config.experts:
        raise UserError(f"{path} has no experts", hint="tuti mixtral train TOKENS makes a model that has")
    return model, Tokenizer.load(folder)


@torch.inference_mode()
def trace(model: Decoder, tokenizer: Tokenizer, text: str) -> Traced:
    """The routing of a text's first tokens, up to the model's context."""
    ids = tokenizer.encode(text)[: model.config.context]
    if not ids:
        raise UserError("there is no text to look at", hint="give a sentence at least")
    journal = Journal()
    model(torch.tensor([ids]), journal=journal)
    stream = tokenizer.stream(skip_specials=False)
    return Traced(
        [stream.push(i) for i in ids], model.config.experts,
        np.stack([routing.chosen.cpu().numpy() for routing in journal]),
        np.stack([routing.weights.double().cpu().numpy() for routing in journal]),
    )


def evenness(load: NDArray[np.int64]) -> float:
    """Entropy of the loads over that of even loads: 1 when all experts get the same."""
    return entropy(np.repeat(np.arange(len(load)), load)) / np.log2(len(load)) if len(load) > 1 else 1.0


def kinds(pieces: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """A number for each token's script, kind (of its first character; spaces begin words) and position."""
    scripts = [script_of(piece) for piece in pieces]
    classes = [_kind(piece) for piece in pieces]
    position = np.arange(len(pieces)) * PARTS // max(1, len(pieces))
    return {"script": _numbered(scripts), "kind": _numbered(classes), "position": position}


def _kind(piece: str) -> str:
    """Unicode's letter for the first character (L letter, N number, P punctuation …), and a word's begin."""
    if not piece.strip():
        return "space" if piece else "part"
    return unicodedata.category(piece.strip()[0])[0] + (" begins" if piece[0].isspace() else "")


def _numbered(labels: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(np.array(labels), return_inverse=True)[1].astype(np.int64)


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
