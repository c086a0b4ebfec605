"""The whole decoder in loops over numbers: slow, obvious, and equal to `tuti.nn.Decoder`.

Nothing is used but sums and products, so every variable can be watched in a debugger. A vector is a list
of numbers, a matrix a list of rows. `nn/decoder.py` computes the same in a few large products.
"""

import math
from typing import Any, cast

from tuti.nn import Decoder, DecoderConfig

Vector = list[float]
Matrix = list[Vector]


def dot(a: Vector, b: Vector) -> float:
    """How much two directions agree: Σ a_i b_i."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def times(matrix: Matrix, x: Vector) -> Vector:
    """A matrix asks a vector one question a row: the dot products."""
    return [dot(row, x) for row in matrix]


def add(a: Vector, b: Vector) -> Vector:
    """Elementwise sum."""
    return [x + y for x, y in zip(a, b, strict=True)]


def one_hot(token: int, vocab: int) -> Vector:
    """1 at the token's place, 0 elsewhere: all tokens equally far from each other."""
    return [1.0 if i == token else 0.0 for i in range(vocab)]


def embed(table: Matrix, token: int) -> Vector:
    """one-hot · table: that product picks one row, which is why looking it up will do."""
    chosen = one_hot(token, len(table))
    return [dot(chosen, [row[j] for row in table]) for j in range(len(table[0]))]


def softmax(scores: Vector) -> Vector:
    """Positive shares that sum to 1; the largest score is taken off so that exp stays finite."""
    top = max(scores)
    raised = [math.exp(score - top) for score in scores]
    return [x / sum(raised) for x in raised]


def attend(query: Vector, keys: Matrix, values: Matrix) -> Vector:
    """Vaswani et al. 2017, equation 1, for one token: a mean of the values, weighted by agreement."""
    scores = [dot(query, key) / math.sqrt(len(query)) for key in keys]
    shares = softmax(scores)
    return [dot(shares, [value[j] for value in values]) for j in range(len(values[0]))]


def rotate(x: Vector, position: int, theta: float) -> Vector:
    """Su et al. 2021: channels i and i + E/2 are a plane, turned by position · theta^(-2i/E)."""
    half, turned = len(x) // 2, list(x)
    for i in range(half):
        angle = position * theta ** (-2 * i / len(x))
        turned[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
        turned[i + half] = x[i + half] * math.cos(angle) + x[i] * math.sin(angle)
    return turned


def rms_norm(x: Vector, weight: Vector, eps: float) -> Vector:
    """Zhang and Sennrich 2019, equation 4: divided by the root of the mean square."""
    root = math.sqrt(dot(x, x) / len(x) + eps)
    return [w * value / root for w, value in zip(weight, x, strict=True)]


def swiglu(gate: Vector, up: Vector) -> Vector:
    """Shazeer 2020, equation 6: g · sigmoid(g) lets u through, or not."""
    return [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up, strict=True)]


def self_attention(xs: Matrix, qkv: Matrix, output: Matrix, c: DecoderConfig) -> Matrix:
    """Each token looks at itself and those before it; G = H/K query heads share a key-value head."""
    rows = [times(qkv, x) for x in xs]
    heads = [[row[i : i + c.head_dim] for i in range(0, len(row), c.head_dim)] for row in rows]
    mixed: Matrix = []
    for t in range(len(xs)):
        row: Vector = []
        for h in range(c.heads):
            k = c.heads + h // (c.heads // c.kv_heads)
            v = k + c.kv_heads
            query = rotate(heads[t][h], t, c.rope_theta)
            keys = [rotate(heads[s][k], s, c.rope_theta) for s in range(t + 1)]
            row += attend(query, keys, [heads[s][v] for s in range(t + 1)])
        mixed.append(times(output, row))
    return mixed


def forward(model: Decoder, ids: list[int]) -> tuple[Matrix, Matrix]:
    """Hidden states after the last norm, and logits, of one sequence."""
    c = model.config
    assert c.rope_scaling is None, "the loops know plain rotation only"
    w = {name: cast(Any, p.detach().double()).tolist() for name, p in model.named_parameters()}
    xs = [embed(w["embedding.weight"], token) for token in ids]
    for n in range(c.layers):
        block = {name.removeprefix(f"blocks.{n}."): value for name, value in w.items()}
        normed = [rms_norm(x, block["attention_norm.weight"], c.norm_eps) for x in xs]
        read = self_attention(normed, block["attention.qkv.weight"], block["attention.output.weight"], c)
        xs = [add(x, found) for x, found in zip(xs, read, strict=True)]
        for t, x in enumerate(xs):
            both = times(block["mlp.gate_up.weight"], rms_norm(x, block["mlp_norm.weight"], c.norm_eps))
            made = swiglu(both[: c.hidden], both[c.hidden :])
            xs[t] = add(x, times(block["mlp.down.weight"], made))
    hidden = [rms_norm(x, w["norm.weight"], c.norm_eps) for x in xs]
    return hidden, [times(w["embedding.weight" if c.tied else "head.weight"], x) for x in hidden]
