"""Variants of the victim for adaptive attacks: averaged, repaired, in double precision, inner network."""

import contextlib
import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from sparring.core.domain import Batch
from sparring.core.victim import Graded, Objective, Victim
from sparring.core.wrapped import Wrapped
from sparring.diagnosis.doctor import Subject
from sparring.diagnosis.probe import DRAWS, is_random
from sparring.diagnosis.suspects import Suspect, suspects
from sparring.models.bpda import Backward, BpdaVictim
from sparring.models.eot import EotVictim
from sparring.models.torch import TorchVictim


class Variant(NamedTuple):
    """Hold a surrogate of the victim and a description of it.

    The deployed model judges the points found on it.
    """

    label: str
    victim: Victim


def averaged(subject: Subject) -> list[Variant]:
    """Return the mean of many draws, where the victim answers at random."""
    if isinstance(subject.victim, EotVictim) or not is_random(subject):
        return []
    return [Variant(f"EOT of {DRAWS} draws", EotVictim(subject.victim, DRAWS))]


def passed(subject: Subject) -> list[Variant]:
    """Return the victim with suspicious parts differentiated as identities, and as secants."""
    culprits = _replaceable(subject)
    names = " and ".join(one.name for one in culprits)
    made = [_stood_in(subject, culprits, way, repaired=False) for way in ("identity", "secant")] if culprits else []
    return [Variant(f"BPDA of {names} as {way}", _steady(subject, one)) for way, one in zip(("identity", "secant"), made, strict=False) if _works(subject, one)]


def twins(subject: Subject, *, inside: bool = False) -> list[Variant]:
    """Return networks whose points may transfer: a repaired copy and inner classifiers.

    Repaired is without its suspicious parts; the inner classifiers come with `inside` even where no part is suspicious.
    """
    culprits, found = _replaceable(subject), []
    if culprits:
        twin = _stood_in(subject, culprits, "identity", repaired=True)
        found = [Variant(f"transfer from the network without {' and '.join(one.name for one in culprits)}", twin)] if _works(subject, twin) else []
    inner = inner_networks(subject)
    if inner and (inside or suspects(subject)):
        names, twin = " and ".join(name for name, _ in inner[:3]) + (" ..." if len(inner) > 3 else ""), InnerVictim(subject.victim, inner)
        found += [Variant(f"transfer from {names}", twin)] if _differs(subject, twin) else []
    return found


def _differs(subject: Subject, twin: Victim) -> bool:
    """Return whether its gradients differ; the only child of a module is often the same network."""
    x, y = subject.x[:8], subject.y[:8]
    try:
        own, other = (one.gradient(x, lambda scores: subject.task.wrong(y.to(scores.device)).loss(scores)).grad.flatten(1) for one in (subject.victim, twin))
    except Exception:  # the victim cannot be differentiated, but perhaps its part can
        return _works(subject, twin)
    return bool((own - other).norm(dim=1).gt(1e-2 * other.norm(dim=1)).any())


def doubled(subject: Subject) -> list[Variant]:
    """Return a copy in double precision."""
    module, victim = subject.module, subject.victim
    if module is None or isinstance(victim, BpdaVictim | EotVictim) or getattr(victim, "dtype", None) != torch.float32:
        return []
    try:
        plain: Any = TorchVictim
        twin: Victim = plain(copy.deepcopy(module).double().eval(), victim.domain, name=victim.name, search="plain", task=victim.task)
    except Exception:  # a foreign module may insist on its precision
        return []
    return [Variant("a copy in double precision", twin)] if _works(subject, twin, torch.float64) else []


def _replaceable(subject: Subject) -> list[Suspect]:
    if not isinstance(subject.victim, TorchVictim | BpdaVictim) or getattr(subject.victim, "exported", False):
        return []
    return [one for one in suspects(subject) if one.name and one.why != "random"]


def _stood_in(subject: Subject, culprits: list[Suspect], way: Backward, *, repaired: bool) -> Victim:
    made: Any = subject.victim
    for one in culprits:
        made = BpdaVictim(made, one.name, way, repaired=repaired)
    return made


def _steady(subject: Subject, victim: Victim) -> Victim:
    """Return the variant averaged over draws if its answers are random."""
    return EotVictim(victim, DRAWS) if is_random(subject) else victim


def _works(subject: Subject, victim: Victim, dtype: torch.dtype | None = None) -> bool:
    """Return whether the variant answers and yields a gradient."""
    x = subject.x[:2] if dtype is None else subject.x[:2].to(dtype)
    with victim.session(), contextlib.suppress(Exception):  # a variant that fails on the model of a user is left out
        return bool(victim.gradient(x, lambda scores: scores.square().flatten(1).sum(1)).grad.isfinite().all())
    return False


def inner_networks(subject: Subject) -> list[tuple[str, nn.Module]]:
    """Return the outermost parts that map the unchanged input to scores of the task.

    The model itself is left out.
    """
    module, shape = subject.module, subject.victim.task.score_shape
    if module is None:
        return []
    names, x = {id(one): name for name, one in module.named_modules()}, subject.x[:2]
    found: dict[str, nn.Module] = {}

    def look(one: nn.Module, inputs: Any, output: Any) -> None:
        name = names.get(id(one), "")
        takes = len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].shape == x.shape and torch.equal(inputs[0].cpu().to(x.dtype), x.cpu())
        if not name or not takes or not isinstance(output, Tensor) or not output.is_floating_point():
            return
        told = tuple(output.shape[1:])
        without = (max(2, shape[0] - 1),) if subject.victim.task.kind == "classes" else shape  # a class that the model adds may be missing inside
        if len(output) == len(x) and told in (shape, without):
            found[name] = one

    handle = register_module_forward_hook(look)
    try:
        with torch.no_grad():
            subject.victim.scores(x)
    finally:
        handle.remove()
    return [(name, one) for name, one in found.items() if not any(name.startswith(other + ".") for other in found)]


class InnerVictim(Wrapped):
    """Represent a victim whose search uses its inner classifiers.

    The search uses the mean of their probabilities, as logits. Scores and labels are the victim's own.
    """

    def __init__(self, inner: Victim, networks: list[tuple[str, nn.Module]]):
        super().__init__(inner)
        self.networks, self.exact, self.price, self.slack = networks, False, 1, math.inf

    @property
    def settings(self) -> dict[str, Any]:
        return {"parts": [name for name, _ in self.networks]}

    def search_scores(self, x: Batch) -> Tensor:
        with torch.no_grad():
            return self._ask(x)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            scores = self._ask(point)
            value = objective(scores)
            (grad,) = torch.autograd.grad(value.sum(), point)
        return Graded(scores.detach(), value.detach(), grad.detach())

    def _ask(self, x: Tensor) -> Tensor:
        answers = [network(x) for _, network in self.networks]
        if self.task.kind != "classes":
            return torch.stack(answers).mean(0)
        scores = answers[0] if len(answers) == 1 else torch.stack([one.log_softmax(1).exp() for one in answers]).mean(0).clamp_min(1e-30).log()
        missing = self.classes - scores.shape[1]  # a class that the wrapper adds for inputs that it rejects
        return torch.cat([scores, scores.detach().amin(1, keepdim=True).expand(-1, missing) - 1], 1) if missing else scores
