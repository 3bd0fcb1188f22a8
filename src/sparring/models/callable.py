"""Makes a victim of any function that maps a batch to scores or labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import LoadError
from sparring.core.fingerprint import digest
from sparring.core.task import Task
from sparring.core.victim import Victim
from sparring.models.adapter import adapter
from sparring.models.state import State
from sparring.tasks.classes import Classes


@adapter("callable", callable, order=90)
class CallableVictim(Victim):
    """Wrap a function from a batch in its native form to scores or classes.

    The batch is a NumPy array, a data frame or a list of strings. Scores are [n, classes], or classes [n] where `labels_only`.

    classes: number of classes, if the function has no attribute of that name. task: what it answers, where that is no class.
    fingerprint: what identifies the model behind the function; by default its code and all that it holds: closures, attributes, globals, the object of a
    method. Give one where the function asks something outside the process.
    """

    def __init__(
        self,
        model: Callable[[Any], Any],
        domain: Domain,
        *,
        name: str | None = None,
        classes: int | None = None,
        task: Task | None = None,
        labels_only: bool = False,
        fingerprint: str | None = None,
    ):
        self.model = model
        self.domain = domain
        self.name = name or getattr(model, "__name__", type(model).__name__)
        self.exposes = frozenset({"labels"} if labels_only else {"labels", "scores"})
        found = classes if classes is not None else getattr(model, "classes", None)
        if found is None and task is None:
            raise LoadError(f"{self.name} is a function: say how many classes it has, victim(f, domain, classes=...), or give another task, task=...")
        self.task = task or Classes(int(found or 0))
        self._fingerprint = fingerprint or getattr(model, "fingerprint", None)

    def scores(self, x: Batch) -> Tensor:
        answer = self.task.scores(self._answer(x), self.name)
        if answer.shape != (expected := (len(x), *self.task.score_shape)):
            raise LoadError(f"{self.name} returned shape {tuple(answer.shape)} for {len(x)} inputs: return {expected}")
        return answer.detach()

    def answer(self, x: Batch) -> Tensor:
        if "scores" in self.exposes:
            return super().answer(x)
        answers = self.task.answers_of(torch.as_tensor(np.asarray(self._answer(x))), self.name)
        if len(answers) != len(x):
            raise LoadError(f"{self.name} returned {len(answers)} answers for {len(x)} inputs: return one per input")
        return answers

    def _answer(self, x: Batch) -> Any:
        return self.model(self.domain.native(x))

    @property
    def fingerprint(self) -> str:
        if self._fingerprint:
            return digest(self._fingerprint)
        return digest(*State(self.model).parts)

    @property
    def complete(self) -> bool:
        return bool(self._fingerprint) or not State(self.model).missing
