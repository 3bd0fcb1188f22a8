"""A model seen through what it exposes."""

import contextlib
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import AccessError

Objective = Callable[[Tensor], Tensor]
"""Scores [n, C] to values [n] that an attack wants to climb."""


class Graded(NamedTuple):
    """scores: [n, C]; value: [n]; grad: the gradient of the values with respect to the inputs."""

    scores: Tensor
    value: Tensor
    grad: Tensor


class Victim(ABC):
    """A model as Sparring sees it; adapters in `models/` make one from what people have.

    exposes: which of "gradients", "scores", "labels" it answers. `scores` and `label` ask the model
    as it is deployed. `search_scores` and `gradient` may ask a faster private copy of it; then
    `exact` is False and whoever searches confirms a success with the deployed model.
    The user's model is never changed.
    """

    name: str
    domain: Domain
    classes: int
    exposes: frozenset[str]
    exact: bool = True
    price: int = 1
    """Passes of the model that one question costs: more than one where answers are averaged."""
    slack: float = math.inf
    """Where not exact: how far a searched margin may be off, as a share of the largest score. Successes by more are not
    confirmed during the search; the judge asks about all of them anyway."""

    @abstractmethod
    def scores(self, x: Batch) -> Tensor:
        """Logits, or probabilities where the model gives nothing else: float [n, classes]."""

    def label(self, x: Batch) -> Tensor:
        """Predicted classes, int64 [n]; -1 where the scores are not finite."""
        return label_of(self.scores(x))

    def decide(self, x: Batch, scores: Tensor) -> Tensor:
        """What the deployed model answers for inputs with these scores: classes int64 [n], -1 where the scores are
        not finite. Models whose prediction is not their highest score say so here."""
        return label_of(scores)

    def search_scores(self, x: Batch) -> Tensor:
        """Like `scores`, from the private copy if there is one."""
        return self.scores(x)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        """Scores, values and the gradient of each sample's value with respect to its own input."""
        raise AccessError(f"{self.name} exposes {say_set(self.exposes)}, not gradients")

    def gradients(self, x: Tensor, classes: Tensor) -> Graded:
        """Scores, and value [n, k] and gradient [n, k, ...] of the score of each of these classes (int64 [n, k])."""

        def one(place: int) -> Graded:
            return self.gradient(x, lambda scores: scores.gather(1, classes[:, place, None]).squeeze(1))

        asked = [one(place) for place in range(classes.shape[1])]
        return Graded(asked[0].scores, torch.stack([each.value for each in asked], 1), torch.stack([each.grad for each in asked], 1))

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        """Ask only inside: the model is in its deployed mode, and on leaving everything of the
        user's (mode, parameters, gradients, hooks, random state) is as before. Randomised models
        draw from a state set by `seed`."""
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        python, numpy = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed % 2**32)
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of everything that decides the answers: weights, code, preprocessing."""

    def describe(self) -> dict[str, Any]:
        """Plain JSON for the record."""
        return {
            "name": self.name,
            "sha256": self.fingerprint,
            "adapter": type(self).__name__,
            "exposes": sorted(self.exposes),
            "classes": self.classes,
        }


def label_of(scores: Tensor) -> Tensor:
    """The highest class of each row of scores [n, C]; -1 where any score is NaN or +inf."""
    labels = scores.argmax(1)
    return labels.where((scores < torch.inf).all(1), -1)


def say_set(things: frozenset[str] | set[str]) -> str:
    """A set in words."""
    return ", ".join(sorted(things)) or "nothing"
