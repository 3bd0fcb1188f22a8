"""Two-sided PGD: values are driven up, then down, one output after the other."""

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.pgd import pgd
from sparring.attacks.value_ways import each_way
from sparring.core.problem import Problem


@attack(
    tasks={"values"},
    needs={"gradients", "scores"},
    uses={"project", "ascend", "sample"},
    cites="Madry et al. 2018, arXiv:1706.06083, once per end of the interval that the goal leaves",
)
def pgd_two_sided(problem: Problem, *, steps: int = 40, restarts: int = 2, step_size: float = 1.0, ways: int = 6) -> Tensor:
    """Run PGD upward and downward, on one output after the other.

    Args:
        steps: Gradient steps per way and restart.
        restarts: Per way; the first begins at the clean input, the others at random points.
        step_size: Of the first step, as a share of the radius; it decays to nothing by a cosine.
        ways: How many ways are tried, two per output, the nearest first.

    Source: Madry et al. 2018, arXiv:1706.06083.

    Differs from the paper: the loss is the signed distance of an output to one end of the interval that the goal leaves; the first start is the clean
    input; of all points visited the best is returned, not the last.
    """

    def search(live: Problem) -> Tensor:
        pgd.search(live, steps=steps, loss="margin", step_size=step_size, decay="cosine", random_start=False)
        rest = live.take(live.unfinished())
        return (
            pgd.search(rest, steps=steps, loss="margin", step_size=step_size, decay="cosine", restarts=restarts - 1) if restarts > 1 and len(rest) else rest.x
        )

    return each_way(problem, search, ways)
