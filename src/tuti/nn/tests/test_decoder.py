"""The decoder against a slow, obvious reference, its cache, its documents and its loss."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tuti.nn import Decoder, DecoderConfig, nll, token_nll
from tuti.nn.loss import CHUNK, IGNORE, ROWS, each_nll, summed_nll

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def tiny(**changes: object) -> Decoder:
    shape = dict(
        vocab=61, width=24, layers=2, heads=4, kv_heads=2, head_dim=6, hidden=40, context=32
    )
    config = DecoderConfig(**(shape | changes))  # type: ignore[arg-type]
    model = Decoder(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in model.parameters():  # far from initialisation, where everything matters
            p.mul_(4).add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    return model.double()


def slow_hidden(model: Decoder, ids: list[int]) -> Tensor:
    """The forward pass of one sequence, one head and one token at a time."""
    c = model.config
    group, e = c.heads // c.kv_heads, c.head_dim
    xs = [model.embedding.weight[i] for i in ids]

    def norm(x: Tensor, w: Tensor) -> Tensor:
        return x / torch.sqrt((x * x).mean() + c.norm_eps) * w

    def turn(x: Tensor, p: int) -> Tensor:
        out = x.clone()
        for i in range(e // 2):
            angle = p * c.rope_theta ** (-2 * i / e)
            a, b = x[i], x[i + e // 2]
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + e // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    for block in model.blocks:
        rows = [block.attention.qkv.weight @ norm(x, block.attention_norm.weight) for x in xs]
        heads = [row.view(-1, e) for row in rows]
        q = [[turn(h[i], p) for i in range(c.heads)] for p, h in enumerate(heads)]
        k = [[turn(h[c.heads + i], p) for i in range(c.kv_heads)] for p, h in enumerate(heads)]
        v = [[h[c.heads + c.kv_heads + i] for i in range(c.kv_heads)] for h in heads]
        for t in range(len(xs)):
            parts = []
            for h in range(c.heads):
                g = h // group
                scores = torch.stack([q[t][h] @ k[s][g] / math.sqrt(e) for s in range(t + 1)])
                values = torch.stack([v[s][g] for s in range(t + 1)])
                parts.append(scores.softmax(0) @ values)
            xs[t] = xs[t] + block.attention.output.weight @ torch.cat(parts)
        for t, x in enumerate(xs):
            y = block.mlp.gate_up.weight @ norm(x, block.mlp_norm.weight)
            gate, up = y[: c.hidden], y[c.hidden :]
            xs[t] = x + block.mlp.down.weight @ (gate * torch.sigmoid(gate) * up)
    return torch.stack([norm(x, model.norm.weight) for x in xs])


@pytest.mark.parametrize("heads,kv", [(4, 4), (4, 2), (3, 1)])
def test_forward_equals_the_slow_reference(heads: int, kv: int) -> None:
    model = tiny(heads=heads, kv_heads=kv)
    ids = torch.randint(61, (2, 9), generator=torch.Generator().manual_seed(2))
    want = torch.stack([slow_hidden(model, row.tolist()) for row in ids])
    torch.testing.assert_close(model(ids), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("scaling", [None, LLAMA3])
def test_documents_equal_separate_sequences(scaling: dict[str, object] | None) -> None:
    model = tiny(rope_scaling=scaling)
    ids = torch.randint(61, (2, 12), generator=torch.Generator().manual_seed(3))
    documents = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3, [7] * 12])
    hidden = model(ids, documents=documents)
    for row, start, end in [(0, 0, 5), (0, 5, 9), (0, 9, 12), (1, 0, 12)]:
        alone = model(ids[row : row + 1, start:end])[0]
        torch.testing.assert_close(hidden[row, start:end], alone, rtol=0, atol=1e-10)
    assert not torch.allclose(hidden[0, 5:], model(ids)[0, 5:], atol=1e-3)


def test_positions_shift_nothing_but_count() -> None:
    model = tiny()
    ids = torch.randint(61, (1, 8), generator=torch.Generator().manual_seed(4))
    shifted = model(ids, positions=torch.arange(8)[None] + 100)
    torch.testing.assert_close(shifted, model(ids), rtol=0, atol=1e-9)  # rope is relative
    assert not torch.allclose(model(ids, positions=torch.arange(8)[None] * 3), shifted, atol=1e-4)


@pytest.mark.parametrize("heads,kv,bound", [(4, 2, 1e-10), (4, 4, 1e-10), (6, 2, 1e-5)])
def test_cache_equals_the_uncached_forward(heads: int, kv: int, bound: float) -> None:
    """Ragged prefill, decode of any subset, a second turn, freed and moved slots."""
    model = tiny(heads=heads, kv_heads=kv)
    if bound == 1e-5:
        model.float().initialise(torch.Generator().manual_seed(12))
    g = torch.Generator().manual_seed(5)
    texts = {s: torch.randint(61, (40,), generator=g).tolist() for s in range(4)}
    cache = model.cache(4, 48)

    def step(slots: list[int], counts: list[int]) -> None:
        starts = [cache.lengths[s] for s in slots]
        ids = torch.zeros(len(slots), max(counts), dtype=torch.long)
        for b, (slot, n, start) in enumerate(zip(slots, counts, starts, strict=True)):
            ids[b, :n] = torch.tensor(texts[slot][start : start + n])
        hidden = model(ids, cache=cache.window(slots, counts))
        for b, (slot, n, start) in enumerate(zip(slots, counts, starts, strict=True)):
            whole = model(torch.tensor([texts[slot][: start + n]]))[0]
            torch.testing.assert_close(hidden[b, :n], whole[start:], rtol=0, atol=bound)
            assert cache.lengths[slot] == start + n

    step([0], [7])
    step([2, 3], [3, 9])
    step([0, 2, 3], [1, 1, 1])
    step([3, 0], [1, 1])
    step([1, 2], [11, 1])  # a prefill beside a decode
    step([0, 1, 2, 3], [1, 1, 1, 1])
    step([2], [5])  # a second turn
    cache.free(0)
    cache.move(3, 0)
    texts[0] = texts[3]
    step([0, 1, 2], [1, 1, 1])
    cache.truncate(1, 4)
    step([1], [6])
    texts[3] = torch.randint(61, (40,), generator=g).tolist()
    step([3], [4])


def test_cache_refuses_what_does_not_fit() -> None:
    cache = tiny().cache(1, 8)
    with pytest.raises(AssertionError, match="exceed"):
        cache.window([0], [9])


@pytest.mark.parametrize(("vocab", "time"), [(50, 4), (CHUNK // ROWS + 1, ROWS // 2 + 9)])
def test_loss_equals_cross_entropy(vocab: int, time: int) -> None:
    """`ROWS` tokens a chunk in the second case, and some more, so chunks meet; gradients in fp64."""
    g = torch.Generator().manual_seed(6)
    hidden = torch.randn(2, time, 3, generator=g, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(vocab, 3, generator=g, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(vocab, (2, time), generator=g)
    targets[0, 1] = IGNORE
    want = F.cross_entropy((hidden @ weight.T).flatten(0, 1), targets.flatten(), reduction="sum")
    got = summed_nll(hidden, weight, targets)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    torch.testing.assert_close(each_nll(hidden, weight, targets).sum(), want, rtol=1e-12, atol=0)
    for a, b in zip(
        torch.autograd.grad(3 * got, (hidden, weight)),
        torch.autograd.grad(3 * want, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


def test_loss_gradcheck_and_nothing_to_learn() -> None:
    g = torch.Generator().manual_seed(7)
    hidden = torch.randn(5, 3, generator=g, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 3, generator=g, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (5,), generator=g)
    assert torch.autograd.gradcheck(lambda h, w: summed_nll(h, w, targets), (hidden, weight))
    none = summed_nll(hidden, weight, torch.full((5,), IGNORE))
    none.backward()
    assert none == 0 and hidden.grad is not None and not hidden.grad.any()


def test_nll_sums_token_nll() -> None:
    model = tiny()
    g = torch.Generator().manual_seed(8)
    ids, targets = torch.randint(61, (2, 3, 10), generator=g)
    targets[:, ::3] = IGNORE
    documents = torch.tensor([[0] * 4 + [1] * 6] * 3)
    each = token_nll(model, ids, targets, documents)
    assert each.shape == (3, 10) and not each[:, ::3].any() and each[:, 1].all()
    torch.testing.assert_close(nll(model, ids, targets, documents), each.sum())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("vocab,width", [(512, 64), (4096, 192), (30000, 576)])
def test_first_loss_is_near_ln_v(tied: bool, vocab: int, width: int) -> None:
    config = DecoderConfig(vocab, width, 2, 4, 2, 16, 2 * width, 64, tied=tied)
    model = Decoder(config, torch.Generator().manual_seed(9))
    assert sum(p.numel() for p in model.parameters()) == config.parameters
    ids = torch.randint(vocab, (2, 65), generator=torch.Generator().manual_seed(10))
    repeats = torch.full((2, 64), 3)
    with torch.no_grad():
        if tied:  # a token does not predict itself
            assert float(nll(model, repeats, repeats)) / 128 > math.log(vocab) / 3
        assert abs(float(nll(model, ids[:, :-1], ids[:, 1:])) / 128 - math.log(vocab)) < 0.15


def test_bf16_is_the_same_model_roughly() -> None:
    model = tiny().float()
    ids = torch.randint(61, (2, 17), generator=torch.Generator().manual_seed(11))
    exact = nll(model, ids[:, :-1], ids[:, 1:])
    exact.backward()
    gradient = model.blocks[0].attention.qkv.weight.grad
    model.zero_grad()
    half = model.bfloat16()
    loss = nll(half, ids[:, :-1], ids[:, 1:])
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact.detach(), rtol=0.02, atol=0)
    coarse = half.blocks[0].attention.qkv.weight.grad
    assert F.cosine_similarity(coarse.float().flatten(), gradient.flatten(), dim=0) > 0.99
    window = half.cache(1, 32).window([0], [16])
    assert half(ids[:1, :16], cache=window).dtype == torch.bfloat16


def test_flops_count_matches_a_counter() -> None:
    config = DecoderConfig(61, 24, 2, 4, 4, 6, 40, 32)
    model = Decoder(config)
    ids = torch.randint(61, (2, 32))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.logits(model(ids)).sum().backward()
    # The counter takes attention's products as full squares, without causality.
    full = config.flops_per_token(2 * 32 - 1)
    assert counter.get_total_flops() == full * 64


def test_sampling_first_spoils_nothing() -> None:
    model = tiny()
    ids = torch.randint(61, (1, 8), generator=torch.Generator().manual_seed(13))
    with torch.inference_mode():
        cache = model.cache(1, 16)
        model(ids, cache=cache.window([0], [8]))
    model(ids, cache=cache.window([0], [8]))
    nll(model, ids[:, :-1], ids[:, 1:]).backward()
    assert model.embedding.weight.grad is not None
