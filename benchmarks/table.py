"""The tables of benchmarks in README and in the rooms' pages, made from benchmarks/results.

`python benchmarks/table.py` rewrites them; in a room's page the first mark names its benchmarks.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- benchmarks: made by benchmarks/table.py -->", "<!-- /benchmarks -->"
BARS = {
    "pretrain": ("training tokens/s ÷ `transformers` Llama, fp32", 1.0, True),
    "decode": ("SmolLM2 fp32 greedy tokens/s ÷ `transformers` generate", 1.4, True),
    "serve": ("16 HTTP streams, tokens/s ÷ `transformers` generate, batch 16", 1.5, True),
    "resume": ("stall per checkpoint ÷ time between checkpoints, ÷ 2 %", 1.0, False),
    "demo": ("`make demo` wall minutes ÷ 12", 1.0, False),
    "ngram": ("bits per byte won over the best byte n-gram ÷ .08 (worse of two texts)", 1.0, True),
    "dedup": ("near duplicates, 300 MB, MB/s ÷ `datatrove`, two processes each", 1.0, True),
    "engine": ("words counted in 200 MB ÷ PySpark `local[2]`, session start included", 1.0, True),
    "engine-warm": ("the same, second time, without it", 0.5, True),
    "prepare": ("the whole chain of `tuti spark prepare`, MB/s ÷ `datatrove` with the same rules", 1.0, True),
    "quality": ("`prepare`'s rules against 400 labels, share agreed with ÷ .95", 1.0, True),
    "prepare-scale": ("`tuti spark prepare`, documents/s, two executors ÷ one", 1.6, True),
    "moe": ("a layer of experts, 64 tokens, forward and backward, ÷ `transformers`' block", 1.2, True),
    "moe-decode": ("a billion random Mixtral parameters, fp32 tok/s ÷ `transformers` generate", 1.3, True),
    "decode-int8": ("SmolLM2 in 8 bits, greedy tokens/s ÷ `transformers` generate, fp32", 4.5, True),
    "decode-q4": ("the same GGUF file (Q4_1), greedy tokens/s ÷ llama.cpp", 0.8, True),
    "prefill": ("1,024-token prompt in 8 bits, tokens/s ÷ `transformers`, fp32", 1.2, True),
    "batch": ("16 streams, fp32, tokens/s ÷ `transformers` generate, batch 16", 2.0, True),
    "quant": ("perplexity in 8 bits ÷ fp32, SmolLM2, held-out English", 1.01, False),
    "load": ("64 clients, ten minutes, nothing lost: growth of the server's memory ÷ 3 %", 1.0, False),
    "go-playouts": ("random 9 × 9 games of Go a second, one core, ÷ `open_spiel` from Python", 15.0, True),
    "go-planes": ("AlphaGo's 49 planes of positions a second, one core, ÷ the same in numpy", 50.0, True),
    "selfplay": ("Gumbel self-play, 9 × 9, games/s ÷ one game at a time", 5.0, True),
    "recipe-2016": ("AlphaGo of 2016, an hour: points against GNU Go 1 ÷ .8, 10 ÷ .4, the worse", 1.0, True),
    "gnugo": ("points against GNU Go 10, 9 × 9: lower end of the interval ÷ .65", 1.0, True),
    "zero-7x7": ("from zero in half an hour, 7 × 7: points against 10 × the random games ÷ .8", 1.0, True),
    "minutes": ("`--minutes` 3, 10, 30: actual ÷ asked", 1.15, False),
}


def rows() -> list[str]:
    lines = ["| benchmark | measured | range | bar | met | date |", "|---|---|---|---|---|---|"]
    for name, (what, bar, more_is_better) in BARS.items():
        path = ROOT / "benchmarks" / "results" / f"{name}.json"
        sign = "≥" if more_is_better else "≤"
        if not path.exists():
            lines.append(f"| `{name}`: {what} | not measured yet | | {sign} {bar:g} | | |")
            continue
        found = json.loads(path.read_text())
        ratio, (low, high) = found["ratio"], found["range"]
        met = ratio >= bar if more_is_better else high <= bar
        lines.append(
            f"| `{name}`: {what} | {ratio:.2f} | {low:.2f}–{high:.2f} | {sign} {bar:g} | "
            f"{'yes' if met else '**no**'} | {found['date']} |"
        )
    return lines


def compared(names: list[str]) -> list[str]:
    """Ours and the peer in the unit that was measured."""
    heads = ["benchmark", "ours", "peer", "", "ratio", "range", "at least", "date"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in names:
        found = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
        low, high = found["range"]
        peer = "" if found["peer"] is None else f"{found['peer']:.3g}"
        figures = f"{found['ours']:.3g} | {peer} | {found['unit']} | {found['ratio']:.2f}"
        what, bar, _ = BARS[name]
        lines.append(f"| `{name}`: {what} | {figures} | {low:.2f}–{high:.2f} | {bar:g} | {found['date']} |")
    return lines


def renewed(text: str) -> str:
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        text = before + BEGIN + "\n" + "\n".join(rows()) + "\n" + END + after
    return re.sub(
        r"(<!-- measured: ([\w -]+) -->\n).*?(<!-- /measured -->)",
        lambda mark: mark[1] + "\n".join(compared(mark[2].split())) + "\n" + mark[3],
        text,
        flags=re.DOTALL,
    )


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(ROOT.glob("src/tuti/systems/*/README.md"))]


if __name__ == "__main__":
    for page in pages():
        fresh = renewed(page.read_text())
        if "--check" in sys.argv and fresh != page.read_text():
            sys.exit(f"{page.relative_to(ROOT)} has a stale table: python benchmarks/table.py")
        page.write_text(fresh)
