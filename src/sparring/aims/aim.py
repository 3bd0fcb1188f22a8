"""`@aim`: one file adds a kind of harm, with its unit, its controls and its cases."""

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
    """Hold the arguments of a plan or a call to an aim, with everything loaded.

    Arguments that were not given are empty.

    Attributes:
        victims: The models.
        data: The data to measure on.
        train: The training data, if the aim trains models itself.
        threats: What the adversary may do, as the aim reads it.
        attacks: The name of a set, or attacks as they are written in a plan.
        certify: Certifiers, written likewise.
        fits: Training procedures.
        trials: How often a random experiment is repeated.
        seed: Seed of all random draws.
        sources: Networks on which points are found, each alone or several together; None for the models themselves.
        members: Ids of the samples that the models were trained on; None if unknown.
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
        unit: The unit of one row of the record: "sample", "trial" or "record".
        cases: Turns a request into cases; raises UsageError if the request does not fit.
        baseline: The cell with which the others are compared.
        controls: Further cells that every table must show.
        metrics: The metrics in the summary, with their settings; the first is the headline.
        sections: Names of further sections of the report, beside those of every run.
        keys: Further keys of a plan, beside those of every run.
        optional: Keys that a plan of this aim may leave out although other aims require them, such as "model".
        train: Whether a plan with a fit also loads the training split of the data.
        threat: The registry kind of its threats, "space" or "tampering"; empty if it has none.
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
        """Return plain JSON for the header of the record, as the report reads it."""
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
