"""How every benchmark here measures: ours and the peer by turns, on one machine, in one run.

    from harness import compare, report
    pairs = compare(ours, peer, pairs=7)          # each callable does a fixed piece of work, returns its size
    report("pretrain", pairs, unit="tokens/s", floor={...})

The machine may be busy: A/B/A/B turns meet the same weather, and the median of the pairs' ratios
with its range says more than two means. The last line printed is one JSON object; the same
object, dated, goes to benchmarks/results/<name>.json.
"""

import datetime
import json
import os
import statistics
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Work = Callable[[], float]


@dataclass(frozen=True)
class Pair:
    """Two neighbouring measurements, in units of work per second."""

    ours: float
    peer: float

    @property
    def ratio(self) -> float:
        return self.ours / self.peer


def rate(work: Work) -> float:
    """Units of work per second of one call."""
    start = time.perf_counter()
    amount = work()
    return amount / (time.perf_counter() - start)


def compare(ours: Work, peer: Work, *, pairs: int = 7, warm_up: int = 1) -> list[Pair]:
    """Rates of ours and peer by turns, after `warm_up` unmeasured calls of each."""
    assert pairs >= 5, "the law of these benchmarks: at least five pairs"
    for _ in range(warm_up):
        ours()
        peer()
    found: list[Pair] = []
    for index in range(pairs):
        if index % 2:  # the order alternates too, so that neither always runs on a hot cache
            second = rate(peer)
            found.append(Pair(rate(ours), second))
        else:
            first = rate(ours)
            found.append(Pair(first, rate(peer)))
        show(f"pair {index + 1}/{pairs}: {found[-1].ours:,.4g} against {found[-1].peer:,.4g}")
    return found


def show(text: str) -> None:
    """Progress, on stderr, so that stdout ends with the result."""
    print(text, file=sys.stderr, flush=True)


def report(name: str, pairs: Sequence[Pair], *, unit: str, **more: Any) -> dict[str, Any]:
    """Print and keep the medians, the median ratio with its range, and whatever else was measured."""
    return write(
        name,
        ours=statistics.median(p.ours for p in pairs),
        peer=statistics.median(p.peer for p in pairs),
        unit=unit,
        ratio=statistics.median(p.ratio for p in pairs),
        spread=(min(p.ratio for p in pairs), max(p.ratio for p in pairs)),
        n=len(pairs),
        **more,
    )


def write(
    name: str,
    *,
    ours: float,
    peer: float | None,
    unit: str,
    ratio: float,
    spread: tuple[float, float],
    n: int,
    keep: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """One result: printed as the last line, and dated into results/. No peer: ratio = ours ÷ bound.

    keep: False for a short form, which is printed only.
    """
    values = {"ours": ours, "peer": peer, "unit": unit, "ratio": ratio, "range": list(spread)}
    result = {"name": name} | values | {"n": n, "machine": machine()} | more
    result = _rounded(result)
    RESULTS.mkdir(exist_ok=True)
    today = datetime.date.today().isoformat()
    text = json.dumps({"date": today} | result, indent=2, ensure_ascii=False)
    if keep:
        (RESULTS / f"{name}.json").write_text(text + "\n")
    print(json.dumps(result, ensure_ascii=False), flush=True)
    return result


def keep_files(name: str, files: Mapping[str, Iterable[Path]]) -> None:
    """Files by folder, compressed into results/, without who made them and when."""

    def nameless(about: tarfile.TarInfo) -> tarfile.TarInfo:
        return about.replace(uid=0, gid=0, uname="", gname="", mtime=0, deep=False)

    with tarfile.open(RESULTS / f"{name}.tar.xz", "w:xz") as archive:
        for folder, paths in files.items():
            for path in paths:
                archive.add(path, f"{folder}/{path.name}", filter=nameless)


def _rounded(value: Any) -> Any:
    """Four significant figures: the others are noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value


def machine() -> dict[str, Any]:
    """What the figures were measured on; they mean nothing elsewhere."""
    import torch

    from tuti.run.machine import describe

    versions = {n: metadata.version(n) for n in ("torch", "transformers") if _has(n)}
    here = describe("cpu") | {"threads": torch.get_num_threads()} | versions
    return here | {"load_before": os.getloadavg()[0]}


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
