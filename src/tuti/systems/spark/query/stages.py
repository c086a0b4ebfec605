"""The plan cut into stages: all that lies between two shuffles is one stage, with a task for each partition.

A shuffle is left out where rows lie right already: behind a join or a grouping by the same keys.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tuti.systems.spark.query.expressions import col
from tuti.systems.spark.query.grouping import grouping
from tuti.systems.spark.query.plan import (
    Cache,
    Exchange,
    Filter,
    Final,
    Group,
    Hashed,
    Join,
    Map,
    Node,
    Partial,
    Ranged,
    Scan,
    Select,
    Sort,
    Spread,
    Union,
)

Layout = Hashed | Ranged | None
"""How rows are spread over partitions, where the plan knows"""
ONE = Hashed(frozenset())


def with_exchanges(node: Node, count: int) -> tuple[Node, Layout]:
    """The plan with its shuffles into `count` partitions, and how its rows lie."""
    below = [with_exchanges(inner, count) for inner in node.inputs]
    layout = below[0][1] if below else None
    if isinstance(node, Group):
        how, keys = grouping(node), frozenset(node.keys)
        partial = Partial((below[0][0],), node, how.figures)
        if layout is not None and _columns(layout) <= keys:
            return Final((partial,), node), layout
        whole = Exchange((partial,), Hashed(keys), count if keys else 1, line=node.line)
        return Final((whole,), node), Hashed(keys)
    if isinstance(node, Join):
        wanted = Hashed(frozenset(node.on))
        lies = [lay == wanted and partitions(side) == count for side, lay in below]
        sides = [
            side if fits else Exchange((side,), wanted, count, line=node.line)
            for (side, _), fits in zip(below, lies, strict=True)
        ]
        return replace(node, inputs=tuple(sides)), wanted
    node = replace(node, inputs=tuple(inner for inner, _ in below))
    if isinstance(node, Spread):
        hashed = Hashed(frozenset(node.keys))
        return Exchange(node.inputs, hashed, node.count or count, True, line=node.line), hashed
    if isinstance(node, Sort) and not node.within:
        ranged = Ranged(node.by)
        return Sort((Exchange(node.inputs, ranged, count, line=node.line),), node.by), ranged
    if isinstance(node, Select):
        return node, _renamed(layout, node)
    if isinstance(node, Union) and isinstance(layout, Hashed):
        alike = all(lay == layout for _, lay in below) and len(set(map(partitions, node.inputs))) == 1
        return replace(node, aligned=alike), layout if alike else None
    kept = isinstance(node, (Filter, Cache, Sort)) or (isinstance(node, Map) and layout == ONE)
    return node, layout if kept else None


def _columns(layout: Hashed | Ranged) -> frozenset[str]:
    return layout.keys if isinstance(layout, Hashed) else frozenset(name for name, _ in layout.by)


def _renamed(layout: Layout, node: Select) -> Layout:
    """The layout in the names that a selection gives."""
    names = {str(made.value): name for name, made in node.columns if made.kernel == "column"}
    if layout is None or not _columns(layout) <= names.keys():
        return None
    if isinstance(layout, Hashed):
        return Hashed(frozenset(names[key] for key in layout.keys))
    return Ranged(tuple((names[name], down) for name, down in layout.by))


def partitions(node: Node) -> int:
    """How many partitions a step has."""
    if isinstance(node, Scan):
        return len(node.items)
    if isinstance(node, Exchange):
        return node.count
    joined = isinstance(node, Union) and not node.aligned
    return sum(map(partitions, node.inputs if joined else node.inputs[:1]))


@dataclass(frozen=True, eq=False)
class Stage:
    """Tasks without a shuffle between them; they end in an exchange, or in what an action wants."""

    number: int
    root: Node
    tasks: int
    needs: dict[Exchange, int]
    """The exchanges that it reads, and the stages that write them"""

    def steps(self) -> list[str]:
        """What it does, from its inputs to its end."""
        return _steps(self.root, frozenset(self.needs))


def cut(root: Node, kept: Callable[[Cache], bool] = lambda _: False) -> list[Stage]:
    """The stages of a plan, each behind those that it needs; the last one makes the result.

    Nothing behind a cache that is `kept` is needed.
    """
    if isinstance(root, Exchange):  # the result is made by a stage that reads it
        root = Select((root,), tuple((name, col(name)) for name in root.schema.names))
    stages: list[Stage] = []

    def stage(end: Node, inner: Node) -> int:
        needs = {exchange: stage(exchange, exchange.inputs[0]) for exchange in _exchanges(inner, kept)}
        stages.append(Stage(len(stages), end, partitions(inner), needs))
        return len(stages) - 1

    stage(root, root)
    return stages


def _exchanges(node: Node, kept: Callable[[Cache], bool]) -> list[Exchange]:
    """The nearest exchanges below."""
    if isinstance(node, Exchange):
        return [node]
    if isinstance(node, Cache) and kept(node):
        return []
    return [exchange for inner in node.inputs for exchange in _exchanges(inner, kept)]


def _steps(node: Node, read: frozenset[Node]) -> list[str]:
    if node in read:
        return [f"read {node}"]
    return [*(step for inner in node.inputs for step in _steps(inner, read)), str(node)]
