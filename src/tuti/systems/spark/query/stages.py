"""The plan cut into stages: all that lies between two shuffles is one stage, with a task for each partition.

A shuffle is left out where rows lie right already: behind a join or a grouping by the same keys.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tuti.systems.spark.query import plan
from tuti.systems.spark.query.expressions import col
from tuti.systems.spark.query.grouping import grouping

Layout = plan.Hashed | plan.Ranged | None
"""How rows are spread over partitions, where the plan knows"""
ONE = plan.Hashed(frozenset())


def with_exchanges(node: plan.Node, count: int) -> tuple[plan.Node, Layout]:
    """The plan with its shuffles into `count` partitions, and how its rows lie."""
    below = [with_exchanges(inner, count) for inner in node.inputs]
    layout = below[0][1] if below else None
    if isinstance(node, plan.Group):
        how, keys = grouping(node), frozenset(node.keys)
        whole: plan.Node = plan.Partial((below[0][0],), node, made=how.figures)
        if layout is None or not _columns(layout) <= keys:
            layout = plan.Hashed(keys)
            whole = plan.Exchange((whole,), layout, count if keys else 1, line=node.line)
        return plan.Final((whole,), node, made=node.schema), layout
    if isinstance(node, plan.Join):
        wanted = plan.Hashed(frozenset(node.on))
        lies = [lay == wanted and partitions(side) == count for side, lay in below]
        sides = [
            side if fits else plan.Exchange((side,), wanted, count, line=node.line)
            for (side, _), fits in zip(below, lies, strict=True)
        ]
        return replace(node, inputs=tuple(sides)), wanted
    node = replace(node, inputs=tuple(inner for inner, _ in below))
    if isinstance(node, plan.Spread):
        hashed = plan.Hashed(frozenset(node.keys))
        return plan.Exchange(node.inputs, hashed, node.count or count, True, line=node.line), hashed
    if isinstance(node, plan.Sort) and not node.within:
        ranged = plan.Ranged(node.by)
        return plan.Sort((plan.Exchange(node.inputs, ranged, count, line=node.line),), node.by), ranged
    if isinstance(node, plan.Select):
        return node, _renamed(layout, node)
    if isinstance(node, plan.Union) and isinstance(layout, plan.Hashed):
        alike = all(lay == layout for _, lay in below) and len(set(map(partitions, node.inputs))) == 1
        return replace(node, aligned=alike), layout if alike else None
    still = (plan.Filter, plan.Cache, plan.Sort, *([plan.Map] if layout == ONE else []))
    return node, layout if isinstance(node, still) else None


def _columns(layout: plan.Hashed | plan.Ranged) -> frozenset[str]:
    return layout.keys if isinstance(layout, plan.Hashed) else frozenset(name for name, _ in layout.by)


def _renamed(layout: Layout, node: plan.Select) -> Layout:
    """The layout in the names that a selection gives."""
    names = {str(made.value): name for name, made in node.columns if made.kernel == "column"}
    if layout is None or not _columns(layout) <= names.keys():
        return None
    if isinstance(layout, plan.Hashed):
        return plan.Hashed(frozenset(names[key] for key in layout.keys))
    return plan.Ranged(tuple((names[name], down) for name, down in layout.by))


def partitions(node: plan.Node) -> int:
    """How many partitions a step has."""
    if isinstance(node, plan.Scan):
        return len(node.items)
    if isinstance(node, plan.Exchange):
        return node.count
    joined = isinstance(node, plan.Union) and not node.aligned
    return sum(map(partitions, node.inputs if joined else node.inputs[:1]))


@dataclass(frozen=True, eq=False)
class Stage:
    """Tasks without a shuffle between them; they end in an exchange, or in what an action wants."""

    number: int
    root: plan.Node
    tasks: int
    needs: dict[plan.Exchange, int]
    """The exchanges that it reads, and the stages that write them"""

    def steps(self, end: plan.Node | None = None) -> list[str]:
        """What it does, from its inputs to its end, or to a step of it."""
        end = end or self.root
        if end in self.needs:
            return [f"read {end}"]
        return [*(step for inner in end.inputs for step in self.steps(inner)), str(end)]


def cut(root: plan.Node, kept: Callable[[plan.Cache], bool] = lambda _: False) -> list[Stage]:
    """The stages of a plan, each behind those that it needs; the last one makes the result.

    Nothing behind a cache that is `kept` is needed.
    """
    if isinstance(root, plan.Exchange):  # the result is made by a stage that reads it
        root = plan.Select((root,), tuple((name, col(name)) for name in root.schema.names))
    stages: list[Stage] = []

    def stage(end: plan.Node, inner: plan.Node) -> int:
        needs = {exchange: stage(exchange, exchange.inputs[0]) for exchange in _exchanges(inner, kept)}
        stages.append(Stage(len(stages), end, partitions(inner), needs))
        return len(stages) - 1

    stage(root, root)
    return stages


def _exchanges(node: plan.Node, kept: Callable[[plan.Cache], bool]) -> list[plan.Exchange]:
    """The nearest exchanges below."""
    if isinstance(node, plan.Exchange):
        return [node]
    if isinstance(node, plan.Cache) and kept(node):
        return []
    return [exchange for inner in node.inputs for exchange in _exchanges(inner, kept)]
