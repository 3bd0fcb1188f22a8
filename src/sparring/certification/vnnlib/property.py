"""A property of a network as sets: boxes of inputs, and for each the outputs that would be unsafe."""

from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-4
"""Up to which the competition forgives a counterexample, in units of inputs and outputs; it earns no `sat` here."""


@dataclass(frozen=True, eq=False)
class Clause:
    """Represent a polytope of outputs: all y with rows @ y <= bounds.

    rows: float64 [r, outputs], exactly as written, or a whole row times one positive number where that makes it exact.
    bounds: float64 [r], rounded up from what was written, so that the unsafe set can only grow.
    inner: float64 [r], the same rounded down: what a counterexample has to meet. `bounds` where None.
    """

    rows: np.ndarray
    bounds: np.ndarray
    inner: np.ndarray | None = None

    def holds(self, y: np.ndarray, tolerance: float = 0.0) -> bool:
        """Return whether y [outputs] is in it, or within `tolerance` of each row; not for NaN."""
        return bool(np.all(self.rows @ np.asarray(y, np.float64) <= (self.bounds if self.inner is None else self.inner) + tolerance))


@dataclass(frozen=True, eq=False)
class Case:
    """Represent a box of inputs, unsafe where the outputs lie in any of the clauses.

    low, high: float64 [inputs], rounded outward from what was written. inner_low, inner_high: the same rounded inward, for
    counterexamples; `low` and `high` where None. A side as thin as one decimal that is no float has inner_low above inner_high.
    """

    low: np.ndarray
    high: np.ndarray
    clauses: tuple[Clause, ...]
    inner_low: np.ndarray | None = None
    inner_high: np.ndarray | None = None

    def contains(self, x: np.ndarray, tolerance: float = 0.0) -> bool:
        """Return whether x is in the box.

        Is x [inputs] in the box as written, or within `tolerance` of it? A side without a float inside is measured outward.
        """
        low, high = self.inside
        return bool(np.all((low - tolerance <= x) & (x <= high + tolerance)))

    @property
    def inside(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the box.

        (low, high) of the floats inside the box; the outward ones on sides without a float inside.
        """
        low = self.low if self.inner_low is None else self.inner_low
        high = self.high if self.inner_high is None else self.inner_high
        thin = low > high
        return np.where(thin, self.low, low), np.where(thin, self.high, high)


@dataclass(frozen=True, eq=False)
class Property:
    """Represent the unsafe set: the union of the cases.

    inputs, outputs: how many numbers the network takes and gives.
    """

    inputs: int
    outputs: int
    cases: tuple[Case, ...]

    def unsafe(self, x: np.ndarray, y: np.ndarray, tolerance: float = 0.0) -> bool:
        """Return whether input x and output y make a counterexample, up to `tolerance`.

        x: [inputs], y: [outputs].
        """
        return any(case.contains(x, tolerance) and any(clause.holds(y, tolerance) for clause in case.clauses) for case in self.cases)
