"""What a rung promises where time is limited: the share of the open questions it may settle, and what that takes.

The chances are rules of thumb: of what a bound has lost between the middle of the set and the bound, a rung wins a share back. They decide who is asked
first and nothing else; what is proved does not rest on them.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sparring.certification.docket import Docket
from sparring.certification.rung import Outlook, Rung
from sparring.certification.work import open_signs, work

AFTER: dict[str, tuple[str, ...]] = {
    "crown": ("ibp",),
    "zonotope": ("ibp",),
    "input_split": ("ibp",),
    "alpha": ("ibp", "crown"),
    "relu_split": ("ibp", "crown", "alpha"),
    "milp": ("ibp", "crown", "alpha"),
}
"""Rungs that rest on what others have found, and wait for these where they are going to be climbed."""

ANYTIME = frozenset({"input_split", "relu_split", "milp"})
"""Rungs that go on until they are told that time is up."""

KEPT = {"zonotope": 0.45, "crown": 0.3, "alpha": 0.85, "relu_split": 0.6, "milp": 0.4}
"""The share of what the best bound has lost that remains lost with a rung."""

FEW_SIGNS = 150.0
"""Open signs at which a complete search has lost much of its chance."""


@lru_cache(maxsize=1)
def machine_speed() -> float:
    """Multiply-adds a second in float64 to begin with: a quarter of what a product of matrices gives."""
    one = torch.ones(256, 256, dtype=torch.float64)
    began = time.perf_counter()
    torch.mm(one, one)
    return 256**3 / max(time.perf_counter() - began, 1e-4) / 4


class Speed:
    """Multiply-adds a second, of each rung as measured on the way."""

    def __init__(self) -> None:
        self.known: dict[str, float] = {}

    def of(self, name: str) -> float:
        """A rung that has not been climbed goes as fast as others did; slopes are sought in float32, twice as fast as CROWN."""
        like = 2 * self.known.get("crown", machine_speed()) if name in ("alpha", "relu_split") else machine_speed()
        return self.known.get(name, like)

    def learn(self, name: str, multiply_adds: float, seconds: float) -> None:
        """The last measurement stands: groups grow, and larger ones are what is asked next."""
        if multiply_adds > 0 and seconds > 0:
            self.known[name] = multiply_adds / seconds


def outlook(one: Rung, settings: Mapping[str, Any], docket: Docket, speed: Speed) -> Outlook:
    """What a rung promises for the questions that are open now."""
    if one.outlook is not None:
        return one.outlook(docket)
    expected = work(one.name, docket, {**one.defaults, **settings}) if one.name not in ANYTIME else None
    seconds = docket.seconds_left() if expected is None else float(expected.sum()) / speed.of(one.name)
    return Outlook(float(_chances(one.name, docket).mean()), seconds)


def _chances(name: str, docket: Docket) -> Tensor:
    """[n], in [0, 1]."""
    question = docket.question
    middle = question.margin(question.at(question.inputs.middle))
    lower = docket.margin
    known = torch.isfinite(lower)
    lost = torch.where(known, middle - lower, 1.0).clamp_min(1e-12)
    room = torch.where(known, middle / lost, 0.5).clamp(-1.0, 1.0)  # the share of what was lost that may be lost: below 0 where the middle is unsafe
    if name == "attack":
        return torch.sigmoid((0.15 - room) / 0.1)
    if name not in KEPT:
        return torch.where(room > 0, 0.5, 0.0)  # intervals, and what is not known here
    chance = torch.sigmoid((room - KEPT[name]) / 0.1) * (room > 0)
    if name in ("relu_split", "milp"):
        signs = sum(open_signs(docket).values(), torch.zeros_like(room))
        complete = torch.exp(-signs / FEW_SIGNS) * (room > 0)
        return torch.maximum(chance, complete) if name == "relu_split" else complete
    return chance
