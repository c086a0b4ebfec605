"""Half a character is never followed by anything but its other half (`text.utf8` says what that is)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tuti.text import Tokenizer


class Spelling:
    """Keeps a model's draws to tokens that go on with valid UTF-8.

    A draw is then one from the model's own distribution, given that the next byte is possible. Outputs
    of the model that no token stands for (vocabularies are padded to round numbers) are never drawn.
    """

    def __init__(self, tokenizer: Tokenizer, vocab: int) -> None:
        """`vocab`: how many logits the model has."""
        self._after = tokenizer.utf8.after
        allowed = torch.from_numpy(tokenizer.utf8.allowed)
        missing = max(0, vocab - allowed.shape[1])
        self._banned = torch.nn.functional.pad(~allowed, (0, missing), value=True)[:, :vocab]

    def kept(
        self, logits: Float[Tensor, "batch vocab"], places: Sequence[int]
    ) -> Float[Tensor, "batch vocab"]:
        """The logits, −∞ where a token cannot follow; `places` as `after` gave them, a row each."""
        return logits.masked_fill(self._banned[list(places)], -torch.inf)

    def after(self, place: int, token_id: int) -> int:
        """Where an answer stands when a token has been added to it."""
        return int(self._after[place, token_id])
