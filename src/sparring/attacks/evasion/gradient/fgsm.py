"""Fast gradient sign method: one step along the steepest direction."""

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.losses import loss_of
from sparring.core.problem import Problem


@attack(needs={"gradients", "scores"}, uses={"project", "ascend"}, cites="Goodfellow et al. 2015, arXiv:1412.6572")
def fgsm(problem: Problem, *, loss: str = "ce") -> Tensor:
    """Take one step of the full radius along the steepest direction of the loss.

    In Linf this direction is the sign of the gradient.

    Args:
        loss: Name of a registered loss. In L2 and L1 the steepest direction of that norm is taken instead.

    Source: Goodfellow et al. 2015, arXiv:1412.6572.
    """
    graded = problem.gradient(problem.x, loss_of(loss))
    live = problem.take(problem.unfinished())
    if len(live):
        live.scores(along(live, live.x, graded.grad[problem.unfinished()], 1.0))
    return problem.best()
