"""Two-sided Square attack: values are driven up, then down, one output after the other."""

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.square import square
from sparring.attacks.value_ways import each_way
from sparring.core.problem import Problem


@attack(
    tasks={"values"},
    needs={"scores"},
    uses={"paint"},
    cites="Andriushchenko et al. 2020, arXiv:1912.00049, once per end of the interval that the goal leaves",
)
def square_two_sided(problem: Problem, *, queries: int = 2000, ways: int = 6) -> Tensor:
    """Run the Square attack upward and downward, on one output after the other.

    Args:
        queries: Per way and sample.
        ways: How many ways are tried, two per output, the nearest first.

    Source: Andriushchenko et al. 2020, arXiv:1912.00049.

    Differs from the paper: the loss is the signed distance of an output to one end of the interval that the goal leaves.
    """
    return each_way(problem, lambda live: square.search(live, queries=queries), ways)
