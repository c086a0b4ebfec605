"""The page `/mixtral` of Studio: a text coloured by the expert of each token, and each layer's loads."""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from tuti import ui
from tuti.nn import Decoder
from tuti.run import UserError
from tuti.run.directory import read_config
from tuti.systems.mixtral.routes import Traced, entropy, evenness, informed, kinds, read_model, trace
from tuti.text import Tokenizer

RUNS = 30
"""The newest, to choose from"""
LONGEST = 4000
"""Characters of the text"""
SAMPLE = "The parrot speaks. طوطی سخن می‌گوید. 1, 2, 3!"
TOLD: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("page.toml").read_text("utf-8"))
"""What the page says, by language"""


def page(runs: Path, query: Mapping[str, str]) -> list[str]:
    """The parts: a form, the coloured text of one layer, loads and what experts tell; `query` has `lang`."""
    told = TOLD.get(query["lang"], TOLD["en"])
    found = [path.name for path in _runs(runs)]
    parts: list[str] = [ui.paragraph(told["lead"])]
    if not found:
        return [*parts, ui.paragraph(told["none"])]
    name = query.get("run") if query.get("run") in found else found[0]
    text = query.get("text", SAMPLE).replace("\r\n", "\n")[:LONGEST]  # as forms send the ends of lines
    try:
        model, tokenizer = _loaded(runs / str(name), (runs / str(name)).stat().st_mtime_ns)
        traced = trace(model, tokenizer, text)
    except (UserError, OSError) as error:
        return [*parts, _form(told, query, found, str(name), text, 1), ui.paragraph(error, "bad")]
    count = len(traced.chosen)
    asked = query.get("layer", "0")
    layer = min(int(asked), count - 1) if asked.isdecimal() else 0
    parts.append(_form(told, query, found, str(name), text, count, layer))
    parts.append(f"<h2>{told['layer']} {layer}</h2>{_coloured(traced, layer, told)}")
    return [*parts, _loads(traced, told), _tells(traced, told)]


def _runs(runs: Path) -> list[Path]:
    """The newest finished runs of `mixtral train`."""
    found: list[tuple[float, Path]] = []
    for path in runs.glob("*/artifacts/model/config.json"):
        about = read_config(folder := path.parents[2], or_nothing=True)
        if about.get("room") == "mixtral" and '"num_local_experts"' in path.read_text("utf-8", "replace"):
            found.append((path.stat().st_mtime, folder))
    return [path for _, path in sorted(found, reverse=True)[:RUNS]]


@lru_cache(maxsize=1)
def _loaded(path: Path, state: int) -> tuple[Decoder, Tokenizer]:
    return read_model(path)


def _form(
    told: Mapping[str, str], query: Mapping[str, str], runs: list[str], name: str, text: str, layers: int,
    layer: int = 0,
) -> str:
    return (
        f'<form method="get"><input type="hidden" name="lang" value="{ui.escape(query["lang"])}">'
        f"<p>{_choice('run', told['run'], runs, name)} "
        f"{_choice('layer', told['layer'], [str(n) for n in range(layers)], str(layer))}</p>"
        f'<p><label for="text">{told["text"]}</label><br><textarea id="text" name="text" rows="4" '
        f'dir="auto" maxlength="{LONGEST}" style="width:100%">{ui.escape(text)}</textarea></p>'
        f'<p><button type="submit">{told["show"]}</button></p></form>'
    )


def _choice(name: str, label: str, options: list[str], chosen: str) -> str:
    listed = "".join(
        f"<option{' selected' if option == chosen else ''}>{ui.escape(option)}</option>" for option in options
    )
    return f'<label>{label} <select name="{name}">{listed}</select></label>'


def _coloured(traced: Traced, layer: int, told: Mapping[str, str]) -> str:
    """The text, each token on its first expert's colour; the experts' numbers are in its title."""
    spans: list[str] = []
    for piece, row, share in zip(traced.pieces, traced.chosen[layer], traced.weights[layer], strict=True):
        title = ", ".join(f"{e}: {w:.2f}" for e, w in zip(row, share, strict=True))
        spans.append(_mark(int(row[0]), traced.experts, ui.escape(piece), f' title="{title}"'))
    legend = " ".join(_mark(e, traced.experts, f"{told['expert']} {e}") for e in range(traced.experts))
    return f'<p>{legend}</p><p dir="auto" style="white-space:pre-wrap;line-height:1.9">{"".join(spans)}</p>'


def _mark(expert: int, experts: int, inside: str, more: str = "") -> str:
    hue = 360 * expert // experts
    return f'<span style="background:hsl({hue} 75% 78%);color:#111"{more}>{inside}</span>'


def _loads(traced: Traced, told: Mapping[str, str]) -> str:
    heads = [told["layer"], *map(str, range(traced.experts)), told["even"], told["idle"]]
    rows: list[list[object]] = []
    for number, load in enumerate(traced.loads):
        shares = [round(100 * int(tokens) / len(traced.pieces)) for tokens in load]
        rows.append([number, *shares, round(evenness(load), 2), int((load == 0).sum())])
    return ui.table(told["load"], heads, rows)


def _tells(traced: Traced, told: Mapping[str, str]) -> str:
    heads = ["", *(f"{told['layer']} {n}" for n in range(len(traced.chosen))), told["of"]]
    rows: list[list[object]] = []
    for name, labels in kinds(traced.pieces).items():
        bits = [round(informed(row, labels), 2) for row in traced.first]
        rows.append([told[name], *bits, round(entropy(labels), 2)])
    return ui.table(told["tells"], heads, rows)
