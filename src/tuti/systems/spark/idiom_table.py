"""The idioms of `idioms.toml`, and the tables that their programs are about.

Prices are quarters and everything else is whole: sums come out the same in whatever order they are made.
"""

import tomllib
import zlib
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from tuti.systems.spark.engine import col
from tuti.systems.spark.query.arrow import Table, pa, pc

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WORDS = "Sugar tea Rice bread salt Milk oil figs Dates mint honey Plums walnuts saffron late paid gift of the"
NAMES: dict[str, Any] = {
    "pd": import_module("pandas") if find_spec("pandas") else None,
    "F": import_module("pyspark.sql.functions") if find_spec("pyspark") else None,
    "col": col,
    "pa": pa,
    "zlib": zlib,
    "Path": Path,
    "mkdtemp": mkdtemp,
    "DAYS": DAYS,
}
"""What a program may name beside its tables"""


@dataclass(frozen=True)
class Idiom:
    """One thing that is done with tables, three times; each program is a Python expression."""

    name: str
    shape: str
    """Narrow (no row leaves its partition) or wide (rows are shuffled), and why"""
    pandas: str
    spark: str
    ours: str


READING = Idiom("(reading alone)", "narrow: a partition for each file", "t", "t", "t")
_LISTED = tomllib.loads(Path(__file__).with_name("idioms.toml").read_text("utf-8"))
IDIOMS = tuple(Idiom(**{key: text.strip() for key, text in row.items()}) for row in _LISTED["idiom"])


def evaluated(program: str, t: Any, shops: Any) -> Any:
    """What a program of this package makes of the two tables."""
    return eval(program, NAMES | {"t": t, "shops": shops})


def tables(rows: int, seed: int = 0) -> dict[str, Table]:
    """Sales (`t`), most in few shops and some without item or price; and shops, of which not all sell."""
    draw = np.random.default_rng(seed)
    words = np.array(WORDS.split())[draw.integers(0, len(WORDS.split()), (rows, 5))]
    shop, item = (draw.integers(0, n, rows) ** 2 // n for n in (40, 500))  # the first ones most often
    sales = {
        "id": np.arange(rows),
        "shop": [f"shop-{n}" for n in shop.tolist()],
        "item": pa.array([f"item-{n}" for n in item.tolist()], mask=draw.random(rows) < 0.05),
        "day": np.array(DAYS)[draw.integers(0, 7, rows)],
        "amount": draw.integers(0, 1000, rows),
        "price": pa.array(draw.integers(1, 400, rows) / 4, mask=draw.random(rows) < 0.1),
        "note": pc.binary_join_element_wise(*map(pa.array, words.T), " "),
    }
    known = [{"shop": f"shop-{n}", "city": ("Shiraz", "Tabriz", "Yazd")[n % 3]} for n in range(0, 60, 2)]
    return {"t": pa.table(sales), "shops": pa.Table.from_pylist(known)}
