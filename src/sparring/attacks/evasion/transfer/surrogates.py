"""Networks whose gradients stand in for the victim's: opened by name, asked together."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sparring.attacks.evasion.transfer.change import unit
from sparring.core.domain import Domain
from sparring.core.files import is_there, path_of
from sparring.core.fingerprint import digest
from sparring.core.goal import Criterion
from sparring.core.problem import Loss
from sparring.core.registry import everything
from sparring.core.rng import number_of
from sparring.core.task import Task
from sparring.core.victim import Victim
from sparring.models.factory import made_by
from sparring.models.load import load_model

Together = Literal["logits", "losses", "gradients"]
"""Quantities in which surrogates can be averaged: scores, losses, or gradients scaled to one size."""

WAYS: tuple[str, ...] = get_args(Together)


@dataclass(frozen=True)
class _Inputs:
    """Hold the parts of data that `load_model` needs."""

    domain: Domain
    task: Task

    @property
    def classes(self) -> list[str]:
        """Return numbers for names, where the task has classes."""
        return [str(number) for number in range(getattr(self.task, "classes", None) or 0)]


def parts_of(written: str) -> list[str]:
    """Return the references between plus signs: `digits-plain+digits-robust` are two."""
    return [f"zoo:{part.strip()}" if part.strip() in everything("model") else part.strip() for part in written.split("+") if part.strip()]


def identity_of(criterion: str) -> str:
    """Return a hash of the model behind a criterion, found without knowing what its inputs are."""
    kind, _, rest = criterion.partition(":")
    if kind == "zoo":
        return load_model(criterion).fingerprint
    path = path_of(criterion)
    if is_there(path) and path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not rest:
        load_model(criterion)  # raises an error that says what is wrong
    made = made_by(kind, rest)
    if isinstance(made, Victim):
        return made.fingerprint
    state = made.state_dict() if isinstance(made, nn.Module) else {}
    weights = [value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for value in state.values() if value.numel()]
    return digest(criterion, repr(made) if state else "", *weights)


@functools.lru_cache(maxsize=16)
def opened(criterion: str, identity: str, domain: Domain, task: Task) -> Victim:
    """Return the model of a criterion for inputs of this domain and answers of this task.

    `identity` keeps one that changed from being taken for the old one.
    """
    return load_model(criterion, _Inputs(domain, task))


def complaint(surrogate: Victim, victim: Victim) -> str | None:
    """Return why gradients of the surrogate say nothing about the victim; None where they may."""
    if "gradients" not in surrogate.exposes:
        return f"the surrogate {surrogate.name} exposes {', '.join(sorted(surrogate.exposes))}, not gradients: give a differentiable one"
    ours, theirs = ({name: value for name, value in one.domain.describe().items() if name != "deployed"} for one in (surrogate, victim))
    if ours != theirs:
        return f"the surrogate {surrogate.name} takes {surrogate.domain}, the victim {victim.name} {victim.domain}: give one for the same inputs"
    if (surrogate.task.kind, surrogate.task.score_shape) != (victim.task.kind, victim.task.score_shape):
        return f"the surrogate {surrogate.name} answers {surrogate.task}, the victim {victim.name} {victim.task}: give one for the same answers"
    return None


def fused(surrogates: Sequence[Victim], loss: Loss, way: Together) -> Callable[[Tensor, Criterion, int], Tensor]:
    """Return (points, criterion, turn) -> gradient of the loss of all surrogates together.

    The gradient is shaped like the points.

    Each is asked in a session of its own, seeded by the turn, so that the victim's random state is not touched.
    """

    def gradient(surrogate: Victim, x: Tensor, objective: Callable[[Tensor], Tensor], turn: int) -> Tensor:
        with surrogate.session(number_of(f"surrogate {turn}")):
            return surrogate.gradient(x, objective).grad.to(x)

    def scores(surrogate: Victim, x: Tensor, turn: int) -> Tensor:
        with surrogate.session(number_of(f"surrogate {turn}")):
            return surrogate.search_scores(x)

    def asked(x: Tensor, criterion: Criterion, turn: int) -> Tensor:
        if way != "logits" or len(surrogates) == 1:
            found = [gradient(one, x, lambda scores: loss(scores, criterion), turn) for one in surrogates]
            return sum((unit(one) if way == "gradients" else one for one in found), torch.zeros_like(x)) / len(found)
        said = [scores(one, x, turn) for one in surrogates]
        total = torch.zeros_like(x)
        for place, one in enumerate(surrogates):
            rest = sum((other for turned, other in enumerate(said) if turned != place), torch.zeros_like(said[place]))
            total += gradient(one, x, lambda own, rest=rest: loss((own + rest.to(own)) / len(said), criterion), turn)
        return total

    return asked
