"""Multi-targeted PGD: the logit margin of one wrong class after the other."""

from typing import Any, cast

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.apgd import aim_at
from sparring.attacks.evasion.gradient.ascent import Order, nearest_classes
from sparring.attacks.evasion.gradient.pgd import cosine, descend
from sparring.attacks.losses import margin
from sparring.core.problem import Problem
from sparring.tasks.classes import of_classes


@attack(tasks={"classes"}, needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites="Gowal et al. 2019, arXiv:1910.09338, section 3")
def multi_targeted(problem: Problem, *, steps: int = 20, targets: int = 9, restarts: int = 1, step_size: float = 1.0, order: Order = "scores") -> Tensor:
    """Run PGD on the logit margin of one wrong class after the other.

    The margin is the logit of the target class minus that of the label.

    Args:
        steps: Per target.
        restarts: Per target.
        targets: How many classes.
        step_size: Of the first step, as a share of the radius; it decays to nothing by a cosine.
        order: Of the classes, by "scores" at the clean input or by the "linearised" model.

    Source: Gowal et al. 2019, arXiv:1910.09338, section 3.

    Differs from the paper: the paper's Adam and its step decay are a signed step with a cosine; classes come in order of promise.
    """
    if not of_classes(problem.criterion).untargeted:
        aim, turns = None, 1
    else:
        ranked = nearest_classes(problem, problem.x, order)[:, :targets]
        aim, turns = aim_at(problem, ranked), ranked.shape[1]
    return descend(
        problem,
        lambda restart, k: margin,
        lambda k: step_size * cosine(k, steps),
        lambda live, restart: cast(Any, live.region).sample(live.rng.draw(restart)),
        aim,
        steps=steps,
        restarts=turns * restarts,
    )
