"""The wheel holds what it must and nothing else, and teaches outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tuti.systems.transformer.tests.grammar import write_corpus

ROOT = Path(__file__).parent.parent
TEACH = """
import sys, tuti
from tuti.pipelines.plan import Plan
assert tuti.__file__.startswith(sys.argv[1]), tuti.__file__
plan = Plan(vocab=350, width=32, layers=1, rows=2, steps=6, sft_steps=2)
run = tuti.teach("texts", out="run", plan=plan, precision="fp32")
print(run.folder)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "src", folder / "copy" / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder,
        folder / "copy",
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


def test_what_is_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        [metadata] = [name for name in inside if name.endswith("/METADATA")]
        about = archive.read(metadata).decode()
    ours = {name for name in inside if not name.split("/")[0].endswith(".dist-info")}
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "tuti").rglob("*")
        if path.is_file() and not {"tests", "__pycache__"} & set(path.relative_to(source).parts)
    }
    assert ours == wanted
    assert {"tuti/py.typed", "tuti/systems/spark/README.md", "tuti/app/studio/studio.css"} <= ours
    assert "Provides-Extra: spark" in about and "License-Expression: Apache-2.0" in about
    assert "# Tuti" in about and any(name.endswith("licenses/LICENSE") for name in inside)


def test_it_lists_and_teaches_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*install, "--target", target, wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    write_corpus(tmp_path / "texts", size=55_000)
    away = os.environ | {"PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=away, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "tuti spark prepare" in run("-m", "tuti", "list")
    assert run("-m", "tuti", "--version").startswith("tuti ")
    assert run("-c", TEACH, str(target)) == "run\n"
    assert (tmp_path / "run" / "report.html").exists()
    assert "artifact model: LanguageModel" in run("-m", "tuti", "look", "run")
