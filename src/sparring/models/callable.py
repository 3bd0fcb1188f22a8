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
from sparring.models.normalisation import Layout, Normalisation, Numbers
from sparring.models.outputs import scores_in
from sparring.models.state import State
from sparring.tasks.classes import Classes


@adapter("callable", callable, order=90)
class CallableVictim(Victim):
    """Wrap a function from a batch in its native form to scores or classes.

    The batch is a NumPy array, a data frame or a list of strings; what is missing is NaN. Scores are [n, classes], or classes [n] where `labels_only`.

    classes: number of classes, if the function has no attribute of that name. task: what it answers, where that is no class. output: the key, field or
    place of the scores, where the function returns several outputs. mean, std, scale, layout: the function gets (x * scale - mean) / std, with channels
    last if so asked; see `Normalisation`.
    fingerprint: what identifies the model behind the function; by default its code and all that it holds: closures, attributes, globals, the object of a
    method. Give one where the function asks something outside the process.
    """

    takes_gaps = True

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
        output: str | int | None = None,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        scale: Numbers | None = None,
        layout: Layout | None = None,
    ):
        self.model = model
        self.domain = domain
        self.name = name or getattr(model, "__name__", type(model).__name__)
        self.exposes = frozenset({"labels"} if labels_only else {"labels", "scores"})
        found = classes if classes is not None else getattr(model, "classes", None)
        if found is None and task is None:
            raise LoadError(f"{self.name} is a function: say how many classes it has, victim(f, domain, classes=...), or give another task, task=...")
        self.task = task or Classes(int(found or 0))
        self.output, self.normalisation = output, Normalisation.of(domain, mean=mean, std=std, scale=scale, layout=layout)
        self._fingerprint = fingerprint or getattr(model, "fingerprint", None)

    def scores(self, x: Batch) -> Tensor:
        answer = self.task.scores(self._answer(x), self.name)
        if answer.shape != (expected := (len(x), *self.task.score_shape)):
            raise LoadError(f"{self.name} returned shape {tuple(answer.shape)} for {len(x)} inputs: return {expected}")
        return answer.detach()

    def answer(self, x: Batch) -> Tensor:
        if "scores" in self.exposes:
            return super().answer(x)
        given = np.asarray(self._answer(x))
        if given.dtype.kind not in "iufb":
            raise LoadError(f"{self.name} returned {given.dtype} such as {given.ravel()[:1].tolist()}: return the numbers of the classes, from 0 on")
        answers = self.task.answers_of(torch.as_tensor(given), self.name)
        if len(answers) != len(x):
            raise LoadError(f"{self.name} returned {len(answers)} answers for {len(x)} inputs: return one per input")
        return answers

    def _answer(self, x: Batch) -> Any:
        given = self.domain.native(x)
        if self.normalisation is not None:
            given = np.ascontiguousarray(self.normalisation(torch.from_numpy(np.array(given))).numpy())
        return scores_in(self.model(given), self.output, self.name)

    @property
    def fingerprint(self) -> str:
        chosen = [repr(one) for one in (self.output, self.normalisation) if one is not None]
        return digest(*([self._fingerprint] if self._fingerprint else State(self.model).parts), *chosen)

    @property
    def complete(self) -> bool:
        return bool(self._fingerprint) or not State(self.model).missing
