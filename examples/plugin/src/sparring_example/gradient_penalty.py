"""Training with a penalty on the gradient of the loss with respect to the input."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sparring.defences.training.recipe import recipe
from sparring.defences.training.step import Step


@recipe("gradient_penalty", cites="Drucker, Le Cun 1992, IEEE Transactions on Neural Networks 3 (6); Ross, Doshi-Velez 2018, arXiv:1711.09404")
@dataclass(frozen=True)
class GradientPenalty:
    """Train on the cross-entropy plus the squared norm of its gradient by the input.

    weight: of the squared length, which grows from 0 while the radius of the threat does.
    """

    weight: float = 1.0

    def __call__(self, step: Step) -> Tensor:
        from sparring_example.norms import squared_length

        x = step.x.detach().requires_grad_(True)
        entropy = F.cross_entropy(step.live.scores(x), step.y, reduction="none")
        (gradient,) = torch.autograd.grad(entropy.sum(), x, create_graph=True)
        return (entropy + self.weight * step.share * squared_length(gradient)).mean()
