"""Examines a training stage before a minute is spent: each check is a row, none is passed over silently."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuti.data import IGNORED, Batch
from tuti.data.dialogues import join
from tuti.run import UserError, printable
from tuti.text import ChatTemplate, Tokenizer
from tuti.train.fit import DTYPES, Parts, fit
from tuti.train.optimisers import Muon, Optimiser, is_matrix

SHOWN = 200
"""Tokens of the printed sample"""
ROWS, WINDOW = 4, 64
"""The sample that most checks compute with: so many rows of at most so many tokens"""
NEAR = 0.5
"""Nats that the first loss of a model from random weights may lie from ln V"""
UPDATES = 60
"""Updates within which one batch must be half learnt"""
UNEQUAL = {torch.float64: 1e-12, torch.float32: 5e-6}
"""Relative difference of gradients that accumulation may make (or twice fp32's own rounding, if more)"""
DEVICES = 1e-3
"""Relative difference of gradients (fp32) that a device may make"""
SCRATCH = 100_000_000
"""Bytes that the libraries take for themselves, whatever the model"""
BACKWARD = 1.25
"""What the backward pass needs at its peak, for each byte that the forward pass kept for it"""


@dataclass(frozen=True)
class Row:
    """The outcome of one check."""

    name: str
    ok: bool
    figure: str
    bound: str
    hint: str = ""


@dataclass(frozen=True)
class Patient:
    """A stage that has not trained yet: its parts, and what the checks must know of it."""

    parts: Parts
    steps: int
    template: ChatTemplate
    chat: bool
    """Whether it learns answers: then something is masked"""
    pretrained: bool
    """Whether its model was loaded: then the first loss lies below ln V"""
    precision: str = "fp32"
    device: str = "cpu"
    micro: int = 0
    """Its option --micro (0: it has none, and memory is saved by --rows)"""
    free: int = 1 << 62
    """Bytes of memory that are free on the device"""


Finding = tuple[bool, str, str, str]
"""Of a check: whether all is well, the figure, its bound, and the remedy when it is not"""


def examine(patient: Patient) -> Iterator[Row]:
    """The rows of all checks, one after the other; a check that breaks is a row that failed."""
    for name, check in CHECKS.items():
        try:
            ok, figure, bound, hint = check(patient)
            yield Row(name, ok, figure, bound, "" if ok else hint)
        except UserError as error:
            yield Row(name, False, error.what, "no error", error.hint)
        except Exception as error:  # what breaks here would break the training
            yield Row(name, False, f"{type(error).__name__}: {error}", "no error", "is it a bug?")


def sample(patient: Patient) -> Batch:
    """ROWS rows of the first steps, each cut to the window that holds most predictions."""
    rows: list[Batch] = []
    for step in range(max(1, min(ROWS, patient.steps))):
        for batch in patient.parts.batches(step):
            rows += [cut(batch, row) for row in range(len(batch.ids))]
        if len(rows) >= ROWS:
            break
    found = reduce(join, sorted(rows, key=lambda row: -row.num_targets)[:ROWS])
    if not found.num_targets:
        raise UserError("every target of the first steps is masked", hint="look at the mask above")
    return found


def cut(batch: Batch, row: int) -> Batch:
    """One row, cut to the WINDOW tokens with most predictions."""
    counts = (batch.targets[row] != IGNORED).long().cumsum(0)
    size = min(WINDOW, batch.ids.shape[1])
    start = int((counts[size - 1 :] - F.pad(counts[:-size], (1, 0))).argmax())
    return batch.part(slice(row, row + 1), slice(start, start + size))


def check_mask(patient: Patient) -> Finding:
    """How many tokens of the first step are trained; in a stage of answers the questions are not."""
    trained, masked = 0, 0
    for batch in patient.parts.batches(0):
        counts = batch.targets != IGNORED
        numbers = batch.numbers + torch.arange(len(batch.ids))[:, None] * batch.ids.numel()
        texts = cast(Tensor, numbers[counts].unique())  # what only fills a row is no text
        trained += int(counts.sum())
        masked += int((~counts & torch.isin(numbers, texts)).sum())
    ok = trained > 0 and (masked > 0 or not patient.chat)
    bound = "some trained, some masked" if patient.chat else "some trained"
    hint = "the mask trains nothing, or the questions too: see ChatTemplate.render"
    return ok, f"{trained:,} tokens trained, {masked:,} masked", bound, hint


def check_first_loss(patient: Patient) -> Finding:
    """The loss before any update: a uniform guess costs ln V nats a token."""
    batch, uniform = sample(patient), math.log(patient.parts.model.config.vocab)
    loss = mean_loss(patient, patient.parts.model, batch)
    if patient.pretrained:
        ok, bound = loss < uniform, f"< ln V = {uniform:.3f}"
        hint = "is this the model's own tokenizer? it knows less than nothing of these tokens"
    else:
        ok, bound = abs(loss - uniform) <= NEAR, f"ln V = {uniform:.3f} ± {NEAR}"
        hint = "the initial weights are too large or too small"
    return ok, f"{loss:.3f} nats", bound, hint


def mean_loss(patient: Patient, model: nn.Module, batch: Batch) -> float:
    """Nats a predicted token, as the stage computes them."""
    with torch.no_grad():
        return float(patient.parts.loss(model, batch)) / batch.num_targets


def check_overfits(patient: Patient) -> Finding:
    """A copy of the model learns the sample by heart with the stage's own loss and optimiser."""
    model = copy.deepcopy(patient.parts.model).float().to(patient.device)
    batch = sample(patient).to(patient.device)
    optimiser = Optimiser(model, patient.parts.optimiser)
    first = mean_loss(patient, model, batch)
    loss, number = first, 0
    updates = fit(
        model, optimiser, lambda step: min(1.0, (step + 1) / 10), lambda step: [batch], patient.parts.loss,
        start=0, steps=UPDATES + 1,
    )
    for step in updates:
        loss, number = step.loss, step.number - 1
        if loss < first / 2:
            break
    figure = f"{first:.3f} → {loss:.3f} nats in {number} updates"
    hint = "the learning rate is too low or too high, or the loss is not of these targets"
    return loss < first / 2, figure, f"below {first / 2:.3f} in {UPDATES}", hint


def gradients(patient: Patient, model: nn.Module, batches: Sequence[Batch]) -> list[Tensor]:
    """Gradients of Σ nats / Σ predictions over micro-batches, accumulated as `fit` does."""
    count = sum(batch.num_targets for batch in batches)
    for batch in batches:
        (patient.parts.loss(model, batch) / count).backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return found


def difference(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest ‖a - b‖ / ‖a‖ over the tensors of a gradient."""
    pairs = [(a, b.to(a.device)) for a, b in zip(one, other, strict=True)]
    apart = [torch.dist(a, b) / torch.dist(a, torch.zeros_like(a)) for a, b in pairs]
    return max(float(share.nan_to_num(0.0, posinf=math.inf)) for share in apart)  # 0 / 0: equal


def check_gradients(patient: Patient) -> Finding:
    """Micro-batches of unequal token counts give the gradient of the one big batch."""
    whole = sample(patient)
    targets = whole.targets.clone()
    for row in range(1, len(targets)):  # a half, a quarter, an eighth of the predictions …
        places = (targets[row] != IGNORED).nonzero()[:, 0]
        targets[row, places[max(1, len(places) >> row) :]] = IGNORED
    whole = replace(whole, targets=targets)
    parts = [whole.part(rows) for rows in (slice(0, 1), slice(1, 3), slice(3, None)) if len(targets[rows])]
    found: dict[torch.dtype, float] = {}
    bounds, exact = dict(UNEQUAL), list[Tensor]()
    for dtype in UNEQUAL:
        model = copy.deepcopy(patient.parts.model).to(dtype)
        one = gradients(patient, model, [whole])
        found[dtype] = difference(one, gradients(patient, model, parts))
        # A deep pretrained model rounds by more than the bound even in one batch: fp64 shows by how much.
        bounds[dtype] = max(bounds[dtype], 2 * difference(exact or one, one))
        exact = exact or one
    ok = all(value <= bounds[dtype] for dtype, value in found.items())
    counts = " + ".join(str(part.num_targets) for part in parts)
    figure = ", ".join(f"{v:.1e} in {str(d)[6:]}" for d, v in found.items())
    bound = ", ".join(f"≤ {v:.0e}" for v in bounds.values())
    hint = "the loss must be the *sum* of nats over a micro-batch, not a mean"
    return ok, f"{counts} targets: {figure}", bound, hint


def check_device(patient: Patient) -> Finding:
    """The same gradients (fp32) on the processor and on each accelerator."""
    batch, found = sample(patient), dict[str, float]()
    model = copy.deepcopy(patient.parts.model).float().cpu()
    kinds = {"cuda": torch.cuda, "mps": torch.backends.mps}
    for device in (name for name, kind in kinds.items() if kind.is_available()):
        one = gradients(patient, model, [batch])
        there = copy.deepcopy(model).to(device)
        found[device] = difference(one, gradients(patient, there, [batch.to(device)]))
    ok = all(value <= DEVICES for value in found.values())
    figure = ", ".join(f"{name} {value:.1e}" for name, value in found.items()) or "cpu only"
    hint = "--device cpu trains exactly; compare drivers and TF32 settings"
    return ok, figure, f"≤ {DEVICES:.0e} relative", hint


def check_schedule(patient: Patient) -> Finding:
    """Every multiplier of the learning rate, from the first update to the last."""
    values = [patient.parts.schedule(step) for step in range(patient.steps)]
    bad = next((step for step, value in enumerate(values) if not 0 <= value < math.inf), None)
    ok = bad is None and max(values) > 0
    figure = f"{min(values):.3g} … {max(values):.3g} over {patient.steps:,} updates"
    where = "it is 0 everywhere" if bad is None else f"it is {values[bad]:.3g} at update {bad}"
    return ok, figure, "0 ≤ every one, some > 0", where


def check_memory(patient: Patient) -> Finding:
    """Whether one micro-batch fits into the free memory, and the one knob to turn when not."""
    rows = [len(batch.ids) for batch in patient.parts.batches(0)]
    state, activations = needed_bytes(patient.parts, patient.precision, patient.device, max(rows))
    per_row = activations / max(rows)
    smaller = max(rows)
    while smaller > 1 and state + per_row * smaller > patient.free:
        smaller = -(-smaller // 2)
    parts = math.ceil(max(rows) / smaller)
    hint = f"--micro {patient.micro * parts}" if patient.micro else f"--rows {smaller}"
    if state + per_row * smaller > patient.free:
        hint = "the weights and moments alone are too large: choose a smaller model"
    figure = f"{_size(state)} state + {_size(activations)} activations"
    return state + activations <= patient.free, figure, f"≤ {_size(patient.free)} free", hint


def needed_bytes(parts: Parts, precision: str, device: str, rows: int) -> tuple[int, int]:
    """Bytes of the model's and optimiser's state, and of the activations of `rows` rows.

    State: weights, gradients, masters and their gradients (bf16), moments, a checkpoint's copy on a
    processor, and the libraries' scratch. Activations: what the backward pass of one and of two rows
    keeps, extended to all, and its own tensors. Within 7 % of the measured peak on two processors.
    """
    model, width = parts.model, 2 if precision == "bf16" else 4
    state = sum(p.numel() for p in model.parameters()) * width
    for name, p in model.named_parameters():
        if p.requires_grad:
            moments = 4 if isinstance(parts.optimiser, Muon) and is_matrix(name, p) else 8
            masters = 8 if width == 2 else 0
            copied = moments + 4 if device == "cpu" else 0
            state += p.numel() * (width + masters + moments + copied)
    one, two = (saved_bytes(parts, precision, count) for count in (1, 2))
    return state + SCRATCH, round(BACKWARD * (one + (two - one) * (rows - 1)))


def saved_bytes(parts: Parts, precision: str, rows: int) -> int:
    """Bytes that a forward pass over `rows` rows of the first step keeps for the backward pass."""
    batch = parts.batches(0)[0]
    chosen = torch.arange(rows) % len(batch.ids)
    tensors = {name: value[chosen] for name, value in vars(batch).items() if isinstance(value, Tensor)}
    batch = replace(batch, **tensors, seeds=tuple(range(rows)))
    model = copy.deepcopy(parts.model).to(DTYPES[precision])
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept = parts.loss(model, batch)  # alive, so that no storage is used twice
    del kept
    return sum(sizes.values())


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def mask_text(batch: Batch, tokenizer: Tokenizer, *, colour: bool) -> str:
    """The row with most answers as text, what is trained in green (or in brackets)."""
    counted = batch.targets != IGNORED
    row = int((counted[:, 1:] & ~counted[:, :-1]).sum(1).argmax())  # where most of them begin
    said: list[tuple[int, bool]] = []
    ids, targets, numbers = (
        cast(list[int], x[row].tolist()) for x in (batch.ids, batch.targets, batch.numbers)
    )
    for t in range(min(SHOWN, len(ids))):
        begins = t == 0 or numbers[t] != numbers[t - 1]
        if begins:
            if t and targets[t - 1] != IGNORED:
                said.append((targets[t - 1], True))
            if all(target == IGNORED for target in targets[t:]):
                break  # what is left of the row is filling
        said.append((ids[t], not begins and targets[t - 1] != IGNORED))
    begin, end = ("\x1b[32m", "\x1b[0m") if colour else ("[", "]")
    runs = ((trained, [i for i, _ in run]) for trained, run in groupby(said, key=lambda one: one[1]))
    pieces = ((trained, printable(tokenizer.decode(run))) for trained, run in runs)
    return "".join(f"{begin}{piece}{end}" if trained else piece for trained, piece in pieces)


CHECKS: dict[str, Callable[[Patient], Finding]] = {
    "mask": check_mask,
    "first loss": check_first_loss,
    "one batch overfits": check_overfits,
    "accumulation": check_gradients,
    "cpu against device": check_device,
    "schedule": check_schedule,
    "memory": check_memory,
}
