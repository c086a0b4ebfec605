"""What held-out texts cost a model."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from tuti.data import Batch, Tokens, held_out_rows
from tuti.nn import Decoder, token_nll


def document_nats(
    model: Decoder, tokens: Tokens, context: int, documents: int, rows: int = 16
) -> NDArray[np.float64]:
    """Summed nats of each of the first `documents` documents, every token but the end id scored."""
    return summed_nats(model, held_out_rows(tokens, context, rows, documents), documents)


@torch.inference_mode()
def summed_nats(
    model: Decoder, batches: Iterable[tuple[Batch, NDArray[np.int64]]], count: int
) -> NDArray[np.float64]:
    """Summed nats of what is scored of each of `count` texts; each row comes with the number of its text."""
    nats = np.zeros(count)
    device = str(model.readout.device)
    for batch, numbers in batches:
        there = batch.to(device)
        each = token_nll(model, there.ids, there.targets).double().sum(dim=1).cpu().numpy()
        np.add.at(nats, numbers, each)
    return nats
