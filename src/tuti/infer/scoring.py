"""What held-out documents cost a model."""

import numpy as np
import torch
from numpy.typing import NDArray

from tuti.data import Tokens, held_out_rows
from tuti.nn import Decoder, token_nll


@torch.inference_mode()
def document_nats(
    model: Decoder, tokens: Tokens, context: int, documents: int, rows: int = 16
) -> NDArray[np.float64]:
    """Summed nats of each of the first `documents` documents, every token but the end id scored."""
    nats = np.zeros(len(tokens))
    device = str(model.readout.device)
    for batch, numbers in held_out_rows(tokens, context, rows, documents):
        there = batch.to(device)
        each = token_nll(model, there.ids, there.targets).double().sum(dim=1).cpu().numpy()
        np.add.at(nats, numbers, each)
    return nats[:documents]
