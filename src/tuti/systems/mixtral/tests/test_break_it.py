"""Answers to the exercises on the room's page."""

import dataclasses

import torch

from tuti.nn import Decoder
from tuti.nn.moe import Journal, MoE, load_balancing
from tuti.systems.mixtral.size import TINY


def test_the_numbers_of_experts_mean_nothing() -> None:
    """Exercise 1: experts in another order, the router's rows with them, are the same function."""
    torch.manual_seed(0)
    moe = MoE(16, 24, 6, 2)
    other = MoE(16, 24, 6, 2)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    with torch.no_grad():
        other.router.weight.copy_(moe.router.weight[order])
    other.experts = torch.nn.ModuleList(moe.experts[int(e)] for e in order)
    x = torch.randn(3, 10, 16)
    torch.testing.assert_close(moe(x), other(x))


def test_one_expert_of_one_is_a_dense_layer() -> None:
    """Exercise 2: a softmax over one score is 1, so the router decides nothing and learns nothing."""
    torch.manual_seed(1)
    moe = MoE(16, 24, 1, 1)
    x = torch.randn(7, 16)
    torch.testing.assert_close(moe(x), moe.experts[0](x))
    moe(x).sum().backward()
    assert not moe.router.weight.grad.any()


def test_copies_of_one_expert_are_a_dense_layer_until_they_part() -> None:
    """Exercise 3 (upcycling): weights among the chosen sum to 1, so equal experts answer as one."""
    torch.manual_seed(2)
    moe = MoE(16, 24, 8, 2)
    for expert in moe.experts[1:]:
        expert.load_state_dict(moe.experts[0].state_dict())
    x = torch.randn(50, 16)
    torch.testing.assert_close(moe(x), moe.experts[0](x))
    (moe(x) ** 2).sum().backward()
    grads = [expert.down.weight.grad for expert in moe.experts]
    assert not torch.allclose(grads[0], grads[1])  # each saw other tokens: they part at the first update


def test_a_router_that_prefers_is_expensive() -> None:
    """Exercise 4: all tokens to the same two experts cost E/k times what even routing costs."""
    model = Decoder(dataclasses.replace(TINY, context=64), torch.Generator().manual_seed(3))
    ids = torch.randint(512, (4, 64), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        even, crooked = Journal(), Journal()
        model(ids, journal=even)
        for block in model.blocks:
            block.mlp.router.bias = torch.tensor([90.0, 80, 0, 0, 0, 0, 0, 0])
        model(ids, journal=crooked)
    assert 2 <= float(load_balancing(even)) < 2.2
    assert all(load.load.count_nonzero() == 2 for load in crooked)
