"""What gradient attacks maximise where the answers are numbers: the distance to the goal, whatever the loss is called.

Losses of classes differ in how they weigh one class against the others. Numbers have no others, so every name stands for the loss of the goal
itself, and sets of attacks that were tuned on classes run unchanged.
"""

from torch import Tensor

from sparring.attacks.losses import loss
from sparring.tasks.values import ValueCriterion


@loss("ce", ValueCriterion)
@loss("pm", ValueCriterion)
@loss("dlr", ValueCriterion)
@loss("mifpe", ValueCriterion)
def distance_to_goal(scores: Tensor, criterion: ValueCriterion) -> Tensor:
    """Return the loss of the goal of values, in the dtype of the scores."""
    return criterion.loss(scores).to(scores.dtype)
