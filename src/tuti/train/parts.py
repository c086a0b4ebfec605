"""What every training stage is made of: its `parts(config, run)` return this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tuti.data import Batch
from tuti.nn import Decoder, Dropout, nll
from tuti.train.optimisers import AdamW, Muon


@dataclass(frozen=True)
class Parts:
    """A stage before its first update; `tuti doctor` examines these before a minute is spent."""

    model: Decoder
    batches: Callable[[int], Sequence[Batch]]
    """The micro-batches of an update, a pure function of its number"""
    loss: Callable[[nn.Module, Batch], Tensor]
    """Summed nats of a micro-batch"""
    schedule: Callable[[int], float]
    """The share of the peak learning rate at an update"""
    optimiser: AdamW | Muon


def batch_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Summed nats of a batch; neither documents nor dialogues attend across."""
    dropout = None if batch.dropout is None else Dropout(batch.dropout, batch.seeds)
    return nll(model, batch.ids, batch.targets, batch.documents, dropout)
