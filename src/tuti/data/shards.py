"""Token shards: documents as one flat array of ids on disk, with where each document begins.

    tokens.bin     uint16 or uint32, little endian; each document is [end] + its tokens
    documents.npy  int64 [documents, 3]: first token, UTF-8 bytes, source number
    index.json     dtype, vocabulary, sources, totals

Read by memory mapping: what a batch touches is all that becomes resident.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuti.run import UserError, damaged, read_json


@dataclass(frozen=True)
class Document:
    """One tokenised document: ids (the end id first), its UTF-8 bytes, and the group it is counted in."""

    ids: Sequence[int]
    bytes: int
    group: str


@dataclass(frozen=True)
class Tokens:
    """A split of token shards, memory-mapped."""

    ids: NDArray[Any]
    """[tokens] all documents end to end"""
    starts: NDArray[np.int64]
    """[documents + 1] the first token of each document, and the total"""
    bytes: NDArray[np.int64]
    """[documents] UTF-8 bytes of each"""
    groups: NDArray[np.int64]
    """[documents] the number of each one's group in `names`"""
    names: tuple[str, ...]
    vocab: int

    def __len__(self) -> int:
        return len(self.bytes)

    def leading(self, documents: int, tokens: int) -> int:
        """How many documents, from the first on, are within both limits; the first two always are."""
        within = int(np.searchsorted(self.starts[1:], tokens, side="right"))
        return min(len(self), documents, max(2, within))

    def document(self, number: int) -> NDArray[np.int64]:
        """The ids of one document, its leading end id included."""
        return self.ids[self.starts[number] : self.starts[number + 1]].astype(np.int64)


def write_tokens(folder: Path, split: str, documents: Iterable[Document], *, vocab: int) -> dict[str, int]:
    """Writes one split into `folder/<split>`; returns its totals. Memory: 24 bytes a document."""
    target = folder / split
    target.mkdir(parents=True)
    dtype = "<u2" if vocab <= 1 << 16 else "<u4"
    names: dict[str, int] = {}
    rows: list[tuple[int, int, int]] = []
    total = 0
    with open(target / "tokens.bin", "wb") as stream:
        for document in documents:
            ids = np.asarray(document.ids, dtype=np.int64)
            assert ids.size and 0 <= ids.min() and ids.max() < vocab
            stream.write(ids.astype(dtype).tobytes())
            rows.append((total, document.bytes, names.setdefault(document.group, len(names))))
            total += len(ids)
    np.save(target / "documents.npy", np.asarray(rows, dtype=np.int64).reshape(-1, 3))
    totals = {"documents": len(rows), "tokens": total, "bytes": sum(row[1] for row in rows)}
    index = {"dtype": dtype, "vocab": vocab, "groups": list(names)} | totals
    (target / "index.json").write_text(json.dumps(index, ensure_ascii=False, indent=1))
    return totals


def read_tokens(folder: Path, split: str, tokenizer: str | None = None) -> Tokens:
    """Opens one split; a truncated or altered one is refused, naming what does not fit.

    tokenizer: the hash of a model's, where the tokens must have been made with that one.
    """
    target = Path(folder) / split
    if tokenizer and read_json(target.parent / "tuti.json").get("tokenizer") not in (None, tokenizer):
        what = f"the tokens in {folder} were made with another tokenizer than the model's"
        hint = "tuti spark pack DOCUMENTS_RUN MODEL_FOLDER makes them with the model's own"
        raise UserError(what, hint)
    with damaged(f"the tokens in {target} are", "make them again: tuti spark pack"):
        index = json.loads((target / "index.json").read_text())
        rows = np.load(target / "documents.npy", allow_pickle=False)
        dtype, total = np.dtype(str(index["dtype"])), int(index["tokens"])
        size = (target / "tokens.bin").stat().st_size
        if size != total * dtype.itemsize or rows.shape != (index["documents"], 3):
            raise ValueError(f"{size} bytes of tokens, {total * dtype.itemsize} expected")
        ids = np.memmap(target / "tokens.bin", dtype=dtype, mode="r") if total else np.zeros(0, dtype=dtype)
        starts = np.append(rows[:, 0], total).astype(np.int64)
        if (np.diff(starts) <= 0).any() or starts[0] != 0:
            raise ValueError("documents out of order")
        return Tokens(ids, starts, rows[:, 1], rows[:, 2], tuple(index["groups"]), int(index["vocab"]))
