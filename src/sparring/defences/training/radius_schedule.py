"""How the radius grows during training."""

from dataclasses import dataclass

from sparring.core.errors import PlanError

SOFT = 0.25
"""Part of the schedule that rises with the fourth power; the rest follows its tangent."""


@dataclass(frozen=True)
class RadiusSchedule:
    """Describe the share of the full radius after a share of the training.

    It is 0 until `begin` and 1 from `end` on; between them lie a soft start and a straight line.

    The straight line is that of Gowal et al. 2018, arXiv:1810.12715; the soft start, a fourth power over the first quarter, that of Xu et al. 2020,
    arXiv:2002.12920, which Shi et al. 2021 use too. `end=0` gives the full radius throughout.

        >>> schedule = RadiusSchedule(0.1, 0.5)
        >>> schedule(0.05), round(schedule(0.3), 3), schedule(0.7)
        (0.0, 0.385, 1.0)
    """

    begin: float = 0.0
    end: float = 0.5
    soft: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end <= 1:
            raise PlanError(f"{self}: give begin and end as shares of the training, 0 <= begin <= end <= 1")

    def __call__(self, progress: float) -> float:
        """progress: share of the training that is done, in [0, 1]."""
        if progress >= self.end:
            return 1.0
        if progress <= self.begin:
            return 0.0
        way = (progress - self.begin) / (self.end - self.begin)
        if not self.soft:
            return way
        height = 1 / (SOFT**4 + 4 * SOFT**3 * (1 - SOFT))
        return height * (way**4 if way < SOFT else SOFT**4 + 4 * SOFT**3 * (way - SOFT))
