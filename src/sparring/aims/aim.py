"""`@aim`: one file adds a kind of harm, with its unit of account, its controls and the way to measure it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparring.aims.case import Case
from sparring.attacks.attack import Attack
from sparring.certification.certifier import Certifier
from sparring.core.registry import register
from sparring.core.signature import check_signature
from sparring.core.victim import Victim
from sparring.data.dataset import Data

Methods = str | Attack | Sequence[str | Attack]


@dataclass(frozen=True)
class Request:
    """Hold what a plan or a call asks of an aim, with everything loaded.

    What was not given is empty.

    Attributes:
        victims: The models.
        data: The data to measure on.
        train: The training data, where the aim trains models of its own.
        threats: What the adversary may do, as the aim reads it.
        attacks: The name of a set, or attacks as they are written in a plan.
        certify: Certifiers, written likewise.
        fits: Training procedures.
        trials: How often a random experiment is repeated.
        seed: Of all random draws.
        sources: Models on which points are found that others are asked about, each alone or several together; None for the models themselves.
        members: Ids of the samples that the models were trained on; None where nobody says.
    """

    data: Data
    victims: Sequence[Victim] = ()
    threats: Sequence[Any] = ()
    attacks: Methods = "default"
    certify: str | Certifier | Sequence[str | Certifier] = "default"
    train: Data | None = None
    fits: Sequence[Any] = ()
    trials: int = 10
    seed: int = 0
    sources: Sequence[Sequence[Victim]] | None = None
    members: frozenset[str] | None = None


Cases = Callable[[Request], list[Case]]


@dataclass(frozen=True)
class Aim:
    """Describe a kind of harm and how it is measured.

    Attributes:
        name: As in `spar run aim=NAME`.
        unit: What one row of the record is about: "sample", "trial", "record".
        cases: Turns a request into cases; raises UsageError for what does not fit.
        baseline: The cell with which the others are compared.
        controls: Further cells that every table must show.
        metrics: The metrics that the summary shows, with settings where they take some; the first is the headline.
        sections: Names of the sections of the report that show it, beside those that are for every run.
        keys: Keys of a plan that it understands beside those of every run.
        optional: Those of them that a plan may leave out although others must have them: "model".
        train: Whether a plan with a fit gives it the training split of the data beside what is measured.
        threat: The kind in the registry of what its threats are read as, "space" or "tampering"; empty where it has none.
        columns: Further columns of its rows and their Arrow types, such as {"score": "float64"}.
    """

    name: str
    unit: str
    cases: Cases
    baseline: str
    controls: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    train: bool = True
    threat: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Return plain JSON for the header: all that a record and a report need to know of it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "baseline": self.baseline,
            "controls": list(self.controls),
            "metrics": list(self.metrics),
            "sections": list(self.sections),
            "columns": dict(self.columns),
        }


def aim(name: str, **facts: Any) -> Callable[[Cases], Aim]:
    """Register a function `(request) -> cases` as an aim; for the facts see `Aim`."""

    def enter(cases: Cases) -> Aim:
        check_signature("aim", cases, ("request",), settings=False)
        made = Aim(name, cases=cases, **facts)
        object.__setattr__(made, "__doc__", cases.__doc__)
        object.__setattr__(made, "__module__", cases.__module__)
        return register("aim", name)(made)

    return enter
