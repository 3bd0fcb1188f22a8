"""Gradients of a differentiable model with respect to its inputs."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from sparring.core.victim import Graded, Objective, Victim


def graded(ask: Callable[[Tensor], Tensor], x: Tensor, objective: Objective) -> Graded:
    """Return the result of `Victim.gradient` for a model `ask` from inputs to scores.

    Scores are [n, classes].
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_(True)
        scores = ask(point)
        value = objective(scores.to(point.device))
        if value.requires_grad:
            (grad,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
        else:
            grad = None
    grad = torch.zeros_like(x) if grad is None else grad.detach()
    return Graded(scores.detach().to(x.device), value.detach(), grad)


def graded_several(ask: Callable[[Tensor], Tensor], x: Tensor, several: Objective) -> Graded:
    """Return the result of `Victim.gradients`: one forward pass, one backward per column.

    The columns are those of several(scores) [n, k].
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_(True)
        scores = ask(point).to(point.device)
        value = several(scores)
        grads = [
            torch.autograd.grad(column.sum(), point, retain_graph=place + 1 < value.shape[1], allow_unused=True)[0] if value.requires_grad else None
            for place, column in enumerate(value.unbind(1))
        ]
    grad = torch.stack([torch.zeros_like(x) if one is None else one.detach() for one in grads], 1)
    return Graded(scores.detach().to(x.device), value.detach(), grad)


class DifferentiableVictim(Victim):
    """Represent a victim whose search uses one differentiable function, `_search`."""

    @abstractmethod
    def _search(self, x: Tensor) -> Tensor:
        """Return the scores of the model, or of its private copy, through which gradients pass."""

    def search_scores(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self._search(x).to(x.device)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        return graded(self._search, x, objective)

    def gradients(self, x: Tensor, several: Objective) -> Graded:
        return graded_several(self._search, x, several)
