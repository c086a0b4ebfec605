"""View `tuti spark card`: what a corpus holds and what was left out of it, as Markdown."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tuti.run import find_artifact, read_json


@dataclass(frozen=True)
class DataCard:
    """Prints the data card of a corpus that was prepared."""

    run: Positional[Path]
    """A run of prepare, or of teach"""


def card(config: DataCard) -> None:
    """Counts, scripts, and drops by rule with examples."""
    folder = find_artifact(preparation(config.run), "Documents")
    stats, drops = (read_json(folder / f"{name}.json") for name in ("stats", "drops"))
    read = stats["sources"]
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(read["suffixes"].items()))
    print(f"# Data card\n\nRead: {read['files']:,} files, {read['bytes'] / 1e6:.2f} MB ({kinds})")
    print(f"Documents: at most {stats['passage']:,} characters each\n")
    print("| part | documents | MB | characters by language | by script |\n|---|---|---|---|---|")
    for name, part in stats["splits"].items():
        columns = (_counted(part.get("languages", {})), _counted(part["characters"]))
        print(f"| {name} | {part['documents']:,} | {part['bytes'] / 1e6:.2f} | {' | '.join(columns)} |")
    print("\nLicences: none is recorded; who may use these texts is not known")
    print("\n## Left out\n")
    for name, rule in drops["rules"].items():
        print(f"- **{name}**: {rule['count']:,} ({rule['bytes']:,} bytes)")
        for example in rule["examples"][:3]:
            print(f"  - {example['source']}: {example['text']}")
    for reason, count in drops["skipped"]["reasons"].items():
        print(f"- not read, **{reason}**: {count:,}")
    if not drops["rules"] and not drops["skipped"]["reasons"]:
        print("Nothing.")


def preparation(run: Path) -> Path:
    """The run of `prepare`, which a run of `teach` has among its stages."""
    inner = run / "stages" / "prepare"
    return inner if inner.exists() else run


def _counted(counts: dict[str, int], most: int = 8) -> str:
    """The largest of these, and how many the others are together."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    rest = sum(count for _, count in ordered[most:])
    named = [f"{name} {count:,}" for name, count in ordered[:most]]
    return ", ".join([*named, *([f"others {rest:,}"] if rest else [])])
