"""Twenty idioms on three engines: the same rows, and what is said of them is so."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuti.run import UserError
from tuti.systems.spark import idioms
from tuti.systems.spark.engine import Frame
from tuti.systems.spark.idioms import ENGINES, IDIOMS, MADE, Engine, Idioms, evaluated, tables, write

needs_java = pytest.mark.skipif(not shutil.which("java"), reason="needs the program java")
NAMES = [idiom.name for idiom in IDIOMS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("idioms")
    write(folder, 600)
    return folder


def arrow(found):
    """What a program gave, of whichever engine, as Arrow."""
    if isinstance(found, Path):
        return pq.read_table(found)
    if isinstance(found, list):  # `take` gives one
        return pa.Table.from_pylist(found)
    if isinstance(found, Frame):
        return found.collect()
    return found.toArrow() if hasattr(found, "toArrow") else pa.Table.from_pandas(found, preserve_index=False)


def end(*_):
    """As a process ends that the system kills for its memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def rows_of(program, ways=None):
    """Its rows in order, numbers as floats, to compare engines; None: on the engine of this process."""
    table = arrow(evaluated(program, ways or MADE[0]))
    by = sorted(table.schema.names)
    kinds = [pa.types.is_primitive(table.schema.field(name).type) for name in by]
    plain = [(name, pa.float64() if number else pa.string()) for name, number in zip(by, kinds, strict=True)]
    return table.select(by).cast(pa.schema(plain)).sort_by([(name, "ascending") for name in by])


@pytest.fixture(scope="module")
def pandas_rows(folder):
    ways = ENGINES["pandas"](folder)
    return {idiom.name: rows_of(idiom.pandas, ways) for idiom in IDIOMS}


def test_there_are_twenty_and_each_makes_rows(pandas_rows):
    assert len(set(NAMES)) == len(NAMES) == len(pandas_rows) == 20
    assert all(len(rows) for rows in pandas_rows.values())
    assert len({str(rows.to_pydict()) for rows in pandas_rows.values()}) == 20


def test_our_engine_gives_what_pandas_gives_and_shuffles_where_it_is_said(folder, pandas_rows):
    ways, stages = ENGINES["ours"](folder), list[int]()
    ways[0]("t").session.ended = lambda job: stages.append(len(job.stages))
    for idiom in IDIOMS:
        stages.clear()
        assert rows_of(idiom.ours, ways).equals(pandas_rows[idiom.name]), idiom.name
        assert (max(stages) > 1) == idiom.shape.startswith("wide"), idiom.name
        assert idiom.shape.startswith(("wide", "narrow")), idiom.name


@pytest.mark.cluster
@needs_java
def test_spark_gives_what_pandas_gives(folder, pandas_rows):
    with Engine("spark", folder) as spark:
        for idiom in IDIOMS:
            assert spark.submit(rows_of, idiom.spark).result().equals(pandas_rows[idiom.name]), idiom.name
        seconds, more = spark.ask(IDIOMS[0], watched=True)
        assert seconds > 0 and more >= 0
        assert spark.held() > 300e6, "a JVM is in it"
    assert not spark.process.is_running()


def test_results_show_what_is_in_the_tables():
    """Missing keys, missing numbers, shops without a city: else two engines would agree too easily."""
    made = tables(600)
    sales, shops = made["t"], set(made["shops"]["shop"].to_pylist())
    assert sales["item"].null_count and sales["price"].null_count
    assert {name in shops for name in sales["shop"].to_pylist()} == {True, False}
    assert made["t"].equals(tables(600)["t"])
    assert not made["t"].equals(tables(600, seed=1)["t"])


@pytest.mark.parametrize("missing", ["pandas", "pyspark"])
def test_without_the_extra_it_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match="needs pandas and pyspark") as caught:
        idioms.idioms(Idioms())
    assert caught.value.hint == "pip install 'tuti[spark]'"


def test_time_and_memory_of_each_engine_are_told_and_the_programs(monkeypatch, capsys):
    monkeypatch.setattr(idioms, "IDIOMS", IDIOMS[:2])
    monkeypatch.setattr(idioms, "ENGINES", {name: ENGINES[name] for name in ("pandas", "ours")})
    idioms.idioms(Idioms(rows=20_000, repeats=1))
    out = capsys.readouterr().out
    rows = {line[:36].strip(): line[36:].split() for line in out.splitlines()[5:] if line[:1] != " "}
    assert list(rows) == NAMES[:2], out
    for pandas_ms, pandas_mb, ours_ms, ours_mb in rows.values():
        assert int(pandas_ms) > 0 and int(ours_ms) > 0 and int(pandas_mb) >= 0 and int(ours_mb) >= 0, out
    assert f"    {IDIOMS[0].shape}\n    pandas  {IDIOMS[0].pandas}\n    ours    {IDIOMS[0].ours}\n" in out


def test_a_process_that_dies_is_told(folder):
    with Engine("pandas", folder) as engine:
        idiom = next(idiom for idiom in IDIOMS if idiom.name == "drop duplicates")
        assert engine.ask(idiom, watched=True)[0] > 0
        engine.process.kill()
        for watched in (False, True):
            with pytest.raises(UserError, match="the process of pandas died") as caught:
                engine.ask(idiom, watched=watched)
            assert "memory" in caught.value.hint


def test_an_engine_that_dies_as_it_starts_is_told(monkeypatch, folder):
    monkeypatch.setattr(idioms, "begin", end)
    with Engine("pandas", folder) as engine, pytest.raises(UserError, match="the process of pandas died"):
        engine.ask(IDIOMS[0], watched=True)
