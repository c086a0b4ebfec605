"""Stage `pack`: Documents + Tokenizer → Tokens, the flat arrays of ids that training reads."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from tyro.conf import Positional

from tuti.data import Document, write_tokens
from tuti.run import Run, UserError, read_documents
from tuti.run.files import disk_errors
from tuti.text import ChatTemplate, Tokenizer


@dataclass(frozen=True)
class Pack:
    """Turns documents into token ids."""

    documents: Positional[Path]
    """A run of `spark prepare`"""
    tokenizer: Positional[Path]
    """A run of `transformer tokenizer`, or a folder with a tokenizer.json"""
    batch: Annotated[int, Ge(1)] = 256
    """Documents encoded at a time"""


def pack(config: Pack, run: Run) -> None:
    """Writes artifacts/tokens (Tokens): both splits, with each document's UTF-8 bytes and script."""
    source = run.load(config.documents, "Documents")
    folder = config.tokenizer  # a Tokenizer's or a model's folder as it stands, else a run
    if not (folder / "tokenizer.json").exists():
        folder = run.load(config.tokenizer, "Tokenizer")
    template = ChatTemplate.load(folder)
    tokenizer = template.tokenizer
    run.inputs["tokenizer.json"] = tokenizer.hash
    if (run.folder / "artifacts" / "tokens").exists():
        run.show("pack: finished before")
        return
    facts = {"tokenizer": tokenizer.hash, "vocab": tokenizer.vocab_size, "end": tokenizer.end}
    with disk_errors(run.folder), run.save("tokens", "Tokens", **facts) as target:
        template.save(target)  # with its tokenizer: tokens mean nothing without it
        for split in ("train", "valid"):
            encoded = encode(read_documents(source, split), tokenizer, config.batch)
            totals = write_tokens(target, split, encoded, vocab=tokenizer.vocab_size)
            if not totals["documents"]:
                raise UserError(f"the {split} split of {source} is empty", hint="tuti spark prepare FOLDER")
            run.log("packed", split=split, **totals)
            ratio = totals["bytes"] / (totals["tokens"] - totals["documents"])
            run.show(f"pack: {split}, {totals['tokens']:,} tokens, {ratio:.2f} bytes each")


def encode(rows: Iterable[dict[str, str]], tokenizer: Tokenizer, batch: int) -> Iterator[Document]:
    """Each document as its start (the end id) and its tokens; order kept, memory of one batch."""
    rows = iter(rows)
    while part := list(islice(rows, batch)):
        texts = [row["text"] for row in part]
        for row, ids in zip(part, tokenizer.encode_batch(texts), strict=True):
            yield Document([tokenizer.end, *ids], len(row["text"].encode()), row["script"])
