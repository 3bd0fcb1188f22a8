"""Gradients of a differentiable model with respect to its inputs."""

from collections.abc import Callable

import torch
from torch import Tensor

from sparring.core.victim import Graded, Objective


def graded(ask: Callable[[Tensor], Tensor], x: Tensor, objective: Objective) -> Graded:
    """What `Victim.gradient` answers, for a model `ask` from inputs to scores [n, classes]."""
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


def graded_classes(ask: Callable[[Tensor], Tensor], x: Tensor, classes: Tensor) -> Graded:
    """What `Victim.gradients` answers: one pass forward, one backward for each column of classes [n, k]."""
    with torch.enable_grad():
        point = x.detach().requires_grad_(True)
        scores = ask(point).to(point.device)
        value = scores.gather(1, classes)
        grads = [
            torch.autograd.grad(column.sum(), point, retain_graph=place + 1 < classes.shape[1], allow_unused=True)[0] if value.requires_grad else None
            for place, column in enumerate(value.unbind(1))
        ]
    grad = torch.stack([torch.zeros_like(x) if one is None else one.detach() for one in grads], 1)
    return Graded(scores.detach().to(x.device), value.detach(), grad)
