"""Files → batches: token shards on disk, packing, mixing."""

from tuti.data.dialogues import held_out_rows as held_out_rows
from tuti.data.packing import IGNORED as IGNORED
from tuti.data.packing import Batch as Batch
from tuti.data.packing import PackedRows as PackedRows
from tuti.data.packing import update_batches as update_batches
from tuti.data.shards import Document as Document
from tuti.data.shards import Tokens as Tokens
from tuti.data.shards import read_tokens as read_tokens
from tuti.data.shards import write_tokens as write_tokens
