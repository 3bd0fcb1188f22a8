"""Fast gradient sign method: one step along the steepest direction."""

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout


@attack(needs={"gradients", "scores"}, uses={"project", "ascend"}, cites="Goodfellow et al. 2015, arXiv:1412.6572")
def fgsm(bout: Bout, *, loss: str = "ce") -> Tensor:
    """One step of the size of the radius along the steepest direction (in Linf: the sign of the gradient).

    loss: name of a registered loss. In L2 and L1 the steepest direction of that norm is taken instead.
    """
    graded = bout.gradient(bout.x, loss_of(loss))
    live = bout.take(bout.unfinished())
    if len(live):
        live.scores(along(live, live.x, graded.grad[bout.unfinished()], 1.0))
    return bout.best()
