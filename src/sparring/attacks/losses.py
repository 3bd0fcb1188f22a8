"""What gradient attacks maximise: named functions (scores [n, ...], criterion) -> values [n] that grow toward the goal.

A name may stand for several functions, one for each kind of criterion; "margin", the criterion's own loss, is there for all of them. They work on
logits; `doctor` warns when a model gives probabilities.

Where nobody has registered a loss for a kind of criterion, every name stands for the criterion's own loss, so that attacks run on a new task as they are.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparring.core.errors import NeedsError
from sparring.core.goal import Criterion
from sparring.core.problem import Loss
from sparring.core.registry import everything, find, register
from sparring.tasks.classes import ClassCriterion, logit_gap


class NamedLoss:
    """Represent a loss by name: one function per kind of criterion, chosen by the criterion."""

    def __init__(self, name: str):
        self.name = name
        self.variants: dict[type, Loss] = {}
        self.__doc__ = ""

    def __call__(self, scores: Tensor, criterion: Any) -> Tensor:
        return self.variant(type(criterion))(scores, criterion)

    def fits(self, kind: type) -> bool:
        """Return whether there is a function for criteria of this kind."""
        return any(issubclass(kind, one) for one in self.variants)

    def variant(self, kind: type) -> Loss:
        """Return the function for criteria of this kind.

        Raises:
            NeedsError: Where there is none, though other losses have one.
        """
        if (exact := self.variants.get(kind)) is not None:
            return exact
        for one, function in self.variants.items():
            if issubclass(kind, one):
                return function
        if not any(issubclass(kind, one) for named in everything("loss").values() for one in named.variants if one is not object):
            return margin
        known = ", ".join(sorted(one.__name__ for one in self.variants))
        raise NeedsError(f'the loss "{self.name}" is for {known}, not for {kind.__name__}: use loss="margin", which fits every goal')


def loss(name: str, kind: type) -> Callable[[Loss], Loss]:
    """Register a function as the loss `name` for criteria of this kind."""

    def enter(function: Loss) -> Loss:
        named = _NAMED.setdefault(name, NamedLoss(name))
        named.variants[kind] = function
        named.__doc__ = named.__doc__ or function.__doc__
        register("loss", name)(named)
        return function

    return enter


_NAMED: dict[str, NamedLoss] = {}


def rises(loss: Tensor, before: Tensor) -> Tensor:
    """Return whether a loss is higher than before by more than rounding errors, bool [n].

    Rounding differs between batches.
    """
    return loss - before > max(8 * torch.finfo(loss.dtype).eps, 1e-12) * loss.abs()


@loss("margin", object)
def margin(scores: Tensor, criterion: Criterion) -> Tensor:
    """Return the goal's own loss; for classes the best other logit minus that of the class.

    Source: Carlini, Wagner 2017, f6 without its clip.
    """
    return criterion.loss(scores)


@loss("ce", ClassCriterion)
def cross_entropy(scores: Tensor, criterion: ClassCriterion) -> Tensor:
    """Return the cross-entropy of the reference class, signed.

    Source: Goodfellow et al. 2015.
    """
    logs = torch.log_softmax(scores, dim=1).gather(1, criterion.reference_class[:, None]).squeeze(1)
    return -criterion.sign * logs


@loss("pm", ClassCriterion)
def probability_margin(scores: Tensor, criterion: ClassCriterion) -> Tensor:
    """Return the margin in probabilities, which weighs targeted and untargeted cross-entropy.

    Source: PMA, Xie et al. 2024.
    """
    return -criterion.sign * logit_gap(torch.softmax(scores, dim=1), criterion.reference_class)


@loss("dlr", ClassCriterion)
def difference_of_logits_ratio(scores: Tensor, criterion: ClassCriterion) -> Tensor:
    """Return the margin divided by a spread of the highest logits, which cancels their scale.

    Source: Croce, Hein 2020, arXiv:2003.01690, equations 6 and 8.

    Differs from the paper: with three classes the targeted form divides by z1 - z3, with two classes there is no
    third logit and the plain margin is used; the original is undefined there.
    """
    top = scores.topk(min(4, scores.shape[1]), dim=1).values
    if top.shape[1] < 3:
        return margin(scores, criterion)
    third = top[:, 2]
    away = -logit_gap(scores, criterion.reference_class) / (top[:, 0] - third + 1e-12)
    own = scores.gather(1, criterion.label[:, None]).squeeze(1)
    aimed = scores.gather(1, criterion.reference_class[:, None]).squeeze(1)
    base = third if top.shape[1] < 4 else (third + top[:, 3]) / 2
    toward = (aimed - own) / (top[:, 0] - base + 1e-12)
    return torch.where(criterion.sign > 0, away, toward)


@loss("mifpe", ClassCriterion)
def scaled_cross_entropy(scores: Tensor, criterion: ClassCriterion) -> Tensor:
    """Return the margin, with the gradient of a cross-entropy that no scale of logits can stop.

    The logits are divided by the gap of the highest two, so that no scale of them can make the gradient vanish in floating point.

    Source: MIFPE, Yu, Xu 2023.

    Differs from the paper: the division is not differentiated, and values are margins, so that two points can be compared.
    """
    top = scores.detach().topk(min(2, scores.shape[1]), dim=1).values
    gap = (top[:, 0] - top[:, -1]).clamp_min(torch.finfo(scores.dtype).tiny * 1e6)
    slope = cross_entropy(scores / gap[:, None], criterion)
    return slope - slope.detach() + margin(scores, criterion).detach()


def loss_of(name: str) -> Loss:
    """Return the registered loss of that name."""
    return find("loss", name)
