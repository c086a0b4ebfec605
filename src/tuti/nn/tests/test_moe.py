"""Experts against loops over tokens, against transformers' block, and over two processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import (
    MixtralSparseMoeBlock,
    load_balancing_loss_func,
)

from tuti.nn.moe import (
    MLP,
    Journal,
    MoE,
    Nudge,
    Penalty,
    Router,
    Routing,
    by_expert,
    grouped,
    load_balancing,
    router_z,
    within_capacity,
)

WIDTH, HIDDEN = 12, 20


def made(experts: int, k: int, seed: int = 0, **options: object) -> MoE:
    torch.manual_seed(seed)
    moe = MoE(WIDTH, HIDDEN, experts, k, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for p in moe.parameters():
            p.normal_(0, 0.4)
    return moe


@torch.no_grad()
def by_loops(moe: MoE, x: Tensor, capacity: int | None = None) -> Tensor:
    """Token by token, expert by expert, as the paper's equation says it."""
    taken = [0] * len(moe.experts)
    out = []
    for token in x:
        scores = [float(row @ token) for row in moe.router.weight]
        best = sorted(range(len(scores)), key=lambda e: -scores[e])[: moe.router.k]
        raised = [torch.tensor(scores[e], dtype=x.dtype).exp() for e in best]
        y = torch.zeros_like(token)
        for e, r in zip(best, raised, strict=True):
            taken[e] += 1
            if capacity is not None and taken[e] > capacity:
                continue
            expert: MLP = moe.experts[e]  # type: ignore[assignment]
            gate, up = (expert.gate_up.weight @ token).chunk(2)
            y = y + r / sum(raised) * (expert.down.weight @ (gate * torch.sigmoid(gate) * up))
        out.append(y)
    return torch.stack(out)


@settings(max_examples=30, deadline=None)
@given(
    tokens=st.integers(1, 20),
    experts=st.integers(1, 6),
    k=st.integers(1, 4),
    seed=st.integers(0, 99),
    dispatch=st.sampled_from([by_expert, grouped]),
)
def test_equals_the_loops(tokens: int, experts: int, k: int, seed: int, dispatch) -> None:
    moe = made(experts, min(k, experts), seed, dispatch=dispatch)
    if dispatch is grouped:
        moe = moe.float()  # grouped products know no fp64
    x = torch.randn(tokens, WIDTH, dtype=moe.router.weight.dtype)
    with torch.no_grad():
        exact = 1e-12 if dispatch is by_expert else 2e-5
        torch.testing.assert_close(moe(x), by_loops(moe, x), rtol=0, atol=exact)


def test_gradients_are_those_of_differences() -> None:
    moe = made(4, 2)
    x = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*moe.named_parameters(), strict=True)

    def f(x: Tensor, *given: Tensor) -> Tensor:
        return torch.func.functional_call(moe, dict(zip(names, given, strict=True)), (x,))

    assert torch.autograd.gradcheck(f, (x, *weights))


@pytest.mark.parametrize("tokens", [1, 3, 64, 257])
@pytest.mark.parametrize("dispatch", [by_expert, grouped])
def test_the_block_of_transformers(tokens: int, dispatch) -> None:
    torch.manual_seed(tokens)
    config = MixtralConfig(hidden_size=32, intermediate_size=48, num_local_experts=8)
    config._experts_implementation = "grouped_mm"
    peer = MixtralSparseMoeBlock(config)
    for p in peer.parameters():
        torch.nn.init.normal_(p, 0, 0.3)
    ours = MoE(32, 48, 8, 2, dispatch=dispatch)
    ours.router.weight.data.copy_(peer.gate.weight.data)
    for e, expert in enumerate(ours.experts):
        expert.gate_up.weight.data.copy_(peer.experts.gate_up_proj.data[e])
        expert.down.weight.data.copy_(peer.experts.down_proj.data[e])
    x = torch.randn(2, tokens, 32, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    aim = torch.randn(2, tokens, 32)
    mine, theirs = ours(x), peer(z)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    (mine * aim).sum().backward()
    (theirs * aim).sum().backward()
    pairs = [(x.grad, z.grad), (ours.router.weight.grad, peer.gate.weight.grad)]
    for e, expert in enumerate(ours.experts):
        for own, other in ((expert.gate_up, "gate_up_proj"), (expert.down, "down_proj")):
            grad = getattr(peer.experts, other).grad[e]
            pairs.append((torch.zeros_like(grad) if own.weight.grad is None else own.weight.grad, grad))
    for own, other in pairs:
        torch.testing.assert_close(own, other, rtol=1e-4, atol=2e-5)


def test_who_is_idle_costs_nothing() -> None:
    moe = made(8, 2)
    called = []
    for number, expert in enumerate(moe.experts):
        expert.register_forward_hook(lambda *_, number=number: called.append(number))
    journal = Journal()
    moe(torch.randn(1, 1, WIDTH, dtype=torch.float64), journal).sum().backward()
    assert sorted(called) == sorted(journal[0].chosen[0].tolist()) and len(called) == 2
    graded = [e for e, expert in enumerate(moe.experts) if expert.down.weight.grad is not None]
    assert graded == sorted(called)


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 24), capacity=st.sampled_from([0.25, 0.5, 1.0, 1.25]), seed=st.integers(0, 9))
def test_a_capacity_drops_who_comes_late(tokens: int, capacity: float, seed: int) -> None:
    moe = made(4, 2, seed, capacity=capacity)
    x = torch.randn(tokens, WIDTH, dtype=torch.float64)
    most = -(-int(capacity * 2 * tokens * 4) // 16)  # ⌈capacity · k N / E⌉; capacities are quarters
    want = by_loops(moe, x, most)
    torch.testing.assert_close(moe(x).detach(), want, rtol=0, atol=1e-12)
    routing = within_capacity(moe.router(x), capacity)
    assert int(routing.load.max()) <= most
    plain = grouped(x.float(), cast_routing(routing), list(moe.float().experts))
    torch.testing.assert_close(plain.double(), want, rtol=0, atol=1e-4)


def cast_routing(r: Routing) -> Routing:
    return Routing(r.logits.float(), r.weights.float(), r.chosen)


def test_without_a_capacity_nobody_is_dropped() -> None:
    moe = made(4, 2)
    with torch.no_grad():
        moe.router.weight[0] = 0
    journal = Journal()
    moe(torch.randn(3, 50, WIDTH, dtype=torch.float64), journal)
    assert int(journal[0].load.sum()) == 3 * 50 * 2


def test_shares_of_all_sum_to_less_than_one() -> None:
    router = Router(WIDTH, 6, 2, "all")
    x = torch.randn(9, WIDTH)
    routing = router(x)
    want = routing.logits.softmax(-1).gather(1, routing.chosen)
    torch.testing.assert_close(routing.weights, want)
    assert bool((routing.weights.sum(1) < 1).all())


@pytest.mark.parametrize("layers", [1, 3])
def test_the_balancing_loss_of_transformers(layers: int) -> None:
    torch.manual_seed(layers)
    router = Router(WIDTH, 5, 2)
    journal = [router(torch.randn(40, WIDTH) * 8) for _ in range(layers)]
    theirs = load_balancing_loss_func(tuple(r.logits for r in journal), 5, 2)
    torch.testing.assert_close(load_balancing(journal), theirs)
    z = torch.cat([r.logits for r in journal]).logsumexp(-1)
    torch.testing.assert_close(router_z(journal), (z**2).mean())


def test_the_balancing_loss_has_its_bounds() -> None:
    even = Routing(torch.zeros(8, 4), torch.ones(8, 2) / 2, torch.arange(16).view(8, 2) % 4)
    assert float(load_balancing([even])) == pytest.approx(2)
    one = Routing(torch.tensor([[50.0, 0, 0, 0]] * 8), torch.ones(8, 1), torch.zeros(8, 1, dtype=torch.long))
    assert float(load_balancing([one])) == pytest.approx(4)


def spread(journal: Journal) -> float:
    """The busiest expert's load over the mean."""
    load = journal[-1].load
    return float(load.max() / load.mean())


@pytest.mark.parametrize("rule", ["penalty", "nudge"])
def test_both_rules_even_out_a_crooked_router(rule: str) -> None:
    torch.manual_seed(3)
    moe = MoE(WIDTH, HIDDEN, 8, 2)
    x = torch.randn(512, WIDTH) + 1.0  # a common direction: some experts get nearly all at first
    journal = Journal()
    moe(x, journal)
    before = spread(journal)
    optimiser = torch.optim.Adam([moe.router.weight], lr=1e-2)
    for _ in range(150):
        journal = Journal()
        moe(x, journal)
        if rule == "nudge":
            Nudge(0.002)([moe.router], journal)
        else:
            optimiser.zero_grad()
            Penalty(balance=1.0)(journal).backward()
            optimiser.step()
    assert before > 1.8 and spread(journal) < 1.35, (before, spread(journal))
    if rule == "nudge":  # the weights do not know of the bias
        torch.testing.assert_close(
            journal[-1].weights, journal[-1].logits.gather(1, journal[-1].chosen).softmax(-1)
        )


PROCESS = """
import os, sys, torch, torch.distributed as dist
from tuti.nn.moe import MoE, across, keep_own
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
group = dist.group.WORLD
torch.manual_seed(5)
moe = MoE(12, 20, 6, 2, dispatch=across(group), capacity=float(sys.argv[3]) or None).double()
keep_own(moe, group)
x = torch.load(f"{folder}/x.pt", weights_only=True)[rank].requires_grad_()
y = moe(x)
(y * torch.arange(1.0, 13)).sum().backward()
grads = {name: p.grad for name, p in moe.named_parameters()}
torch.save({"y": y.detach(), "x": x.grad, **grads}, f"{folder}/{rank}.pt")
dist.barrier()
dist.destroy_process_group()
os._exit(0)  # threads of gloo's that are still there have aborted an ordinary exit, after all was done
"""


@pytest.mark.parametrize("capacity", [0.0, 0.5])
@pytest.mark.parametrize("tokens", [(7, 9), (1, 5), (0, 3)])
def test_experts_of_two_processes_are_those_of_one(
    tokens: tuple[int, int], capacity: float, tmp_path: Path
) -> None:
    torch.manual_seed(11)
    xs = [torch.randn(n, 12, dtype=torch.float64) for n in tokens]
    torch.save(xs, tmp_path / "x.pt")
    command = [sys.executable, "-c", PROCESS]
    children = [
        subprocess.Popen([*command, str(rank), str(tmp_path), str(capacity)]) for rank in (0, 1)
    ]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.manual_seed(5)
    one = MoE(12, 20, 6, 2, capacity=capacity or None).double()
    inputs = [x.clone().requires_grad_() for x in xs]
    for rank, x in enumerate(inputs):
        y = one(x)
        torch.testing.assert_close(found[rank]["y"], y.detach(), rtol=0, atol=1e-12)
        (y * torch.arange(1.0, 13)).sum().backward()
        torch.testing.assert_close(found[rank]["x"], x.grad, rtol=0, atol=1e-12)
    router = found[0]["router.weight"] + found[1]["router.weight"]
    torch.testing.assert_close(router, one.router.weight.grad, rtol=0, atol=1e-12)
    for e, expert in enumerate(one.experts):
        for name in ("gate_up", "down"):
            want = getattr(expert, name).weight.grad
            got = found[e // 3][f"experts.{e % 3}.{name}.weight"]
            torch.testing.assert_close(
                got, torch.zeros_like(got) if want is None else want, rtol=0, atol=1e-12
            )
