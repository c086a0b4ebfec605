"""The loop, the optimisers and the checkpoints: exact under accumulation, restart and kill."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tuti.run import Run, RunOptions, UserError
from tuti.train import AdamW, Checkpoints, Muon, Optimiser, Trapezoid
from tuti.train.checkpoints import load_checkpoint
from tuti.train.fit import fit


@dataclass(frozen=True)
class Pairs:
    x: Tensor
    y: Tensor

    @property
    def num_targets(self) -> int:
        return len(self.x)


def model_of(dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(dtype)


def loss(model: nn.Module, batch: Pairs) -> Tensor:
    return nn.functional.cross_entropy(model(batch.x).float(), batch.y, reduction="sum")


def pairs(step: int, sizes=(12,), dtype=torch.float32) -> list[Pairs]:
    chance = torch.Generator().manual_seed(step)
    x = torch.randn(sum(sizes), 8, generator=chance, dtype=torch.float64).to(dtype)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    return [Pairs(a, b) for a, b in zip(x.split(list(sizes)), y.split(list(sizes)), strict=True)]


@given(st.integers(1, 5000), st.integers(0, 200), st.floats(0.01, 1), st.integers(0, 20_000))
def test_the_schedule_stays_between_0_and_1(steps, warmup, decay, step) -> None:
    value = Trapezoid(steps, warmup, decay)(step)
    assert 0 <= value <= 1


def test_the_schedule_rises_stays_and_falls() -> None:
    schedule = Trapezoid(100, warmup=10, decay=0.4)
    values = [schedule(step) for step in range(100)]
    assert values[0] < values[9] < values[10] == values[59] == 1 > values[80] > values[99] > 0


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 5e-6)], ids=["fp64", "fp32"]
)
def test_unequal_micro_batches_give_the_gradient_of_the_big_batch(dtype, bound) -> None:
    def gradients(sizes):
        model, taken = model_of(dtype), []
        optimiser = Optimiser(model, AdamW())
        optimiser.step = lambda _: taken.extend(p.grad.clone() for p in model.parameters()) or 0.0
        batches = lambda step: pairs(step, sizes, dtype)  # noqa: E731
        mean = lambda m, b: nn.functional.cross_entropy(m(b.x), b.y, reduction="sum")  # noqa: E731
        list(fit(model, optimiser, Trapezoid(1), batches, mean, start=0, steps=1))
        return taken

    for one, many in zip(gradients((60,)), gradients((1, 37, 20, 2)), strict=True):
        assert ((one - many).norm() / one.norm()).item() <= bound


@pytest.mark.parametrize("method", [AdamW(lr=0.01), Muon(lr=0.05)], ids=["adamw", "muon"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns_and_a_restart_changes_no_bit(tmp_path: Path, method, dtype) -> None:
    def run(start: int, stop: int, state=None):
        model = model_of(dtype)
        optimiser = Optimiser(model, method)
        if state is not None:
            optimiser.restore(state)
        losses = [
            step.loss
            for step in fit(
                model,
                optimiser,
                Trapezoid(60, 5),
                lambda n: pairs(n, dtype=dtype),
                loss,
                start=start,
                steps=stop,
            )
        ]
        return losses, {k: v.clone() for k, v in optimiser.state().items()}, model

    losses, whole, _ = run(0, 60)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    _, half, _ = run(0, 30)
    kept = Checkpoints(Run(tmp_path, RunOptions()))
    kept.save(30, half)
    kept.wait()
    step, state = load_checkpoint(Run(tmp_path, RunOptions()).resume())
    again, end, model = run(step, 60, state)
    assert again == losses[30:]
    assert whole.keys() == end.keys() and all(torch.equal(whole[k], end[k]) for k in whole)
    for (name, weight), master in zip(
        model.named_parameters(), Optimiser(model, method).masters.values(), strict=True
    ):
        assert torch.equal(weight.float(), master.float()), name


def test_bf16_weights_follow_fp32_masters() -> None:
    """Updates far below bf16's resolution add up instead of vanishing."""
    model = nn.Linear(4, 4, bias=False).to(torch.bfloat16)
    nn.init.ones_(model.weight)
    optimiser = Optimiser(model, AdamW(lr=1e-4, weight_decay=0.0))
    for _ in range(100):
        model.weight.grad = torch.ones_like(model.weight)
        optimiser.step(1.0)
    assert float(model.weight.detach().float().mean()) == pytest.approx(0.99, abs=0.004)


def test_a_step_that_is_not_finite_changes_nothing_and_is_refused() -> None:
    model = model_of()
    before = [p.clone() for p in model.parameters()]
    bad = lambda m, b: loss(m, b) * float("nan")  # noqa: E731
    steps = fit(model, Optimiser(model, AdamW()), Trapezoid(5), pairs, bad, start=0, steps=5)
    with pytest.raises(UserError, match="the loss became nan") as caught:
        next(steps)
    assert "--resume" in caught.value.hint
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_batch_with_nothing_to_predict_is_refused() -> None:
    model = model_of()
    empty = lambda step: [Pairs(torch.zeros(0, 8), torch.zeros(0, dtype=torch.long))]  # noqa: E731
    steps = fit(model, Optimiser(model, AdamW()), Trapezoid(5), empty, loss, start=0, steps=5)
    with pytest.raises(UserError, match="every target is masked"):
        next(steps)


def test_checkpoints_rotate_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, RunOptions())
    kept = Checkpoints(run, keep=2)
    for step in (1, 2, 3):
        kept.save(step, {"a": torch.full((3,), float(step))})
    kept.wait()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000002",
        "step-00000003",
    ]
    newest = run.resume()
    assert load_checkpoint(newest)[1]["a"][0] == 3
    (newest / "state.safetensors").write_bytes(b"\x08")
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(newest)


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_kill_inside_a_checkpoint_leaves_the_one_before(tmp_path, call: str, number: int) -> None:
    run = Run(tmp_path, RunOptions())
    kept = Checkpoints(run)
    kept.save(1, {"a": torch.ones(3)})
    kept.wait()
    pid = os.fork()
    if pid == 0:
        real, count = getattr(os, call), [0]

        def deadly(*arguments):
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        setattr(os, call, deadly)
        kept.save(2, {"a": torch.ones(3) * 2})
        kept.wait()
        os._exit(0)
    os.waitpid(pid, 0)
    step, state = load_checkpoint(run.resume())
    assert torch.equal(state["a"], torch.full((3,), float(step)))


def test_a_full_disk_reaches_the_training_thread(tmp_path: Path, monkeypatch) -> None:
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = Checkpoints(Run(tmp_path, RunOptions()))
    kept.save(1, {"a": torch.ones(3)})
    kept.wait()
    monkeypatch.setattr(os, "fsync", full)
    kept.save(2, {"a": torch.ones(3)})
    with pytest.raises(UserError, match="no space left"):
        kept.wait()
    monkeypatch.undo()
    assert load_checkpoint(Run(tmp_path, RunOptions()).resume())[0] == 1
