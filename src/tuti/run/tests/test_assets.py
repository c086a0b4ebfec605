"""Assets: verified by hash, read from a stick, refused when altered."""

import json
import zipfile
from pathlib import Path

import pytest

from tuti.run import UserError, assets
from tuti.run.files import hash_file


@pytest.fixture
def stick(tmp_path: Path, monkeypatch) -> Path:
    """A folder with a small package that stands in the table under the name `hafez`."""
    monkeypatch.setenv("TUTI_CACHE", str(tmp_path / "cache"))
    row = assets.TABLE["hafez"]
    package = tmp_path / row.file
    with zipfile.ZipFile(package, "w") as wheel:
        poems = [{"id": 1, "poem": ["الا یا", "که عشق"], "interpretation": "x"}]
        wheel.writestr("hafez/data/hafez.json", json.dumps(poems))
    import dataclasses

    monkeypatch.setitem(
        assets.TABLE, "hafez", dataclasses.replace(row, sha256=hash_file(package))
    )
    return tmp_path


def test_fetch_from_a_stick_unpacks_only_the_poems(stick: Path, capsys) -> None:
    folder = assets.fetch("hafez", offline=stick)
    row = json.loads((folder / "ghazals.jsonl").read_text())
    assert row == {"text": "الا یا\nکه عشق", "id": 1}
    assert "licence: MIT" in capsys.readouterr().err
    assert assets.asset_folder("hafez") == folder == assets.fetch("hafez")


def test_an_altered_package_is_refused(stick: Path) -> None:
    package = stick / assets.TABLE["hafez"].file
    package.write_bytes(package.read_bytes() + b"x")
    with pytest.raises(UserError, match="sha256"):
        assets.fetch("hafez", offline=stick)
    assert not assets.asset_folder("hafez").exists()


def test_a_missing_package_and_an_unknown_name(stick: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not in"):
        assets.fetch("shakespeare", offline=tmp_path)
    with pytest.raises(UserError, match="no asset 'nothing'") as caught:
        assets.fetch("nothing")
    assert all(name in caught.value.hint for name in assets.TABLE)
