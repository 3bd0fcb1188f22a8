"""Corruption: errors of a model on noisy, blurred, foggy or compressed images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.aims.aim import Request, aim
from sparring.aims.case import Case, Cell, Progress, Settings, check_data, confirm, part_name
from sparring.aims.cells import attempt, blank
from sparring.core.code import code_of, code_of_subject
from sparring.core.domain import Batch
from sparring.core.errors import InputError, NeedsError, PlanError
from sparring.core.rng import Rng
from sparring.core.taxonomy import MANUAL
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.domains.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from sparring.domains.image import Image
from sparring.metrics.outcome import CLEAN
from sparring.records.record import key_of

CITES = "Hendrycks, Dietterich 2019, arXiv:1903.12261, github.com/hendrycks/robustness"


@dataclass(frozen=True)
class CorruptionCase(Case):
    """Represent one model, evaluated on clean images and under every corruption."""

    aim: ClassVar[str] = "corruption"

    name: str
    victim: Victim
    data: Data
    names: tuple[str, ...] = tuple(CORRUPTIONS)
    severities: tuple[int, ...] = SEVERITIES

    @property
    def units(self) -> list[str]:
        return self.data.ids

    @property
    def subject(self) -> str:
        return self.victim.name

    def check(self) -> None:
        if not isinstance(self.data.domain, Image):
            raise NeedsError(f"{self.name}: common corruptions apply to images only, but the inputs are {self.data.domain}")
        if not self.names or not self.severities:
            raise InputError("corruption_error got an empty list: give at least one corruption and one severity")
        check_data(self.name, self.victim, self.data)
        for name in self.names:
            for severity in self.severities:
                corrupt(self.data.x[:0], name, severity, Rng.of(0, []), self.data.domain)

    def cells(self, settings: Settings) -> list[Cell]:
        model = {name: value for name, value in self.victim.describe().items() if name != "name"}
        base = {"aim": self.aim, "model": model, "domain": self.victim.domain.describe(), "data": self.data.sha256, "seed": settings.seed}
        base["subject code"] = code_of_subject(self.data, self.victim)
        code = code_of(corrupt, CorruptionCase)
        found = [Cell(CLEAN, key_of({**base, "cell": CLEAN, "code": code_of(CorruptionCase)}), {"name": CLEAN, "settings": {}, "cites": ""})]
        for name in self.names:
            for severity in self.severities:
                about = {"name": name, "settings": {"severity": severity}, "cites": CITES, "control": False, **MANUAL._asdict()}
                found.append(Cell(written(name, severity), key_of({**base, "cell": [name, severity], "code": code}), about))
        return found

    def ask_again(self, progress: Progress) -> None:
        def again(ids: list[str]) -> dict[str, Sequence[Any]]:
            data = self.data.rows([self.data.ids.index(one) for one in ids])
            return {"given": self.victim.task.pack(self._answers(data.x))}

        confirm(self.name, self.victim, progress, CLEAN, again)

    def describe(self) -> dict[str, Any]:
        say = f"{len(self.names)} common corruptions at severities {', '.join(map(str, self.severities))}; no search for the worst one"
        threat = {"kind": "corruption", "say": say, "say_short": "common corruptions"}
        return {"model": self.victim.describe(), "data": self.data.describe(), "threat": threat}

    def carry_out(self, places: Tensor, progress: Progress) -> None:
        data, name = self.data.rows(places), part_name(places)
        wanted = self.victim.task.pack(data.y)
        wrong_at = {written(one, severity): (one, severity) for one in self.names for severity in self.severities}
        for said in progress.cells:
            if progress.lacks(said, data.ids):
                began = time.monotonic()
                images = self._images(data, wrong_at.get(said), Rng.of(progress.settings.seed, data.ids, data.y.device))
                answers = attempt(lambda images=images: self._answers(images))
                rows = blank(data.ids, places.tolist(), "error" if answers.trouble else "held", answers.trouble)
                rows.update(wanted=wanted, queries=[1] * len(data), seconds=[(time.monotonic() - began) / len(data)] * len(data))
                if not answers.trouble:
                    met = self.victim.task.wrong(data.y).met(answers.result) | ~self.victim.task.answered(answers.result)
                    rows["status"] = ["broken" if one else "held" for one in met.tolist()]
                    rows.update(given=self.victim.task.pack(answers.result), quality=self.victim.task.quality(answers.result, data.y).tolist())
                progress.keep(said, name, rows)
            statuses = [progress.of(said)[one][0] for one in data.ids]
            progress.done(said, len(data), statuses.count("broken"))

    def _images(self, data: Data, how: tuple[str, int] | None, rng: Rng) -> Any:
        return data.x if how is None else corrupt(data.x, *how, rng, data.domain)

    def _answers(self, images: Batch) -> Tensor:
        with self.victim.session():
            return self.victim.answer(images).to("cpu" if not isinstance(images, torch.Tensor) else images.device)


def written(name: str, severity: int) -> str:
    """Return the name of the cell of a corruption at a severity."""
    return f"{name}(severity={severity})"


@aim(
    "corruption",
    unit="sample",
    baseline=CLEAN,
    metrics=("mean_error", "clean_error"),
    sections=("corruptions",),
    keys=frozenset({"model"}),
)
def corruption(request: Request) -> list[Case]:
    """Show how often a model errs under common corruptions, which no adversary chose."""
    if not request.victims:
        raise PlanError("corruption needs a model: add model=...")
    return [CorruptionCase(f"{victim.name} · corruptions", victim, request.data) for victim in request.victims]
