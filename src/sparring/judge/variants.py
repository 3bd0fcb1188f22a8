"""The victim as an adaptive adversary would ask it: averaged, repaired, in double precision, or its inner network alone."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from sparring.core.domain import Batch
from sparring.core.threat import lead
from sparring.core.victim import Graded, Objective, Victim
from sparring.judge.doctor import Patient
from sparring.judge.suspects import Suspect, suspects
from sparring.judge.trial import DRAWS, is_random
from sparring.models.adapter import digest
from sparring.models.bpda import Backward, BpdaVictim
from sparring.models.eot import EotVictim
from sparring.models.torch import TorchVictim


class Variant(NamedTuple):
    """say: what was done, in words. victim: to search on; what it finds is judged by the deployed model."""

    say: str
    victim: Victim


def averaged(patient: Patient) -> list[Variant]:
    """The mean of many draws, where the victim answers at random."""
    if isinstance(patient.victim, EotVictim) or not is_random(patient):
        return []
    return [Variant(f"EOT of {DRAWS} draws", EotVictim(patient.victim, DRAWS))]


def passed(patient: Patient) -> list[Variant]:
    """The victim with gradients that pass the suspicious parts as identities, and as secants."""
    culprits = _replaceable(patient)
    names = " and ".join(one.name for one in culprits)
    made = [_stood_in(patient, culprits, way, repaired=False) for way in ("identity", "secant")] if culprits else []
    return [Variant(f"BPDA of {names} as {way}", _steady(patient, one)) for way, one in zip(("identity", "secant"), made, strict=False) if _works(patient, one)]


def twins(patient: Patient, *, inside: bool = False) -> list[Variant]:
    """Networks whose points may carry over: the victim without its suspicious parts, and the classifiers inside it; these
    with `inside` even where no part is suspicious."""
    culprits, found = _replaceable(patient), []
    if culprits:
        twin = _stood_in(patient, culprits, "identity", repaired=True)
        found = [Variant(f"transfer from the network without {' and '.join(one.name for one in culprits)}", twin)] if _works(patient, twin) else []
    inner = inner_networks(patient)
    if inner and (inside or suspects(patient)):
        names, twin = " and ".join(name for name, _ in inner[:3]) + (" ..." if len(inner) > 3 else ""), InnerVictim(patient.victim, inner)
        found += [Variant(f"transfer from {names}", twin)] if _differs(patient, twin) else []
    return found


def _differs(patient: Patient, twin: Victim) -> bool:
    """Do its gradients lead elsewhere? The only child of a module is often the same network once more."""
    x, y = patient.x[:8], patient.y[:8]
    try:
        own, other = (one.gradient(x, lambda scores: lead(scores, y.to(scores.device))).grad.flatten(1) for one in (patient.victim, twin))
    except Exception:  # the victim cannot be differentiated, and perhaps its part can
        return _works(patient, twin)
    return bool((own - other).norm(dim=1).gt(1e-2 * other.norm(dim=1)).any())


def doubled(patient: Patient) -> list[Variant]:
    """A copy in double precision."""
    module, victim = patient.module, patient.victim
    if module is None or isinstance(victim, BpdaVictim | EotVictim) or getattr(victim, "dtype", None) != torch.float32:
        return []
    try:
        plain: Any = TorchVictim
        twin: Victim = plain(copy.deepcopy(module).double().eval(), victim.domain, name=victim.name, search="plain")
    except Exception:  # a foreign module may insist on its precision
        return []
    return [Variant("a copy in double precision", twin)] if _works(patient, twin, torch.float64) else []


def _replaceable(patient: Patient) -> list[Suspect]:
    if not isinstance(patient.victim, TorchVictim | BpdaVictim) or getattr(patient.victim, "exported", False):
        return []
    return [one for one in suspects(patient) if one.name and one.why != "random"]


def _stood_in(patient: Patient, culprits: list[Suspect], way: Backward, *, repaired: bool) -> Victim:
    made: Any = patient.victim
    for one in culprits:
        made = BpdaVictim(made, one.name, way, repaired=repaired)
    return made


def _steady(patient: Patient, victim: Victim) -> Victim:
    """Averaged where the answers are random too."""
    return EotVictim(victim, DRAWS) if is_random(patient) else victim


def _works(patient: Patient, victim: Victim, dtype: torch.dtype | None = None) -> bool:
    """Can it be asked, and does a gradient come back?"""
    x = patient.x[:2] if dtype is None else patient.x[:2].to(dtype)
    with victim.session(), contextlib.suppress(Exception):  # whatever a stand-in does to a foreign model, it is then left out
        return bool(victim.gradient(x, lambda scores: scores.square().sum(1)).grad.isfinite().all())
    return False


def inner_networks(patient: Patient) -> list[tuple[str, nn.Module]]:
    """Parts that take the input as it is and answer with a number for each class, the outermost; not the model itself."""
    module, classes = patient.module, patient.victim.classes
    if module is None:
        return []
    names, x = {id(one): name for name, one in module.named_modules()}, patient.x[:2]
    found: dict[str, nn.Module] = {}

    def look(one: nn.Module, inputs: Any, output: Any) -> None:
        name = names.get(id(one), "")
        takes = len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].shape == x.shape and torch.equal(inputs[0].cpu().to(x.dtype), x.cpu())
        if not name or not takes or not isinstance(output, Tensor) or not output.is_floating_point():
            return
        if output.ndim == 2 and len(output) == len(x) and max(2, classes - 1) <= output.shape[1] <= classes:
            found[name] = one

    handle = register_module_forward_hook(look)
    try:
        with torch.no_grad():
            patient.victim.scores(x)
    finally:
        handle.remove()
    return [(name, one) for name, one in found.items() if not any(name.startswith(other + ".") for other in found)]


class InnerVictim(Victim):
    """A victim searched on by way of the classifiers inside it: the mean of their probabilities, as logits. Scores and labels are
    the victim's own."""

    exact = False

    def __init__(self, inner: Victim, networks: list[tuple[str, nn.Module]]):
        self.inner, self.networks = inner, networks
        self.name, self.domain, self.classes, self.exposes = inner.name, inner.domain, inner.classes, inner.exposes

    def scores(self, x: Batch) -> Tensor:
        return self.inner.scores(x)

    def label(self, x: Batch) -> Tensor:
        return self.inner.label(x)

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
        scores = answers[0] if len(answers) == 1 else torch.stack([one.log_softmax(1).exp() for one in answers]).mean(0).clamp_min(1e-30).log()
        missing = self.classes - scores.shape[1]  # a class that the wrapper adds, for inputs it turns away
        return torch.cat([scores, scores.detach().amin(1, keepdim=True).expand(-1, missing) - 1], 1) if missing else scores

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        with self.inner.session(seed):
            yield

    @property
    def fingerprint(self) -> str:
        return digest(self.inner.fingerprint, "inner " + " ".join(name for name, _ in self.networks))
