"""Writing so that `kill -9` at any moment leaves the old bytes or the new ones, never a mixture.

The order is always: temporary name in the same folder, write, fsync, rename, fsync of the folder.
"""

import errno
import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from tuti.run.errors import UserError, damaged

PARTIAL = ".partial"
"""Marks names that are still being written; a run that resumes removes them."""
LARGEST_JSON = 2**26


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turns a full disk into an error that says what to free; all other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"no space left while writing {path}",
                hint="free some space (tuti runs du; tuti runs rm RUN), then --resume: "
                "what was written before is whole",
            ) from error
        raise


def atomic_write(path: Path, content: bytes | str) -> None:
    """Writes a file that is either absent, as before, or complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    with disk_errors(path):
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        _fsync(partial)
        os.replace(partial, path)
        _fsync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """A temporary folder to fill, which becomes `path` (replacing what was there) on success."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    with disk_errors(path):
        yield partial
        for file in sorted(partial.rglob("*")):
            _fsync(file)
        _fsync(partial)
        replaced = path.with_name(f".{path.name}.replaced{PARTIAL}")
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            os.rename(path, replaced)  # a kill between the two renames is healed by `sweep`
        os.rename(partial, path)
        _fsync(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes what a killed process left half-written directly inside `folder`."""
    for left in sorted(folder.glob(f".*{PARTIAL}")):
        if left.name.endswith(f".replaced{PARTIAL}"):
            whole = left.with_name(left.name[1 : -len(f".replaced{PARTIAL}")])
            if not whole.exists():
                os.rename(left, whole)
                continue
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def read_toml(module: str, name: str) -> dict[str, Any]:
    """What a TOML file beside a module (its `__file__`) says."""
    return tomllib.loads(Path(module).with_name(name).read_text("utf-8"))


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """The object in a JSON file of at most 64 MB, with the keys `needed`; else an error in words."""
    hint = "the download or copy may have been cut short; fetch or make it again"
    try:
        size = path.stat().st_size
        found = json.loads(path.read_bytes()) if size <= LARGEST_JSON else None
    except FileNotFoundError:
        raise UserError(f"there is no {path.name} in {path.parent}", hint=hint) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON: {str(error)[:200]}", hint=hint) from error
    if size > LARGEST_JSON:
        raise UserError(f"{path} has {size:,} bytes; at most {LARGEST_JSON:,} are read", hint=hint)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__}, not a table", hint=hint)
    if lacking := sorted({*needed} - cast(dict[str, Any], found).keys()):
        raise UserError(f"{path} lacks {', '.join(lacking)}", hint=hint)
    return cast(dict[str, Any], found)


def read_rows(path: Path) -> Iterator[Any]:
    """The rows of a file of JSON lines, one by one; only a newline ends one. A damaged file is refused."""
    with damaged(f"{path} is", hint="tuti spark prepare FOLDER"):
        with open(path, encoding="utf-8", newline="\n") as lines:
            yield from map(json.loads, lines)


def read_documents(folder: Path, split: str) -> Iterator[dict[str, str]]:
    """The rows of one split of a Documents artifact: id, source, script, text; in the order of a hash."""
    shards = folder.glob(f"{split}-*.jsonl")
    for path in sorted(shards, key=lambda path: int(path.stem.rpartition("-")[2])):
        yield from read_rows(path)


def atomic_link(path: Path, target: Path) -> None:
    """A relative symbolic link at `path` to `target`, replaced in one step."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    partial.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(os.path.relpath(target, path.parent), partial)
    os.replace(partial, path)


def hash_text(text: str) -> str:
    """The sha256 of a string's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(path: Path) -> str:
    """The sha256 over names and contents of all files below a folder, in hexadecimal."""
    total = hashlib.sha256()
    for file in sorted(p for p in Path(path).rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{hash_file(file)}\n".encode())
    return total.hexdigest()
