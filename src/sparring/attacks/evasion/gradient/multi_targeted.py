"""Multi-targeted PGD: the logit margin of one wrong class after the other."""

from typing import Any, cast

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.apgd import aim_at
from sparring.attacks.evasion.gradient.ascent import Order, nearest_classes
from sparring.attacks.evasion.gradient.pgd import cosine, descend
from sparring.attacks.losses import margin
from sparring.core.bout import Bout


@attack(needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites="Gowal et al. 2019, arXiv:1910.09338, section 3")
def multi_targeted(bout: Bout, *, steps: int = 20, targets: int = 9, restarts: int = 1, step_size: float = 1.0, order: Order = "scores") -> Tensor:
    """PGD on the logit of a target class minus that of the label, for one wrong class after the other.

    steps, restarts: per target. targets: how many classes. step_size: of the first step, as a share of the radius; it decays
    to nothing by a cosine. order: of the classes, by "scores" at the clean input or by the "linearised" model.

    Where we differ: the paper's Adam and its step decay are a signed step with a cosine; classes come in order of promise.
    """
    if bout.threat.goal.kind != "untargeted":
        aim, turns = None, 1
    else:
        ranked = nearest_classes(bout, bout.x, order)[:, :targets]
        aim, turns = aim_at(bout, ranked), ranked.shape[1]
    return descend(
        bout,
        lambda restart, k: margin,
        lambda k: step_size * cosine(k, steps),
        lambda live, restart: cast(Any, live.region).sample(live.dice.draw(restart)),
        aim,
        steps=steps,
        restarts=turns * restarts,
    )
