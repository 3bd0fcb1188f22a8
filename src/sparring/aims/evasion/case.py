"""A case of evasion: a model, data, a threat, certifiers and attacks; and how a batch of it is carried out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.aims.case import Case, Cell, Progress, Settings, check_data, confirm, refuse_unknown
from sparring.aims.evasion.batch import Batch, carry_out_attack, carry_out_clean, threat_criterion
from sparring.aims.evasion.certificates import certify_batch, check_against
from sparring.attacks.attack import Attack
from sparring.attacks.loop import iterate
from sparring.certification.certifier import Certifier
from sparring.core.code import code_of, code_of_subject
from sparring.core.errors import LoadError, NeedsError, SparringError
from sparring.core.problem import Problem
from sparring.core.rng import Rng
from sparring.core.space import has_gaps
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.diagnosis.doctor import Finding, examine, trust
from sparring.diagnosis.reevaluate import reevaluate
from sparring.judge.judge import judge
from sparring.metrics.outcome import CLEAN
from sparring.records.record import key_of
from sparring.threats.notes import is_boundless, notes_on


@dataclass(frozen=True)
class EvasionCase(Case):
    """Represent one model on one data set under one threat.

    The certifiers are asked first, then the attacks are tried in order.
    """

    aim: ClassVar[str] = "evasion"

    name: str
    victim: Victim
    data: Data
    threat: Threat
    attacks: tuple[Attack, ...]
    certifiers: tuple[Certifier, ...] = ()

    def __post_init__(self) -> None:
        """Controls go last, wherever they were written: a sample fell to a search, if to any."""
        object.__setattr__(self, "attacks", tuple(sorted(self.attacks, key=lambda attack: attack.control)))

    @property
    def units(self) -> list[str]:
        return self.data.ids

    @property
    def subject(self) -> str:
        return self.victim.name

    @property
    def task(self) -> str:
        return self.data.task.kind

    def check(self) -> None:
        """Refuse what cannot work, before the first question to the victim."""
        check_data(self.name, self.victim, self.data)
        if not self.attacks:
            raise NeedsError(f"{self.name}: there is no attack to run: give attacks=default, or some such as attacks=pgd")
        for attack in self.attacks:
            attack.check(self.victim, self.threat)
        for certifier in self.certifiers:
            certifier.check(self.victim, self.threat)
        self.threat.space.check(self.data.x, self.victim.domain)
        self.threat.goal.freeze(self.data.y, self.victim.task, Rng.of(0, self.data.ids))

    def notes(self) -> list[str]:
        return notes_on(self.threat, self.data.x, self.victim.domain)

    def ask_once(self) -> None:
        """Ask the model about two samples before a record is begun.

        And about one with a gap for each column that has some.

        Raises LoadError where it cannot answer.
        """
        x = self.data.x
        gaps = x.isnan().any(0).nonzero().squeeze(1) if has_gaps(x) else ()
        asked = x[sorted({0, min(1, len(x) - 1), *(int(x[:, column].isnan().nonzero()[0]) for column in gaps)})]
        with self.victim.session():
            try:
                self.victim.answer(asked)
            except SparringError:
                raise
            except Exception as error:  # the user's model may raise anything
                said = str(error).strip().splitlines() or [""]
                raise LoadError(f"{self.victim.name} cannot take {self.data.domain}: {type(error).__name__}: {said[0]}") from error

    def ask_again(self, progress: Progress) -> None:
        def again(ids: list[str]) -> dict[str, Sequence[Any]]:
            places = torch.tensor([self.data.ids.index(one) for one in ids])
            data, threat = self.data.rows(places), self.clean_threat().take(places)
            criterion = threat_criterion(threat, data, self.victim, progress.settings)
            with self.victim.session():
                verdicts = judge(self.victim, data.x, data.x, criterion, threat, torch.zeros(len(data), dtype=torch.bool, device=data.y.device), data.y)
            return {"given": self.victim.task.pack(verdicts.answers), "margin": verdicts.margin.tolist()}

        confirm(self.name, self.victim, progress, CLEAN, again)
        for attack in self.attacks:
            others = [one for one in attack.models if one.fingerprint != self.victim.fingerprint]
            refuse_unknown(self.name, progress, str(attack), others)

    def clean_threat(self) -> Threat:
        """Return the threat without a change, under which any wrong answer counts."""
        return replace(self.threat.at(0.0), goal=self.threat.goal.clean())

    def examine(self, settings: Settings) -> dict[str, Any]:
        findings = examine(self.victim, self.data, self.threat)
        about: dict[str, Any] = {"checks": [check.describe() for check in findings]}
        if settings.self_check and settings.shard[0] == 0:
            try:
                look = self.reevaluate(findings, settings.seed)
            except Exception as error:  # a foreign model may fail in any way; the evaluation itself goes on
                about["warning"] = f"no re-evaluation: {type(error).__name__}: {error}"
            else:
                about.update({"reevaluation": look} if look else {})
        return about

    def reevaluate(self, findings: Sequence[Finding], seed: int) -> dict[str, Any] | None:
        """Return what the remedies find where a check failed and gradients are granted; else None.

        The result is plain JSON.
        """
        steep = {"project", "ascend", "sample"} <= self.threat.space.offers()
        if trust(findings) != "unreliable" or not steep or "gradients" not in self.victim.exposes & self.threat.grants:
            return None
        return reevaluate(self.victim, self.data, self.threat, seed=seed).describe()

    def describe(self) -> dict[str, Any]:
        threat = {**self.threat.describe(), "goal": self._goal(), "say": str(self.threat.space), "say_short": self.threat.space.label}
        return {
            "model": self.victim.describe(),
            "data": self.data.describe(),
            "threat": {**threat, "boundless": True} if is_boundless(self.threat, self.data.x, self.victim.domain) else threat,
        }

    def _goal(self) -> dict[str, Any]:
        """The goal with the words in which a report tells it."""
        goal = self.threat.goal.of(self.victim.task)
        return {**goal.describe(), "wish": goal.wish, "sentence": goal.sentence, "mistake": self.victim.task.mistake, "usual": goal.usual}

    def cells(self, settings: Settings) -> list[Cell]:
        """Return the clean rows first, then those of the certifiers, then those of the attacks.

        In a cascade an attack sees what the earlier ones left, so its key contains theirs.
        """
        model = {name: value for name, value in self.victim.describe().items() if name != "name"}
        base = {"model": model, "domain": self.victim.domain.describe(), "data": self.data.sha256, "seed": settings.seed}
        base["subject code"] = code_of_subject(self.data, self.victim)
        clean = {"name": CLEAN, "settings": {}, "cites": ""}
        found = [Cell(CLEAN, key_of({**base, "attack": CLEAN, "code": code_of(judge, Batch), "threat": [self.threat.goal.describe()]}), clean)]
        for one in self.certifiers:
            found.append(self._cell(base, one, "certifier", [cell.key for cell in found]))
        proofs, searched = [cell.key for cell in found[1:]], list[str]()
        for one in self.attacks:
            cell = self._cell(base, one, "attack", [*proofs, *searched] if settings.cascade and not one.control else [])
            found.append(cell)
            if not one.control:
                searched.append(cell.key)
        return found

    def _cell(self, base: dict[str, Any], method: Attack | Certifier, role: str, earlier: list[str]) -> Cell:
        what = {role: method.describe(), "code": code_of_method(method, self.threat), "threat": self.threat.describe(), "earlier": earlier}
        named = {"nist": method.nist, "atlas": method.atlas} if isinstance(method, Attack) and not method.control else {}
        return Cell(str(method), key_of({**base, **what}), {**method.describe(), **named})

    def carry_out(self, places: Tensor, progress: Progress) -> None:
        batch = Batch.open(self.victim, self.data, self.threat, places, progress)
        resuming = [attack for attack in self.attacks if attack.resumes and batch.lacks(str(attack))]
        statistical = {str(one) for one in self.certifiers if one.statistical}
        carry_out_clean(batch, self.clean_threat().take(places))
        for certifier in self.certifiers:
            certify_batch(batch, certifier)
        for turn, attack in enumerate(self.attacks):
            needed = any(later in resuming for later in self.attacks[turn + 1 :])
            carry_out_attack(batch, attack, audits=turn == 0, needed=needed)
            check_against(batch, attack, statistical)


def code_of_method(method: Attack | Certifier, threat: Threat) -> str:
    """Return a hash of the code that searches or proves under a threat, and of the judge."""
    return code_of(method, iterate, Problem, threat, threat.space, threat.goal, judge, Batch)
