"""Dropout with a probability for each token."""

import pytest
import torch

from tuti.nn import Decoder, DecoderConfig, Dropout, nll


def decoder() -> Decoder:
    config = DecoderConfig(
        vocab=50, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, hidden=64, context=64
    )
    return Decoder(config, torch.Generator().manual_seed(0))


def test_each_token_has_its_own_probability_and_the_mean_stays() -> None:
    p = torch.tensor([[0.0, 0.1, 0.5]]).repeat(2, 1)
    x = torch.ones(2, 3, 40_000, dtype=torch.float64)
    out = Dropout(p, (1, 2)).masks(1, 40_000, x.dtype)(x, 0)
    dropped = (out == 0).double().mean(dim=-1)
    assert dropped[:, 0].tolist() == [0, 0]
    # 4.5 standard errors of a share over 40,000 draws
    assert (dropped - p).abs().max() < 4.5 * 0.5 / 200
    assert (out.mean(dim=-1) - 1).abs().max() < 4.5 / 200
    kept = out[:, 2][out[:, 2] != 0]
    assert kept.unique().tolist() == [2.0]


def test_one_token_in_a_row_that_is_not_dropped_is_left_as_it_is() -> None:
    x = torch.randn(2, 3, 8)
    p = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.9, 0.0]])
    out = Dropout(p, (1, 2)).masks(1, 8, x.dtype)(x, 0)
    assert torch.equal(out[0], x[0]) and torch.equal(out[1, [0, 2]], x[1, [0, 2]])
    assert not torch.equal(out[1, 1], x[1, 1])


def test_layers_draw_anew_and_passes_draw_the_same() -> None:
    x, dropout = torch.ones(1, 4, 64), Dropout(torch.full((1, 4), 0.5), (3,))
    masks = dropout.masks(2, 64, x.dtype)
    first, second = masks(x, 0), masks(x, 1)
    assert not torch.equal(first, second)
    again = dropout.masks(2, 64, x.dtype)
    assert torch.equal(again(x, 0), first) and torch.equal(again(x, 1), second)


@pytest.mark.parametrize("places", [[0], [2, 1], [1, 2, 0]])
def test_rows_drop_the_same_wherever_they_stand(places: list[int]) -> None:
    """So micro-batches and processes leave the update as it is."""
    model = decoder()
    ids = torch.randint(0, 50, (3, 20), generator=torch.Generator().manual_seed(1))
    p = torch.tensor([0.0, 0.2, 0.5])[:, None].expand(3, 20)
    seeds = (7, 8, 9)
    each = [
        nll(model, ids[r : r + 1], ids[r : r + 1], None, Dropout(p[r : r + 1], seeds[r : r + 1]))
        for r in places
    ]
    chosen = tuple(seeds[r] for r in places)
    whole = nll(model, ids[places], ids[places], None, Dropout(p[places], chosen))
    torch.testing.assert_close(whole, torch.stack(each).sum(), rtol=1e-5, atol=0)


def test_no_probability_is_no_dropout_and_some_changes_the_loss() -> None:
    model = decoder()
    ids = torch.randint(0, 50, (2, 20), generator=torch.Generator().manual_seed(1))
    plain = nll(model, ids, ids)
    assert torch.equal(nll(model, ids, ids, None, Dropout(torch.zeros(2, 20), (1, 2))), plain)
    assert not torch.equal(nll(model, ids, ids, None, Dropout(torch.full((2, 20), 0.3), (1, 2))), plain)
