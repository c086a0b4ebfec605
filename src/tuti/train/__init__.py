"""Parts of training: the loop, optimisers, schedules, checkpoints, several processes."""

from tuti.train.checkpoints import Checkpoints, load_checkpoint
from tuti.train.distributed import Processes, processes
from tuti.train.fit import DTYPES, Parts, Trapezoid, Updates, batch_loss, train
from tuti.train.optimisers import AdamW, Muon, Optimiser

__all__ = [
    "DTYPES", "AdamW", "Checkpoints", "Muon", "Optimiser", "Parts", "Processes", "Trapezoid", "Updates",
    "batch_loss", "load_checkpoint", "processes", "train",
]
