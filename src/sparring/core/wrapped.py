"""Wraps a victim: anything that a wrapper does not override comes from the inner victim."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sparring.core.domain import Batch
from sparring.core.fingerprint import digest
from sparring.core.victim import Graded, Objective, Victim


class Wrapped(Victim):
    """Represent a victim that answers through another one, `inner`.

    A subclass overrides what it changes and names its settings in `settings`, from which fingerprint and description are made.
    A wrapper that overrides `scores` is searched by its own scores and answers by them, and gives gradients only if it overrides `gradient` too:
    the inner victim's gradients would be those of other answers.
    """

    def __init__(self, inner: Victim):
        self.inner = inner
        self.name, self.domain, self.task, self.exposes = inner.name, inner.domain, inner.task, inner.exposes
        self.exact, self.price, self.slack = inner.exact, inner.price, inner.slack
        self.device: torch.device = getattr(inner, "device", torch.device("cpu"))

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of the wrapper that decide its answers, as plain JSON."""
        return {}

    @property
    def caution(self) -> str:
        return self.inner.caution

    @property
    def _own_scores(self) -> bool:
        return type(self).scores is not Wrapped.scores

    def scores(self, x: Batch) -> Tensor:
        return self.inner.scores(x)

    def answer(self, x: Batch) -> Tensor:
        return super().answer(x) if self._own_scores else self.inner.answer(x)

    def decide(self, x: Batch, scores: Tensor) -> Tensor:
        return super().decide(x, scores) if self._own_scores else self.inner.decide(x, scores)

    def search_scores(self, x: Batch) -> Tensor:
        return self.scores(x) if self._own_scores else self.inner.search_scores(x)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        return super().gradient(x, objective) if self._own_scores else self.inner.gradient(x, objective)

    def gradients(self, x: Tensor, several: Objective) -> Graded:
        own = self._own_scores or type(self).gradient is not Wrapped.gradient
        return super().gradients(x, several) if own else self.inner.gradients(x, several)

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        with self.inner.session(seed):
            yield

    @property
    def fingerprint(self) -> str:
        return digest(self.inner.fingerprint, type(self).__qualname__, json.dumps(self.settings, sort_keys=True, default=repr))

    @property
    def complete(self) -> bool:
        return self.inner.complete

    def describe(self) -> dict[str, Any]:
        return {**self.inner.describe(), **super().describe(), **self.settings, "inner": type(self.inner).__name__}
