"""Does `tuti teach --minutes M` take M minutes? Actual wall time of the whole command ÷ asked.

    make bench NAME=minutes          # 3, 10 and 30 minutes; TUTI_ASKED="3 10" for fewer
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
from ngram import corpus


def main() -> None:
    asked = [float(word) for word in os.environ.get("TUTI_ASKED", "3 10 30").split()]
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "corpus"
        source.mkdir()
        corpus(source)
        for minutes in asked:
            command = [sys.executable, "-m", "tuti", "teach", str(source), "--minutes", str(minutes)]
            began = time.monotonic()
            subprocess.run([*command, "--out", f"{scratch}/run-{minutes}"], check=True)
            ratios.append((time.monotonic() - began) / 60 / minutes)
            harness.show(f"{minutes:g} minutes asked: × {ratios[-1]:.3f}")
    harness.write(
        "minutes",
        ours=statistics.median(ratios),
        peer=None,
        unit="actual ÷ asked",
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        n=len(ratios),
        asked=asked,
        each=ratios,
    )


if __name__ == "__main__":
    main()
