"""The exercises of the room's README, answered."""

import math

import pytest
import torch

from tuti.measure import binomial_interval
from tuti.nn import Decoder, DecoderConfig, nll

VOCAB, LENGTH = 17, 8
START = VOCAB - 1  # between a sequence and its copy


def decoder(layers: int) -> Decoder:
    config = DecoderConfig(VOCAB, 32, layers, 2, 2, 16, 64, context=64)
    return Decoder(config, torch.Generator().manual_seed(0))


def copies(rows: int, length: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random sequences, a mark, the same again; only the copy is to be predicted."""
    first = torch.randint(VOCAB - 1, (rows, length), generator=generator)
    whole = torch.cat((first, torch.full((rows, 1), START), first), dim=1)
    targets = whole[:, 1:].clone()
    targets[:, :length] = -100
    return whole[:, :-1], targets


def right(model: Decoder, length: int) -> tuple[int, int]:
    """How many tokens of 40 held-out copies come out right, and of how many."""
    ids, targets = copies(40, length, torch.Generator().manual_seed(99))
    with torch.no_grad():
        guesses = model.logits(model(ids)).argmax(-1)
    counted = targets != -100
    return int((guesses == targets)[counted].sum()), int(counted.sum())


@pytest.fixture(scope="module")
def copier() -> Decoder:
    model, generator = decoder(2), torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        ids, targets = copies(32, LENGTH, generator)
        (nll(model, ids, targets) / (32 * LENGTH)).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model


def test_it_learns_to_give_back_a_random_sequence(copier: Decoder) -> None:
    good, of = right(copier, LENGTH)
    assert binomial_interval(good, of).low > 0.95, good / of


def test_it_learnt_where_to_look_and_not_what_a_copy_is(copier: Decoder) -> None:
    good, of = right(copier, LENGTH + 4)
    assert binomial_interval(good, of).high < 0.15, good / of


def test_without_rotation_the_past_is_a_bag() -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    other = torch.tensor([[4, 1, 5, 3, 2, 6]])
    nowhere = torch.zeros_like(ids)
    one, two = decoder(1), decoder(2)
    with torch.no_grad():
        for model in (one, two):
            for p in model.parameters():
                p.mul_(5)
        same = one(ids, positions=nowhere)[0, -1] - one(other, positions=nowhere)[0, -1]
        turned = one(ids)[0, -1] - one(other)[0, -1]
        deeper = two(ids, positions=nowhere)[0, -1] - two(other, positions=nowhere)[0, -1]
    assert same.abs().max() < 1e-5
    assert turned.abs().max() > 1e-2
    assert (
        deeper.abs().max() > 1e-2
    )  # in the second layer a key says how many tokens stood before it


def test_undivided_scores_saturate_the_softmax() -> None:
    dim, generator = 64, torch.Generator().manual_seed(0)
    q, k = (torch.randn(400, dim, generator=generator) for _ in range(2))
    scores = q @ k.T
    assert scores.var().item() == pytest.approx(dim, rel=0.1)
    largest = [
        s[:, :64].softmax(-1).max(-1).values.mean().item()
        for s in (scores / math.sqrt(dim), scores)
    ]
    assert largest[0] < 0.2 and largest[1] > 0.7, largest
