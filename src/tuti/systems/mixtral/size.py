"""View `size`: how many parameters a mixture of experts has, how many work on a token, what it all takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from tuti.nn import DecoderConfig
from tuti.nn.hugging_face import config_from_hf
from tuti.run import UserError, find_artifact, read_json

MIXTRAL_8X7B = DecoderConfig(
    vocab=32000, width=4096, layers=32, heads=32, kv_heads=8, head_dim=128, hidden=14336, context=32768,
    rope_theta=1e6, norm_eps=1e-5, tied=False, experts=8, active=2,
)
"""Jiang et al. 2024, table 1; the base frequency of the rotation from its config.json"""
SMALL = replace(MIXTRAL_8X7B, width=512, layers=8, heads=8, kv_heads=2, head_dim=64, hidden=1792)
"""An eighth as wide: 214 million parameters, of which 82 million work on a token"""
TINY = replace(SMALL, vocab=512, width=64, layers=2, heads=4, head_dim=16, hidden=224)
"""The same proportions, for tests"""
SHAPES = {"mixtral-8x7b": MIXTRAL_8X7B, "small": SMALL, "tiny": TINY}


@dataclass(frozen=True)
class Size:
    """Weights and cache of a model, from its shape alone."""

    model: tyro.conf.Positional[str] = "mixtral-8x7b"
    """mixtral-8x7b, small, tiny, a run, or a Hugging Face folder"""
    bits: Literal[4, 8, 16, 32] = 16
    """Bits a weight; norms and routers stay at 16 at least"""
    context: Annotated[int, Ge(1)] = 32768
    """Tokens in the cache, whose numbers have 16 bits (32 where the weights have)"""


def size(config: Size) -> None:
    """Prints where the parameters are, and the bytes of weights and cache."""
    shape = shape_of(config.model)
    places, weights, cache = count(shape, config.bits, config.context)
    print(f"{config.model}: {shape.layers} layers, {shape.width} wide, {shape.experts or 'no'} experts\n")
    for name, value in places.items():
        print(f"  {name:<34} {value:>18,}")
    if shape.experts:
        print(f"\n{why(shape)}")
    print(f"\n  weights at {config.bits} bits {weights / 2**30:>24,.2f} GiB")
    print(f"  cache of {config.context:,} tokens {cache / 2**30:>20,.2f} GiB")
    print(f"  together {(weights + cache) / 2**30:>34,.2f} GiB")


def shape_of(model: str) -> DecoderConfig:
    """The named shape, or the one of a folder's config.json."""
    if model in SHAPES:
        return SHAPES[model]
    if not Path(model).exists():
        what = f"there is no model {model!r}"
        raise UserError(what, hint=f"{', '.join(SHAPES)}, or a folder with a config.json")
    folder = Path(model)
    if not (folder / "config.json").exists() or (folder / "artifacts").exists():
        folder = find_artifact(folder, "LanguageModel")
    return config_from_hf(read_json(folder / "config.json"))


def count(shape: DecoderConfig, bits: int, context: int) -> tuple[dict[str, int], int, int]:
    """Parameters by place, and the bytes of weights and of the cache.

    At 8 bits a row of weights has a scale of 16 bits, at 4 bits every 32 weights have one.
    """
    c = shape
    places = {
        "attention": c.layers * c.width * (2 * c.heads + 2 * c.kv_heads) * c.head_dim,
        "feed-forward layers": c.layers * max(1, c.experts) * 3 * c.width * c.hidden,
        "routers": c.layers * c.experts * c.width,
        "embedding and read-out": c.vocab * c.width * (1 if c.tied else 2),
    }
    rest = c.parameters - sum(places.values())
    quantised = c.parameters - rest - places["routers"]
    scales = {8: quantised // c.width, 4: quantised // 32}.get(bits, 0)
    kept = 4 if bits == 32 else 2
    weights = quantised * bits // 8 + scales * 2 + (c.parameters - quantised) * kept
    more = {"norms and biases": rest, "in all": c.parameters, "active for one token": c.active_parameters}
    values = 2 * c.layers * c.kv_heads * c.head_dim  # a token's keys and values
    return places | more, weights, values * context * kept


def why(shape: DecoderConfig) -> str:
    """Why E × the model with one expert is more than there is."""
    c = shape
    one = c.parameters - c.layers * (c.experts - 1) * (3 * c.hidden + 1) * c.width
    shared = one - c.layers * (3 * c.hidden + 1) * c.width
    return (
        f"  With one expert it would have {one:,}; {c.experts} times that is {c.experts * one:,}.\n"
        f"  Only the feed-forward layers are there {c.experts} times: the {shared:,} of attention,\n"
        f"  embedding and norms are there once, which saves {c.experts - 1} × {shared:,} = "
        f"{(c.experts - 1) * shared:,}."
    )
