"""Twenty things that pandas users do, each as three programs: in pandas, in PySpark, on our engine.

A program is one expression over two tables, `t` (sales) and `shops`. Prices are quarters and everything else
is whole, so that sums come out the same in whatever order they are made.
"""

# pandas and pyspark have no types: nothing is known of what a lambda inside a program is given
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from tuti.systems.spark.engine import col
from tuti.systems.spark.query.arrow import Table, pa, pc

pd: Any = import_module("pandas") if find_spec("pandas") else None
F: Any = import_module("pyspark.sql.functions") if find_spec("pyspark") else None
DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WORDS = "Sugar tea Rice bread salt Milk oil figs Dates mint honey Plums walnuts saffron late paid gift of the"
Program = Callable[[Any, Any], Any]


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


@dataclass(frozen=True)
class Idiom:
    """One thing that is done with tables, three times."""

    name: str
    shape: str
    """Narrow (no row leaves its partition) or wide (rows are shuffled), and why"""
    pandas: Program
    spark: Program
    ours: Program


READING = Idiom("(reading alone)", "narrow: a partition for each file", *[lambda t, _: t] * 3)
IDIOMS = (
    Idiom("filter rows", "narrow: each row is judged by itself",
        pandas=lambda t, _: t[(t.amount > 900) & (t.day == "Fri")],
        spark=lambda t, _: t.filter((t.amount > 900) & (t.day == "Fri")),
        ours=lambda t, _: t.filter((col("amount") > 900) & (col("day") == "Fri")),
    ),
    Idiom("choose, rename, compute columns", "narrow; only columns that are named are read (pandas: all)",
        pandas=lambda t, _: t.assign(sale=t.id, sum=t.amount * t.price)[["sale", "sum"]],
        spark=lambda t, _: t.select(F.col("id").alias("sale"), (t.amount * t.price).alias("sum")),
        ours=lambda t, _: t.select(sale=col("id"), sum=col("amount") * col("price")),
    ),
    Idiom("value counts", "wide: partly counted before the shuffle; pandas drops None unless told",
        pandas=lambda t, _: t.item.value_counts(dropna=False).reset_index(),
        spark=lambda t, _: t.groupBy("item").count(),
        ours=lambda t, _: t.group_by("item").agg(count=("count", None)),
    ),
    Idiom("group, several figures", "wide: partly figured before; a mean travels as sum and count",
        pandas=lambda t, _: t.groupby("shop", as_index=False).agg(
            n=("price", "count"), sum=("amount", "sum"), mean=("price", "mean"), most=("amount", "max")
        ),
        spark=lambda t, _: t.groupBy("shop").agg(
            *(F.count("price").alias("n"), F.sum("amount").alias("sum")),
            *(F.mean("price").alias("mean"), F.max("amount").alias("most")),
        ),
        ours=lambda t, _: t.group_by("shop").agg(
            n=("count", "price"), sum=("sum", "amount"), mean=("mean", "price"), most=("max", "amount")
        ),
    ),
    Idiom("groups above a bound (having)", "wide for the groups; the filter behind them is narrow",
        pandas=lambda t, _: t.groupby("item", dropna=False).amount.mean().reset_index().query("amount > 500"),
        spark=lambda t, _: t.groupBy("item").agg(F.mean("amount").alias("amount")).filter("amount > 500"),
        ours=lambda t, _: t.group_by("item").agg(amount=("mean", "amount")).filter(col("amount") > 500),
    ),
    Idiom("top ten (sort, head)", "wide: into ranges; Spark takes ten of each partition first",
        pandas=lambda t, _: t.sort_values(["price", "id"], ascending=[False, True]).head(10),
        spark=lambda t, _: t.orderBy(F.desc("price"), "id").limit(10),
        ours=lambda t, _: t.sort("price", "id", down={"price"}).take(10),
    ),
    Idiom("drop duplicates", "wide: equal rows must meet; each partition drops its own first",
        pandas=lambda t, _: t[["shop", "item"]].drop_duplicates(),
        spark=lambda t, _: t.select("shop", "item").distinct(),
        ours=lambda t, _: t.select("shop", "item").distinct(),
    ),
    Idiom("merge, left", "wide: both sides by the key (Spark sends a small side to all: narrow)",
        pandas=lambda t, shops: t.merge(shops, on="shop", how="left"),
        spark=lambda t, shops: t.join(shops, "shop", "left"),
        ours=lambda t, shops: t.join(shops, "shop", how="left"),
    ),
    Idiom("rows without a partner (anti)", "wide, as a merge",
        pandas=lambda t, shops: t[~t.shop.isin(shops.shop)],
        spark=lambda t, shops: t.join(shops, "shop", "anti"),
        ours=lambda t, shops: t.join(shops, "shop", how="anti"),
    ),
    Idiom("concat", "narrow: partitions lie beside partitions",
        pandas=lambda t, _: pd.concat([t[t.amount < 100], t[t.amount > 900]]),
        spark=lambda t, _: t.filter(t.amount < 100).union(t.filter(t.amount > 900)),
        ours=lambda t, _: t.filter(col("amount") < 100).union(t.filter(col("amount") > 900)),
    ),
    Idiom("fill what is missing", "narrow",
        pandas=lambda t, _: t[["id", "item", "price"]].fillna({"item": "?", "price": 0}),
        spark=lambda t, _: t.select("id", "item", "price").fillna({"item": "?", "price": 0}),
        ours=lambda t, _: t.select(
            "id", item=col("item").call("coalesce", "?"), price=col("price").call("coalesce", 0.0)
        ),
    ),
    Idiom("lower case, contains", "narrow; ours has no expression for it: Python judges row by row",
        pandas=lambda t, _: t[t.note.str.lower().str.contains("sugar", regex=False)],
        spark=lambda t, _: t.filter(F.lower("note").contains("sugar")),
        ours=lambda t, _: t.filter(lambda row: "sugar" in row["note"].lower()),
    ),
    Idiom("split, explode, count words", "wide for the counts; as far as the words it is narrow",
        pandas=lambda t, _: t.note.str.lower().str.split().explode().value_counts().reset_index(),
        spark=lambda t, _: t.select(
            F.explode(F.split(F.lower("note"), " ")).alias("note")
        ).groupBy("note").count(),
        ours=lambda t, _: t.flat_map(
            lambda row: [{"note": w} for w in row["note"].lower().split()], pa.schema({"note": pa.string()})
        ).group_by("note").agg(count=("count", None)),
    ),
    Idiom("count what is missing", "wide, but of each partition one row moves",
        pandas=lambda t, _: t[["item", "price"]].isna().sum().to_frame().T,
        spark=lambda t, _: t.agg(*(F.count_if(F.isnull(c)).alias(c) for c in ("item", "price"))),
        ours=lambda t, _: t.select(
            **{c: col(c).is_null().call("if_else", 1, 0) for c in ("item", "price")}
        ).group_by().agg(item=("sum", "item"), price=("sum", "price")),
    ),
    Idiom("describe a column", "wide, but of each partition one row moves",
        pandas=lambda t, _: t.price.agg(["count", "mean", "min", "max"]).to_frame().T,
        spark=lambda t, _: t.agg(*(F.expr(f"{f}(price) {f}") for f in ("count", "mean", "min", "max"))),
        ours=lambda t, _: t.group_by().agg(**{f: (f, "price") for f in ("count", "mean", "min", "max")}),
    ),
    Idiom("a Python function of a column", "narrow, but row by row; Spark's go to a Python process and back",
        pandas=lambda t, _: t[["id"]].assign(mirrored=t.amount.map(lambda n: str(n)[::-1])),
        spark=lambda t, _: t.select("id", F.udf(lambda n: str(n)[::-1])("amount").alias("mirrored")),
        ours=lambda t, _: t.select("id", "amount").map(
            lambda row: {"id": row["id"], "mirrored": str(row["amount"])[::-1]},
            pa.schema({"id": pa.int64(), "mirrored": pa.string()}),
        ),
    ),
    Idiom("count by two keys (crosstab)", "wide: partly counted before; the second key's values are named",
        pandas=lambda t, _: pd.crosstab(t.shop, t.day)[DAYS].reset_index(),
        spark=lambda t, _: t.groupBy("shop").pivot("day", DAYS).count().fillna(0),
        ours=lambda t, _: t.select(
            "shop", **{d: (col("day") == d).call("if_else", 1, 0) for d in DAYS}
        ).group_by("shop").agg(**{d: ("sum", d) for d in DAYS}),
    ),
    Idiom("the top row of each group", "wide; ours has no maximum of structs: the largest, then who has it",
        pandas=lambda t, _: t[["shop", "amount", "id"]].sort_values(
            ["amount", "id"]
        ).drop_duplicates("shop", keep="last"),
        spark=lambda t, _: t.groupBy("shop").agg(
            F.max(F.struct("amount", "id")).alias("top")
        ).select("shop", "top.*"),
        ours=lambda t, _: t.join(
            t.group_by("shop").agg(amount=("max", "amount")), "shop", "amount", how="semi"
        ).group_by("shop", "amount").agg(id=("max", "id")),
    ),
    Idiom("a sample that is the same each time", "narrow: a row's hash decides",
        pandas=lambda t, _: t[t.id.map(lambda n: zlib.crc32(str(n).encode()) % 10 == 0)],
        spark=lambda t, _: t.filter(F.crc32(t.id.cast("string")) % 10 == 0),
        ours=lambda t, _: t.filter(lambda row: zlib.crc32(str(row["id"]).encode()) % 10 == 0),
    ),
    Idiom("write parquet", "narrow: a file for each partition; the whole is in no memory but pandas's",
        # each of the three writers gives None
        pandas=lambda t, _: t[t.amount < 500].to_parquet(path := mkdtemp() + "/t", index=False) or Path(path),
        spark=lambda t, _: t.filter(t.amount < 500).write.parquet(path := mkdtemp() + "/t") or Path(path),
        ours=lambda t, _: t.filter(col("amount") < 500).save(path := Path(mkdtemp()) / "t") or path,
    ),
)
