"""One random corner of the region: a change as large as any attack's that aims at nothing."""

from sparring.attacks.attack import attack
from sparring.core.domain import Batch
from sparring.core.problem import Problem
from sparring.core.taxonomy import MANUAL


@attack(needs={"labels"}, uses={"corner"}, cites="Carlini et al. 2019, arXiv:1902.06705, section on sanity checks", control=True, taxonomy=MANUAL)
def random_corner(problem: Problem) -> Batch:
    """Evaluate one random corner of the region.

    It is the control of transfer: the same size of change and number of queries, without a direction.

    Source: Carlini et al. 2019, arXiv:1902.06705, section on sanity checks.
    """
    problem.answers(problem.region.corner(problem.rng))  # type: ignore[attr-defined]
    return problem.best()
