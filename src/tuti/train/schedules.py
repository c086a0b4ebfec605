"""Learning-rate schedules: a multiplier of the peak rate, a pure function of the step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trapezoid:
    """Linear warm-up, a plateau, and a linear decay to `floor` over the last `decay` of the steps.

    The warmup–stable–decay schedule (Hu et al. 2024, MiniCPM, section 4). Never below 0: a step beyond
    the end keeps the floor.
    """

    steps: int
    warmup: int = 0
    decay: float = 0.5
    floor: float = 0.02

    def __call__(self, step: int) -> float:
        """The multiplier of the update number `step` (from 0), between 0 and 1."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        fall_steps = max(1.0, self.decay * self.steps)
        fall = min(1.0, max(0.0, (self.steps - step) / fall_steps))
        return min(rise, self.floor + (1 - self.floor) * fall)
