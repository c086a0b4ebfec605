"""How much memory a training stage will take, from its parts."""

import copy

import torch
from torch import Tensor

from tuti.data import Batch
from tuti.train.fit import as_dtype
from tuti.train.optimisers import Muon, is_matrix
from tuti.train.parts import Parts

SCRATCH = 100_000_000
"""Bytes that the libraries take for themselves, whatever the model"""
BACKWARD = 1.25
"""What the backward pass needs at its peak, for each byte that the forward pass kept for it"""


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
    dropout = None if batch.dropout is None else batch.dropout[chosen]
    documents = batch.numbers[chosen]
    batch = Batch(batch.ids[chosen], batch.targets[chosen], documents, dropout, tuple(range(rows)))
    model = copy.deepcopy(parts.model).to(as_dtype(precision))
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
