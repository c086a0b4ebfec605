"""How much a stage will shuffle, told when the first of its tasks has ended, and how much it did.

The first task is the sample. What it wrote grows with the rows that are known to come: those that earlier
stages wrote, or, at the leaves, as many times as there are tasks. A task alone leaves nothing to predict.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tuti.systems.spark.doctor.facts import Facts, Stage

GROUPS = ("partly", "HashAggregate", "ObjectHashAggregate", "Partial")
"""Steps that bring rows together before a shuffle"""
PASSING = ("filter", "map", "Filter", "MapIn", "Generate", "WholeStageCodegen")
"""Steps that leave out rows, or make others of them"""


@dataclass(frozen=True)
class Prediction:
    """Of one stage's shuffle and its largest partition: predicted and measured bytes (0: not known)."""

    stage: int
    predicted: int
    measured: int
    largest_predicted: int
    largest_measured: int
    note: str
    """In which way it is only a bound, or leans on the first task"""

    @property
    def ratio(self) -> float:
        """Predicted ÷ measured."""
        return self.predicted / max(1, self.measured)


def predictions(facts: Facts) -> Iterator[Prediction]:
    """One for each stage that ends in a shuffle and has several tasks."""
    written = {s.number: int(s.total(lambda task: task.made)) for s in facts.stages}
    for stage in facts.stages:
        count = stage.planned or len(stage.tasks)
        if not stage.wide or not stage.tasks or count < 2:
            continue
        first = stage.tasks[0]
        come = sum(written.get(number, 0) for number in stage.needs)
        times = max(1.0, come / first.rows) if come and first.rows else count
        guess = int(first.shuffled * times)
        share = stage.share * guess
        told = len(stage.tasks) == count
        total = int(stage.total(lambda task: task.shuffled)) if told else 0
        yield Prediction(stage.number, guess, total, int(share), stage.largest * told, _note(stage))


def _note(stage: Stage) -> str:
    notes = ["groups as many as in the first task"] if any(s.startswith(GROUPS) for s in stage.steps) else []
    notes += ["what passes as in the first task"] if any(s.startswith(PASSING) for s in stage.steps) else []
    return "; ".join([*notes, *["largest: at least, as if keys were even"] * stage.even])
