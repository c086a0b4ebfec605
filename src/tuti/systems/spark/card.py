"""View `tuti spark card`: what a corpus holds and what was left out of it, as Markdown."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tuti.run import damaged, find_artifact, printable, read_json


@dataclass(frozen=True)
class DataCard:
    """Prints the data card of a corpus that was prepared."""

    run: Positional[Path]
    """A run of prepare, or of teach"""


def card(config: DataCard) -> None:
    """Counts, scripts, and drops by rule with examples."""
    print(printable(data_card(find_artifact(preparation(config.run), "Documents"))), end="")


def data_card(folder: Path) -> str:
    """The card of the Documents in this folder; a report holds it, too."""
    import jinja2

    stats, drops = (read_json(folder / f"{name}.json") for name in ("stats", "drops"))
    source = Path(__file__).with_name("card.jinja").read_text("utf-8")
    template = jinja2.Template(source, trim_blocks=True, undefined=jinja2.StrictUndefined)
    with damaged(f"stats.json or drops.json in {folder} is", "make it again", jinja2.TemplateError):
        return template.render(stats=stats, drops=drops)


def preparation(run: Path) -> Path:
    """The run of `prepare`, which a run of `teach` has among its stages."""
    inner = run / "stages" / "prepare"
    return inner if inner.exists() else run
