"""Gradients of a differentiable model with respect to its inputs."""

from abc import abstractmethod

import torch
from torch import Tensor

from sparring.core.victim import Graded, Objective, Victim


class DifferentiableVictim(Victim):
    """Represent a victim whose search uses one differentiable function, `_search`."""

    @abstractmethod
    def _search(self, x: Tensor) -> Tensor:
        """Return the scores of the model, or of its private copy, through which gradients pass."""

    def search_scores(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self._search(x).to(x.device)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            scores = self._search(point)
            value = objective(scores.to(point.device))
            if value.requires_grad:
                (grad,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
            else:
                grad = None
        grad = torch.zeros_like(x) if grad is None else grad.detach()
        return Graded(scores.detach().to(x.device), value.detach(), grad)

    def gradients(self, x: Tensor, several: Objective) -> Graded:
        """Return scores, values [n, k] and their gradients.

        This takes one forward pass, and one backward pass per column of the values.
        """
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            scores = self._search(point).to(point.device)
            value = several(scores)
            grads = [
                torch.autograd.grad(column.sum(), point, retain_graph=place + 1 < value.shape[1], allow_unused=True)[0] if value.requires_grad else None
                for place, column in enumerate(value.unbind(1))
            ]
        grad = torch.stack([torch.zeros_like(x) if one is None else one.detach() for one in grads], 1)
        return Graded(scores.detach().to(x.device), value.detach(), grad)
