"""Files → batches: token shards on disk, packing, mixing."""

from tuti.data.dialogues import held_out_rows
from tuti.data.packing import IGNORED, Batch, PackedRows, update_batches
from tuti.data.shards import Document, Tokens, read_tokens, write_tokens

__all__ = [
    "IGNORED", "Batch", "Document", "PackedRows", "Tokens", "held_out_rows", "read_tokens",
    "update_batches", "write_tokens",
]
