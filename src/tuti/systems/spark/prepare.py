"""Stage `prepare`: raw folders → clean, deduplicated documents, split, with their word counts.

    read → cut into passages → clean and judge each (`clean.py`) → one of each content, apart from evaluation
    sets → near duplicates → long paragraphs that stand in another document → split by hash →
    Documents, WordCounts

Which texts survive, and in which order, depends on content alone (and on what a file's suffix says of its
format), so any engine with any number of partitions writes the same bytes. What was left out is counted and
listed in drops.json.
"""

import json
import shutil
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
from annotated_types import Ge, Interval, Len
from tyro.conf import Positional

from tuti.run import Run, UserError, hash_text
from tuti.run.files import disk_errors
from tuti.run.machine import cores
from tuti.systems.spark import engine_spark
from tuti.systems.spark.clean import Choice, Cleaning, Edit, chosen
from tuti.systems.spark.doctor.facts import Follower, facts_of
from tuti.systems.spark.engine import Job, Session, fitting
from tuti.systems.spark.frames import Engine, local_engine
from tuti.systems.spark.gather import count, gather
from tuti.systems.spark.near import runs_of
from tuti.systems.spark.rows import Row, rows_in
from tuti.systems.spark.tally import LISTED, Tally
from tuti.systems.spark.walk import Skip, Source, walk

PIECE, MOST = 25_000_000, 4000
"""Bytes of text in a partition, and partitions at most"""
PACKED = 4
"""Bytes of text in a byte of .gz or .zst"""
SHARD_BYTES = 256_000_000
"""Size at which another file of documents is begun"""
LEAST_SHARE, FALLBACK_SHARE = 0.01, 0.02
_HINT = (
    "give a folder with texts: .txt .md .html .jsonl (rows with `text`) .parquet (a column `text`), "
    "or program code"
)


@dataclass(frozen=True)
class Prepare:
    """Turns folders of text into clean documents."""

    source: Positional[Annotated[tuple[Path, ...], Len(1)]]
    """Folders or files: .txt .md .html .jsonl .parquet .warc, .gz or .zst of these, any other text"""
    languages: str = ""
    """Languages to keep, as fa,en ("": all); program code is kept in any case"""
    genre: Choice = "auto"
    """Whose quality rules hold (auto: by the form of each text; any: nothing is judged)"""
    edits: tuple[Edit, ...] = ("mojibake", "half-spaces", "private")
    """What is mended: wrong decodings, Persian half-spaces, vowel signs; private: e-mail, phone … masked"""
    against: tuple[Path, ...] = ()
    """Evaluation sets: texts that share thirteen words in a row with them are left out"""
    near: Annotated[float, Interval(ge=0, le=1)] = 0.8
    """Jaccard similarity (of runs of five words) from which documents are near duplicates (0: they stay)"""
    passage: Annotated[int, Interval(ge=200, le=1_000_000)] = 4000
    """Longest document in characters; longer ones are cut at a blank line, newline, sentence or space"""
    valid_share: Annotated[float, Interval(gt=0, le=0.5)] = 0.05
    """Share of the documents held out, chosen by a hash of their content"""
    min_bytes: Annotated[int, Ge(1)] = 50_000
    """Least text to go on with, in bytes after cleaning"""
    master: str = ""
    """Our engine on this machine (--threads processes), unless Spark's master is named: local[N], spark://…"""
    memory: str = ""
    """Of all processes together, as 4g; "": half of what is free"""
    partitions: Annotated[int, Interval(ge=0, le=100_000)] = 0
    """Pieces of the work (0: four a core, more of a large corpus). The result is the same, byte by byte"""

    def cleaning(self) -> Cleaning:
        """How texts are judged and edited; an unknown language is refused."""
        return Cleaning(chosen(self.languages), self.genre, self.edits)


tiny = partial(Prepare, source=(Path("."),), min_bytes=1000, passage=1000, genre="any")
small = partial(Prepare, source=(Path("."),))
"""A corpus of some KB, for tests and tours; a person's own folder"""


def prepare(config: Prepare, run: Run) -> None:
    """Writes artifacts/documents (Documents) and artifacts/words (WordCounts)."""
    config.cleaning()  # an unknown language is refused before anything is read
    documents, words = (run.folder / "artifacts" / name for name in ("documents", "words"))
    sources, skips = _listed(config, run)
    listing = [(source.name, source.size, source.modified) for source in sources]
    run.inputs["source"] = hash_text(json.dumps(listing))
    if documents.exists() and words.exists():
        run.show("prepare: finished before")
        return
    scratch = run.path("scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with disk_errors(scratch):
            cut = "" if documents.exists() else _documents(config, run, sources, skips, scratch)
            with run.save("words", "WordCounts") as folder, _engine(config, run, scratch, sources) as engine:
                counts = count(engine, scratch, documents, cut)
                run.log("words", distinct=write_counts(folder / "counts.jsonl", counts))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remote(config: Prepare) -> list[str]:
    return [found for root in config.source if (found := engine_spark.address(root))]


def _listed(config: Prepare, run: Run) -> tuple[list[Source], list[Skip]]:
    """The files of this machine, and of addresses that Spark reaches."""
    remote = _remote(config)
    sources, skips = walk([r for r in config.source if not engine_spark.address(r)], exclude=run.folder)
    if remote and not config.master:
        what = f"{remote[0]} is no path of this machine; Spark reads it"
        raise UserError(what, hint="--master spark://HOST:7077, or yarn, local")
    if remote:
        spark = engine_spark.session(config.master, config.memory)
        more, passed = engine_spark.listed(spark, remote, several=len(config.source) > 1)
        sources, skips = sources + more, skips + passed
    return sources, skips


def _documents(config: Prepare, run: Run, sources: list[Source], skips: list[Skip], scratch: Path) -> str:
    """Writes the Documents; returns the first id of the train split."""
    how, tally = config.cleaning(), Tally()
    for skip in skips:
        tally.skip(skip)
    run.log("reading", files=len(sources), bytes=sum(source.size for source in sources))
    if not sources:
        raise UserError(f"nothing to read in {_names(config)}: {_found(tally)}", hint=_HINT)
    runs = (scratch / "against.npy").resolve() if config.against else None
    if runs:
        runs.parent.mkdir(parents=True, exist_ok=True)
        np.save(runs, found := runs_of(config.against, how))
        run.log("against", runs=len(found))
    with _engine(config, run, scratch, sources) as engine:
        tally.add(gather(engine, sources, scratch, config.passage, how, config.near, runs))
    _check(config, tally)
    cuts = {
        kind: cut_id(sorted_rows(scratch), kind, tally.kept_bytes[kind], count, config.valid_share)
        for kind, count in tally.kept.items()
    }
    with run.save("documents", "Documents") as folder:
        splits, drops = write_documents(scratch, folder, cuts), tally.drops()
        read = {"files": tally.files, "bytes": tally.bytes}
        stats = {"splits": splits, "sources": read, "passage": config.passage}
        for name, found in (("stats", stats), ("drops", drops)):
            text = json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")
    _report(run, splits, tally, drops)
    return cuts["document"]


def pieces(config: Prepare, sources: Sequence[Source]) -> int:
    """Partitions of a shuffle: as asked for, else as many as keep each small (0: few).

    What the search for near duplicates holds of a partition grows with it, whatever the memory.
    """
    packed = sum(s.size * (PACKED if s.name.endswith((".gz", ".zst")) else 1) for s in sources)
    wanted = min(packed // PIECE, MOST)
    return config.partitions or (wanted if wanted > 4 * cores() else 0)


@contextmanager
def _engine(config: Prepare, run: Run, scratch: Path, sources: Sequence[Source]) -> Generator[Engine]:
    """The engine that was chosen."""
    partitions = pieces(config, sources)
    if config.master:
        spark = engine_spark.session(config.master, config.memory)
        run.show(f"prepare: on Spark {spark.version}, {config.master}")
        yield engine_spark.spark_engine(spark, partitions, _remote(config))
        return

    def told(job: Job) -> None:
        done = [order for order in job.report if order["what"] != "sample"]
        tasks, rows = sum(stage.tasks for stage in job.stages), sum(order["rows"] for order in done)
        run.show(f"prepare: {len(done)} of {tasks} tasks, {rows:,} rows", passing=True)
        follow(job)

    executors, memory = fitting(run.options.threads or cores(), config.memory)
    scratch.mkdir(parents=True, exist_ok=True)
    follow = Follower(scratch)

    def ended(job: Job) -> None:
        run.log("job", **asdict(facts_of(job)))
        follow.end()

    size = {"executors": executors, "partitions": partitions}
    with Session(**size, memory=memory, folder=scratch, told=told, ended=ended) as session:
        yield local_engine(session)


def _names(config: Prepare) -> str:
    return ", ".join(engine_spark.address(path) or str(path) for path in config.source)


def _found(tally: Tally) -> str:
    skipped = [f"skipped {count} × {reason}" for reason, count in sorted(tally.reasons.items())]
    dropped = [f"dropped {rule.count} × {name}" for name, rule in sorted(tally.rules.items())]
    return ", ".join([*skipped, *dropped]) or "it is empty"


def _check(config: Prepare, tally: Tally) -> None:
    """Refuses a corpus of nothing or of too little, saying what was found."""
    count, size, dialogues = tally.kept["document"], tally.kept_bytes["document"], tally.kept["dialogue"]
    also = f" and {dialogues} dialogues" if dialogues else ""
    if not count:
        what = f"no text is left of {tally.files} files in {_names(config)}{also}: {_found(tally)}"
        raise UserError(what, hint=_HINT)
    if size < config.min_bytes or count < 2:
        raise UserError(
            f"{size:,} bytes of text in {count} documents{also} in {_names(config)}; "
            f"below {config.min_bytes:,} bytes (and 2 documents) nothing can be learnt from them "
            f"({_found(tally) if tally.reasons or tally.rules else 'nothing was dropped'})",
            hint="add more text: 200 KB gives a first impression, 5 MB a fair model; "
            "--min-bytes sets another limit",
        )


def _report(run: Run, splits: dict[str, Any], tally: Tally, drops: dict[str, Any]) -> None:
    counts = {name: part["documents"] for name, part in splits.items()}
    sizes = {name: part["bytes"] for name, part in splits.items()}
    dropped = {name: rule["count"] for name, rule in drops["rules"].items()}
    skipped = drops["skipped"]
    run.log("prepared", documents=counts, bytes=sizes, dropped=dropped, skipped=skipped["reasons"])
    run.show(
        f"prepare: {tally.files} files → {counts['train']:,} documents to train on "
        f"({sizes['train'] / 1e6:.2f} MB), {counts['valid']:,} held out"
    )
    for name, rule in drops["rules"].items():
        run.show(f"  dropped by rule “{name}”: {rule['count']:,} ({rule['bytes']:,} bytes)")
    for skip in skipped["listed"][:5]:
        run.show(f"  skipped {skip['source']}: {skip['reason']}")
    if skipped["count"] > 5:
        listed = f"; {LISTED} are listed" if skipped["count"] > LISTED else ""
        run.show(f"  … {skipped['count']} skips in all{listed} in artifacts/documents/drops.json")


def sorted_rows(scratch: Path) -> Iterator[Row]:
    """All kept rows, ids ascending."""
    for path in sorted((scratch / "sorted").glob("[0-9]*")):
        yield from rows_in(path)


def cut_id(rows: Iterable[Row], kind: str, total: int, count: int, share: float) -> str:
    """The first id of the train split; all of `kind` before it are held out.

    An id is a hash of the content, so ids below the fraction `share` are a fixed sample of the contents.
    Where these are nothing or under 1 % of the bytes, the lowest ids until 2 % are taken. The last item
    is never held out, so that train is not empty.
    """
    bound = f"{min(int(share * 2**64), 2**64 - 1):016x}"
    taken, enough = 0, 0.0
    of_kind = (row for row in rows if row.kind == kind)
    for number, row in enumerate(of_kind, start=1):
        if row.id >= bound and not enough:
            enough = LEAST_SHARE * total if taken >= LEAST_SHARE * total else FALLBACK_SHARE * total
        if number == count or (row.id >= bound and taken >= enough):
            return row.id
        taken += len(row.body.encode())
    return ""


def write_documents(scratch: Path, folder: Path, cuts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Streams the sorted rows into their files; tells what each split holds (languages: in characters).

    Documents go into `<split>-00.jsonl`, `<split>-01.jsonl`, …, each begun when the one before is full.
    """
    parts: dict[str, dict[str, Any]] = {
        name: {"documents": 0, "bytes": 0, "characters": Counter(), "languages": Counter()}
        for name in ("train", "valid", "dialogues-train", "dialogues-valid")
    }
    with ExitStack() as stack:

        def begin(name: str, number: int = 0) -> BinaryIO:
            file = f"{name}.jsonl" if name.startswith("dialogues") else f"{name}-{number:02d}.jsonl"
            return stack.enter_context(open(folder / file, "wb"))

        files, numbers = {name: begin(name) for name in parts}, Counter[str]()
        for row in sorted_rows(scratch):
            name = "valid" if row.id < cuts[row.kind] else "train"
            name, line = name if row.kind == "document" else f"dialogues-{name}", row.final().encode()
            size = files[name].tell() if row.kind == "document" else 0
            if size and size + len(line) > SHARD_BYTES:
                files[name].close()
                numbers[name] += 1
                files[name] = begin(name, numbers[name])
            files[name].write(line)
            part = parts[name]
            part["documents"] += 1
            part["bytes"] += len(row.body.encode())
            part["characters"][row.script] += len(row.body)
            part["languages"][row.language] += len(row.body)
    return parts


def write_counts(path: Path, counts: Iterable[tuple[str, int]]) -> int:
    """Writes counts.jsonl; returns the number of distinct words."""
    distinct = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for count in counts:
            file.write(json.dumps(count, ensure_ascii=False) + "\n")
            distinct += 1
    return distinct
