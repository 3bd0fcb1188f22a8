"""Transfer: points found on one network break another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.aims.aim import Methods, Request, aim
from sparring.aims.case import Case, Cell, Progress, Settings, check_data
from sparring.aims.evasion.case import EvasionCase
from sparring.attacks.attack import Attack, read_attack
from sparring.attacks.attack_set import written_in
from sparring.attacks.evasion.transfer.crafted import Crafted
from sparring.core.errors import InputError, PlanError
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.metrics.outcome import CLEAN

CONTROL = "random_corner"


@dataclass(frozen=True)
class TransferCase(EvasionCase):
    """Represent one target, which is queried once per point.

    The samples are those that all networks classify correctly. Points found on the target itself, alone or among several sources, are
    not transfer: they are shown as a reference and not gated.

    Attributes:
        networks: Names of all sources and targets.
        asked: Number of samples in the data; the case has those that every network classifies correctly.
    """

    aim: ClassVar[str] = "transfer"

    networks: tuple[str, ...] = ()
    asked: int = 0

    def cells(self, settings: Settings) -> list[Cell]:
        own = {str(one) for one in self.attacks if isinstance(one, Crafted) and self.victim.fingerprint in [part.fingerprint for part in one.sources]}
        found = super().cells(replace(settings, cascade=False))
        return [cell._replace(about={**cell.about, "reference": True}) if cell.say in own else cell for cell in found]

    def carry_out(self, places: Tensor, progress: Progress) -> None:
        super().carry_out(places, replace(progress, settings=replace(progress.settings, cascade=False)))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "networks": list(self.networks), "asked": self.asked}


@aim(
    "transfer",
    unit="sample",
    baseline=CLEAN,
    controls=(CONTROL,),
    metrics=("transfer_rate",),
    sections=("threat_card", "sources", "gallery"),
    threat="space",
    keys=frozenset({"model", "source", "threat", "goal", "attacks", "points"}),
)
def transfer(request: Request) -> list[Case]:
    """Evaluate a model on points that were found on other networks."""
    if not request.threats:
        raise PlanError("transfer needs a threat: add threat='linf 0.1'")
    groups = [(victim,) for victim in request.victims] if request.sources is None else list(request.sources)
    victims = _all_victims(groups, request.victims, request.data)
    attacks = _attacks(request.attacks)
    return [case for threat in request.threats for case in _cases(request, groups, victims, attacks, threat)]


def _cases(request: Request, groups: Sequence[Sequence[Victim]], victims: list[Victim], attacks: list[Attack], threat: Threat) -> list[Case]:
    """One case per target; they share the samples and the points."""
    crafted = [Crafted.on(attack, tuple(group), threat) for attack in attacks for group in groups]
    said = [str(one) for one in crafted]
    if twice := {one for one in said if said.count(one) > 1}:
        raise PlanError(f"{twice.pop()} is listed twice: give every source its own name, sp.victim(..., name=...)")
    for target in request.victims:
        read_attack(CONTROL).check(target, threat.seeing("labels"))
    data, names = request.data, tuple(one.name for one in victims)
    right = _right_everywhere(victims, data, threat, request.seed)
    if not bool(right.any()):
        raise InputError(f"none of the {len(data)} samples is classified correctly by all of {', '.join(names)}: use other data or better models")
    rows = right.nonzero().squeeze(1)
    common, seen = data.rows(rows), threat.seeing("labels").take(rows)
    methods = (*crafted, read_attack(CONTROL))
    return [TransferCase(f"{target.name} · {threat.space.label}", target, common, seen, methods, networks=names, asked=len(data)) for target in request.victims]


def _attacks(written: Methods) -> list[Attack]:
    """The attacks of a plan or a call; the control is always added."""
    listed = written_in("transfer", [written] if isinstance(written, str | Attack) else list(written))
    chosen = [read_attack(one) if isinstance(one, str) else one for one in listed]
    if not chosen:
        raise PlanError("a transfer matrix needs at least one attack")
    return [one for one in chosen if one.name != CONTROL]


def _all_victims(groups: Sequence[Sequence[Victim]], targets: Sequence[Victim], data: Data) -> list[Victim]:
    """Every network once. InputError if one does not accept the data or two have the same name."""
    if not groups or not targets:
        raise InputError(f"a transfer matrix needs sources and targets; got {len(groups)} and {len(targets)}")
    if not all(groups):
        raise InputError("a source is an empty list: give a victim, sp.victim(model, domain), or a list of them")
    found: dict[str, Victim] = {}
    for one in [*(victim for group in groups for victim in group), *targets]:
        found.setdefault(one.fingerprint, one)
        check_data(one.name, one, data)
        if one.classes != targets[0].classes:
            raise InputError(f"{one.name} has {one.classes} classes, {targets[0].name} has {targets[0].classes}: give networks with the same classes")
    if len({one.fingerprint for one in targets}) < len(targets):
        raise InputError(f"a target is listed twice: {', '.join(one.name for one in targets)}")
    names = [one.name for one in found.values()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two networks are called {twice.pop()!r}: give each its own name, sp.victim(model, domain, name=...)")
    if not isinstance(data.x, Tensor):
        raise InputError(f"a transfer matrix needs numerical inputs, but the data holds {data.domain}")
    return list(found.values())


def _right_everywhere(victims: Sequence[Victim], data: Data, threat: Threat, seed: int) -> Tensor:
    """bool [n]: classified correctly by every network as deployed, and not already at the goal of the threat."""
    criterion = threat.goal.freeze(data.y, victims[0].task, Rng.of(seed, data.ids, data.y.device))
    right = torch.ones(len(data), dtype=torch.bool)
    for one in victims:
        with one.session():
            labels = torch.cat([one.label(one.domain.deploy(part, part)) for part in data.x.split(500)])
        right &= ((labels == data.y) & ~criterion.met(labels)).cpu()
    return right
