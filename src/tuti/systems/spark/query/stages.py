"""The plan cut into stages: all that lies between two shuffles is one stage, with a task for each partition.

A shuffle is left out where rows lie right already: behind a join, a grouping or a sort by the same keys.
"""

from collections.abc import Container
from dataclasses import dataclass, replace
from operator import eq

from tuti.systems.spark.query import plan
from tuti.systems.spark.query.expressions import col
from tuti.systems.spark.query.grouping import grouping


def with_exchanges(node: plan.Node, count: int) -> tuple[plan.Node, plan.Layout | None]:
    """The plan with its shuffles into `count` partitions, and how its rows lie, where it tells that."""
    below = [with_exchanges(inner, count) for inner in node.inputs]
    layout = below[0][1] if below else None
    if isinstance(node, plan.Group):
        keys = frozenset(node.keys)
        whole: plan.Node = plan.Partial((below[0][0],), node, made=grouping(node).figures)
        if layout is None or not layout.keys <= keys:
            layout = plan.Layout(keys)
            whole = plan.Exchange((whole,), layout, count if keys else 1, line=node.line)
        return plan.Final((whole,), node, made=node.schema), layout
    if isinstance(node, plan.Join):
        wanted = plan.Layout(frozenset(node.on))
        sides = (
            side if lay == wanted and partitions(side) == count
            else plan.Exchange((side,), wanted, count, line=node.line)
            for side, lay in below
        )
        return replace(node, inputs=tuple(sides)), wanted
    node = replace(node, inputs=tuple(inner for inner, _ in below))
    if isinstance(node, plan.Exchange):
        return node, node.layout
    if isinstance(node, plan.Sort) and not node.within:
        ranged = plan.Layout(frozenset(name for name, _ in node.by), node.by)
        if layout and (layout.by or not layout.keys) and all(map(eq, layout.by, node.by)):
            return replace(node, within=True), layout  # in ranges by these columns, or all in one
        return plan.Sort((plan.Exchange(node.inputs, ranged, count, line=node.line),), node.by), ranged
    if isinstance(node, plan.Select):
        names = {str(made.value): name for name, made in node.columns if made.kernel == "column"}
        if layout is None or not layout.keys <= names.keys():
            return node, None
        by = tuple((names[name], down) for name, down in layout.by)
        return node, plan.Layout(frozenset(names[key] for key in layout.keys), by)
    if isinstance(node, plan.Union) and layout and not layout.by:
        alike = all(lay == layout for _, lay in below) and len(set(map(partitions, node.inputs))) == 1
        return replace(node, aligned=alike), layout if alike else None
    still = (plan.Filter, plan.Cache, plan.Sort, *([plan.Map] if layout == plan.Layout(frozenset()) else []))
    return node, layout if isinstance(node, still) else None


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

    def within(self, end: plan.Node | None = None) -> list[plan.Node]:
        """Its steps, from the exchanges below to its end, or to a step of it."""
        end = end or self.root
        below = () if isinstance(end, plan.Exchange) and end is not self.root else end.inputs
        return [*(step for inner in below for step in self.within(inner)), end]

    def steps(self) -> list[str]:
        """The same in words."""
        return [f"read {step}" if step in self.needs else str(step) for step in self.within()]


def cut(root: plan.Node, kept: Container[str]) -> list[Stage]:
    """The stages of a plan, each behind those that it needs; the last one makes the result.

    Nothing behind a cache is needed whose partitions are all among those that are `kept`.
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


def _exchanges(node: plan.Node, kept: Container[str]) -> list[plan.Exchange]:
    """The nearest exchanges below."""
    if isinstance(node, plan.Exchange):
        return [node]
    if isinstance(node, plan.Cache) and all(f"{node.name}-{n}" in kept for n in range(partitions(node))):
        return []
    return [exchange for inner in node.inputs for exchange in _exchanges(inner, kept)]
