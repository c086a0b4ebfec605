"""The page `/mixtral` of Studio: a text coloured by the expert of each token, and each layer's loads."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from tuti import ui
from tuti.nn import Decoder
from tuti.run import UserError, read_toml
from tuti.run.directory import runs_of
from tuti.systems.mixtral.routes import Traced, entropy, evenness, informed, kinds, read_model, trace
from tuti.text import Tokenizer
from tuti.ui.template import templates

RUNS = 30
"""The newest, to choose from"""
LONGEST = 4000
"""Characters of the text"""
SAMPLE = "The parrot speaks. طوطی سخن می‌گوید. 1, 2, 3!"
TOLD: dict[str, dict[str, str]] = read_toml(__file__, "page.toml")
"""What the page says, by language"""
MARKUP = templates(Path(__file__).parent).get_template("page.html")


def page(runs: Path, query: Mapping[str, str]) -> list[str]:
    """The parts: a form, the coloured text of one layer, loads and what experts tell; `query` has `lang`."""
    told = TOLD.get(query["lang"], TOLD["en"])
    found = [path.name for path in _runs(runs)]
    parts: list[str] = [ui.paragraph(told["lead"])]
    if not found:
        return [*parts, ui.paragraph(told["none"])]
    name = query["run"] if query.get("run") in found else found[0]
    text = query.get("text", SAMPLE).replace("\r\n", "\n")[:LONGEST]  # as forms send the ends of lines
    asked = {"lang": query["lang"], "run": name, "text": text, "layer": query.get("layer", "0")}
    given: dict[str, object] = {"told": told, "asked": asked, "runs": found, "longest": LONGEST}
    try:
        model, tokenizer = _loaded(runs / name, (runs / name).stat().st_mtime_ns)
        traced = trace(model, tokenizer, text)
    except (UserError, OSError) as error:
        return [*parts, MARKUP.render(given, layers=1, pieces=()), ui.paragraph(error, "bad")]
    layers = len(traced.chosen)
    layer = min(int(asked["layer"]), layers - 1) if asked["layer"].isdecimal() else 0
    asked["layer"] = str(layer)
    pieces = list(zip(traced.pieces, traced.chosen[layer], traced.weights[layer], strict=True))
    parts.append(MARKUP.render(given, layers=layers, pieces=pieces, experts=traced.experts))
    return [*parts, _loads(traced, told), _tells(traced, told)]


def _runs(runs: Path) -> list[Path]:
    """The newest finished runs of `mixtral train`."""
    made = [(run, run / "artifacts" / "model" / "config.json") for run in runs_of(runs, "mixtral", "train")]
    told = [(run, path.read_text("utf-8", "replace")) for run, path in made if path.exists()]
    return [run for run, text in told if '"num_local_experts"' in text][:RUNS]


@lru_cache(maxsize=1)
def _loaded(path: Path, state: int) -> tuple[Decoder, Tokenizer]:
    return read_model(path)


def _loads(traced: Traced, told: Mapping[str, str]) -> str:
    heads = [told["layer"], *map(str, range(traced.experts)), told["even"], told["idle"]]
    rows: list[list[object]] = []
    for number, load in enumerate(traced.loads):
        shares = [round(100 * int(tokens) / len(traced.pieces)) for tokens in load]
        rows.append([number, *shares, round(evenness(load), 2), int((load == 0).sum())])
    return ui.table(told["load"], heads, rows)


def _tells(traced: Traced, told: Mapping[str, str]) -> str:
    heads = ["", *(f"{told['layer']} {n}" for n in range(len(traced.chosen))), told["of"]]
    rows = [
        [told[name], *(round(informed(row, labels), 2) for row in traced.first), round(entropy(labels), 2)]
        for name, labels in kinds(traced.pieces).items()
    ]
    return ui.table(told["tells"], heads, rows)
