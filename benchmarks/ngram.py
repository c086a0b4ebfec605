"""Held-out bits per byte of `tuti teach` within the demo's budget, against the best byte n-gram.

    make bench NAME=ngram            # 3 seeds of the demo; TUTI_SEEDS, TUTI_MINUTES change it

The bar is the best interpolated byte n-gram (Witten–Bell or Kneser–Ney, orders 3–8) on the same bytes,
kind and order chosen on the held-out text itself, trained on the part alone or on the whole, whichever
is better: all in the n-gram's favour. Hafez and Shakespeare are scored separately.
"""

import os
import tempfile
import time
from pathlib import Path

import harness
import numpy as np

import tuti
from tuti.app.serve import Demo
from tuti.data import read_tokens
from tuti.infer import document_nats
from tuti.measure import best_ngram
from tuti.nn import load_decoder
from tuti.run import assets, read_documents

MINUTES = float(os.environ.get("TUTI_MINUTES", Demo.minutes))
SEEDS = int(os.environ.get("TUTI_SEEDS", "3"))


def corpus(folder: Path) -> Path:
    """The demo's corpus, as links in one folder."""
    for name in ("hafez", "shakespeare"):
        for file in assets.fetch(name).iterdir():
            (folder / f"{name}-{file.name}").symlink_to(file)
    return folder


def bars(documents: Path) -> dict[str, float]:
    """The best n-gram's bits per byte on each script's held-out documents."""
    train = list(read_documents(documents, "train"))
    valid = list(read_documents(documents, "valid"))
    everything = [row["text"].encode() for row in train]
    found: dict[str, float] = {}
    for script in sorted({row["script"] for row in valid}):
        own = [row["text"].encode() for row in train if row["script"] == script]
        held = [row["text"].encode() for row in valid if row["script"] == script]
        _, best = best_ngram((text for text in (own, everything) if text), held)
        harness.show(f"{script}: {best.kind} {best.order}: {best.bits_per_byte:.3f}")
        found[script] = best.bits_per_byte
    return found


def scored(run: Path) -> dict[str, float]:
    """The pretrained model's bits per byte on the same documents."""
    stages = run / "stages"
    tokens = read_tokens(stages / "pack" / "artifacts" / "tokens", "valid")
    model = load_decoder(stages / "pretrain" / "artifacts" / "model")
    nats = document_nats(model, tokens, model.config.context, len(tokens))
    return {
        name: float(nats[tokens.groups == n].sum() / np.log(2) / tokens.bytes[tokens.groups == n].sum())
        for n, name in enumerate(tokens.names)
    }


def main() -> None:
    gains: dict[str, list[float]] = {}
    ours: dict[str, list[float]] = {}
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "corpus"
        source.mkdir()
        corpus(source)
        limits: dict[str, float] = {}
        for seed in range(SEEDS):
            out = Path(scratch) / f"run-{seed}"
            began = time.monotonic()
            tuti.teach(source, out=out, seed=seed, minutes=MINUTES)
            taken.append((time.monotonic() - began) / 60)
            limits = limits or bars(out / "stages" / "prepare" / "artifacts" / "documents")
            for script, bits in scored(out).items():
                ours.setdefault(script, []).append(bits)
                gains.setdefault(script, []).append(limits[script] - bits)
                harness.show(f"seed {seed} {script}: {bits:.3f} against {limits[script]:.3f}")
    worst = min(gains, key=lambda script: min(gains[script]))
    harness.write(
        "ngram",
        ours=float(np.mean(ours[worst])),
        peer=limits[worst],
        unit="bits per byte",
        ratio=float(np.mean(gains[worst])) / 0.08,
        spread=(min(gains[worst]) / 0.08, max(gains[worst]) / 0.08),
        n=SEEDS,
        minutes=MINUTES,
        minutes_taken=taken,
        gains={s: {"mean": float(np.mean(g)), "each": g} for s, g in gains.items()},
        ours_by_script=ours,
        bars=limits,
    )


if __name__ == "__main__":
    main()
