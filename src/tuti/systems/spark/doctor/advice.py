"""What to change in a job: a sentence for each fault, with the setting or the line, as in advice.toml."""

from collections.abc import Iterator

from tuti.run import read_toml
from tuti.systems.spark.doctor.facts import Facts, Stage

_TABLES = read_toml(__file__, "advice.toml")
BOUNDS: dict[str, float] = _TABLES["bounds"]
SAYS: dict[str, str] = _TABLES["says"]


def advice(facts: Facts) -> list[str]:
    """What to change, the most costly kinds of fault first; nothing for a job that is well."""
    found = [line for stage in facts.stages if stage.tasks for line in _of_stage(facts, stage)]
    if facts.collected > (facts.driver // 16 if facts.driver else BOUNDS["driver"]):
        found.append(SAYS["collected"].format(brought=size(facts.collected), what=facts.what))
    if facts.evicted:
        found.append(SAYS["evicted"].format(evicted=size(facts.evicted), memory=size(facts.memory)))
    if facts.broadcast > BOUNDS["broadcast"]:
        found.append(SAYS["broadcast"].format(table=size(facts.broadcast)))
    return found


def _of_stage(facts: Facts, stage: Stage) -> Iterator[str]:
    yield from _skewed(facts, stage)
    for step in stage.needless:
        yield SAYS["needless"].format(stage=stage.number, step=step)
    rows = int(stage.total(lambda task: task.rows))
    for step in stage.functions if rows >= BOUNDS["rows"] else ():
        yield SAYS["function"].format(stage=stage.number, step=step, rows=rows)
    yield from _partitions(facts, stage)


def _skewed(facts: Facts, stage: Stage) -> Iterator[str]:
    """One partition that has most of the rows keeps one core busy while the others wait."""
    count, skew = len(stage.tasks), BOUNDS["skew"]
    most, rows = max(task.rows for task in stage.tasks), stage.total(lambda task: task.rows)
    slowest = max(task.seconds for task in stage.tasks)
    alone = slowest > 1.5 * stage.total(lambda task: task.seconds) / min(facts.cores, count)
    uneven = stage.skew(lambda task: task.rows) > skew and most * count > skew * rows / 2
    if count > 2 and uneven and slowest > BOUNDS["slow"] and (alone or most > rows / 2):
        made = " and ".join(f"{s.wide} ({s.line})" for s in facts.stages if s.number in stage.needs)
        came = f" (made by {made})" if made else ""
        yield SAYS["skewed"].format(stage=stage.number, count=count, share=most / rows, came=came)


def _partitions(facts: Facts, stage: Stage) -> Iterator[str]:
    """Too few, so that they are large or cores wait; or too many, so that starting them costs most."""
    count, cores = len(stage.tasks), facts.cores
    seconds, spilled = stage.total(lambda t: t.seconds), stage.total(lambda t: t.spilled)
    largest = max(max(t.shuffled, t.read) for t in stage.tasks)
    wanted = max(cores, int(count * largest / BOUNDS["partition"]) + 1)
    chosen = "AQEShuffleRead" in stage.steps and largest < BOUNDS["adaptive"]
    about = {"stage": stage.number, "count": count}
    if count < cores and seconds > BOUNDS["slow"] * 5 and not chosen:
        yield SAYS["waiting"].format(**about, cores=cores, waiting=cores - count, wanted=2 * cores)
    elif spilled:
        sizes = {"spilled": size(spilled), "memory": size(facts.memory)}
        yield SAYS["spilled"].format(**about, **sizes, wanted=2 * max(wanted, count))
    elif largest > BOUNDS["partition"]:
        yield SAYS["large"].format(**about, largest=size(largest), wanted=wanted)
    elif count > 8 * cores and seconds / count < BOUNDS["tiny"]:
        yield SAYS["many"].format(**about, each=1000 * seconds / count, wanted=4 * cores)


def size(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**20:,.0f} MB" if count >= 2**20 else f"{count / 2**10:,.0f} KB"
