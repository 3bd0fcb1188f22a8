"""Defines a victim: a model with the access that it exposes."""

import contextlib
import functools
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.arguments import shown
from sparring.core.domain import Batch, Domain
from sparring.core.errors import AccessError, NeedsError, PlanError
from sparring.core.evaluating import random_states_kept
from sparring.core.task import Task

Objective = Callable[[Tensor], Tensor]
"""Scores [n, ...] to values [n] that an attack wants to maximise."""


class Graded(NamedTuple):
    """Hold scores [n, ...], values [n], and the gradients of the values by the inputs."""

    scores: Tensor
    value: Tensor
    grad: Tensor


ASKED = ("scores", "answer", "decide", "search_scores", "gradient", "gradients")
"""The methods of a victim whose first argument is a batch."""


def _of_a_batch(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a victim that also takes arrays, lists and data frames, which the domain checks and converts."""

    differentiates = method.__name__.startswith("gradient")

    @functools.wraps(method)
    def asked(self: "Victim", x: Any, *more: Any, **named: Any) -> Any:
        if differentiates and more and not callable(more[0]):
            raise PlanError(f"{method.__name__} got {shown(more[0])}: give a function of the scores, such as lambda scores: scores[:, 0]")
        batch = isinstance(x, Tensor) or (isinstance(x, np.ndarray) and x.dtype == object)
        return method(self, x if batch else self.domain.check(x), *more, **named)

    return asked


class Victim(ABC):
    """Represent a model to attack; adapters in `models/` wrap models of other libraries.

    `scores` and `answer` query the model as it is deployed. `search_scores` and `gradient` may query a faster private copy of it; then
    `exact` is False and a search confirms a success with the deployed model.
    The user's model is never changed. Besides batches of the domain, all methods take what its `check` takes, such as arrays and lists.

    Attributes:
        name: How people call the model.
        domain: What its inputs are.
        task: The form of its scores and answers.
        exposes: Which of "gradients", "scores" and "labels" it answers; labels are the answers of the task without their scores.

    Example:
        >>> from sparring.models.load import load_model
        >>> sorted(load_model("zoo:digits-plain").exposes)
        ['gradients', 'labels', 'scores']
    """

    name: str
    domain: Domain
    task: Task
    exposes: frozenset[str]
    takes_gaps: ClassVar[bool] = False
    """Whether inputs may have missing values (NaN), about which the model is then asked as it is."""
    exact: bool = True
    price: int = 1
    """Passes of the model per query: more than one where answers are averaged."""
    slack: float = math.inf
    """Where not exact: how far a searched margin may be off, as a share of the largest score. Successes by more are not
    confirmed during the search; the judge asks about all of them anyway."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for name in ASKED:
            if name in vars(cls):
                setattr(cls, name, _of_a_batch(vars(cls)[name]))

    @property
    def classes(self) -> int:
        """Return the number of classes that the model tells apart.

        Raises:
            NeedsError: Where its answers are no classes.

        Example:
            >>> from sparring.models.load import load_model
            >>> load_model("zoo:digits-plain").classes
            10
        """
        if (count := getattr(self.task, "classes", None)) is None:
            raise NeedsError(f"{self.name} answers {self.task}, which have no number of classes: use a classifier")
        return count

    @abstractmethod
    def scores(self, x: Batch) -> Tensor:
        """Return the scores, float [n, *task.score_shape].

        Scores are logits, or probabilities where the model gives nothing else.

        Args:
            x: A batch of the domain.

        Returns:
            Float [n, *task.score_shape]; for classes [n, classes].

        Example:
            >>> from sparring.data.load import load
            >>> from sparring.models.load import load_model
            >>> victim, x = load_model("zoo:digits-plain"), load("digits", take=4).x
            >>> victim.scores(x).shape
            torch.Size([4, 10])
        """

    def answer(self, x: Batch) -> Tensor:
        """Return the answers of the deployed model, in the form of the task.

        Args:
            x: A batch of the domain.

        Returns:
            For classes int64 [n], -1 without an answer.

        Example:
            >>> from sparring.data.load import load
            >>> from sparring.models.load import load_model
            >>> victim, x = load_model("zoo:digits-plain"), load("digits", take=4).x
            >>> victim.answer(x).shape
            torch.Size([4])
        """
        return self.task.answer(self.scores(x))

    def label(self, x: Batch) -> Tensor:
        """Return the predicted classes, int64 [n]; `answer` for classifiers.

        Args:
            x: A batch of the domain.

        Returns:
            Int64 [n], -1 without an answer.

        Example:
            >>> from sparring.data.load import load
            >>> from sparring.models.load import load_model
            >>> victim, x = load_model("zoo:digits-plain"), load("digits", take=4).x
            >>> victim.label(x).dtype
            torch.int64
        """
        return self.answer(x)

    def decide(self, x: Batch, scores: Tensor) -> Tensor:
        """Return the deployed model's answers for inputs with these scores.

        Models whose answer does not follow from their scores alone override this method.

        Args:
            x: A batch of the domain.
            scores: Its scores, float [n, *task.score_shape].

        Returns:
            The answers, as `answer` gives them.

        Example:
            >>> from sparring.data.load import load
            >>> from sparring.models.load import load_model
            >>> victim, x = load_model("zoo:digits-plain"), load("digits", take=4).x
            >>> bool((victim.decide(x, victim.scores(x)) == victim.label(x)).all())
            True
        """
        return self.task.answer(scores)

    def search_scores(self, x: Batch) -> Tensor:
        """Return the same as `scores`, from the private copy if there is one.

        Args:
            x: A batch of the domain.

        Returns:
            Float [n, *task.score_shape].

        Example:
            >>> from sparring.data.load import load
            >>> from sparring.models.load import load_model
            >>> victim, x = load_model("zoo:digits-plain"), load("digits", take=4).x
            >>> victim.search_scores(x).shape
            torch.Size([4, 10])
        """
        return self.scores(x)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        """Return scores, values and the gradient of each value by its own sample's input.

        Args:
            x: A batch of the domain, floating point.
            objective: Computes one value per sample [n] from the scores.

        Returns:
            A `Graded`: scores [n, ...], value [n], and grad, shaped like x.

        Raises:
            AccessError: Where the model exposes no gradients.

        Example:
            >>> from sparring.data.load import load
            >>> from sparring.models.load import load_model
            >>> victim, x = load_model("zoo:digits-plain"), load("digits", take=4).x
            >>> victim.gradient(x, lambda scores: scores[:, 0]).grad.shape
            torch.Size([4, 1, 8, 8])
        """
        raise AccessError(f"{self.name} exposes {say_set(self.exposes)}, not gradients")

    def gradients(self, x: Tensor, several: Objective) -> Graded:
        """Return scores, and value [n, k] and gradient [n, k, ...] of k values per sample.

        Args:
            x: A batch of the domain, floating point.
            several: Computes the values [n, k] from the scores.

        Returns:
            A `Graded`: scores [n, ...], value [n, k], and grad [n, k, ...].

        Raises:
            AccessError: Where the model exposes no gradients.

        Example:
            >>> from sparring.data.load import load
            >>> from sparring.models.load import load_model
            >>> victim, x = load_model("zoo:digits-plain"), load("digits", take=4).x
            >>> victim.gradients(x, lambda scores: scores[:, :2]).grad.shape
            torch.Size([4, 2, 1, 8, 8])
        """
        first = self.gradient(x, lambda scores: several(scores)[:, 0])
        count = several(first.scores).shape[1]
        asked = [first, *(self.gradient(x, lambda scores, place=place: several(scores)[:, place]) for place in range(1, count))]
        return Graded(first.scores, torch.stack([each.value for each in asked], 1), torch.stack([each.grad for each in asked], 1))

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        """Open the victim for queries, which it answers only inside the context.

        The model is in its deployed mode, and on leaving everything of the
        user's (mode, parameters, gradients, hooks, random state) is restored. Randomised models
        draw from a state set by `seed`.

        Args:
            seed: Of the global generators while the session lasts, at least 0.

        Returns:
            A context manager.

        Example:
            >>> from sparring.data.load import load
            >>> from sparring.models.load import load_model
            >>> victim, x = load_model("zoo:digits-plain"), load("digits", take=4).x
            >>> with victim.session(seed=1):
            ...     labels = victim.label(x)
        """
        with random_states_kept():
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield

    def __repr__(self) -> str:
        name, task, domain = (getattr(self, one, None) for one in ("name", "task", "domain"))
        return f"<{type(self).__name__} {name}: {getattr(domain, 'kind', domain)} to {task}, exposes {say_set(getattr(self, 'exposes', set()))}>"

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of everything that decides the answers: weights, code, preprocessing.

        Example:
            >>> from sparring.models.load import load_model
            >>> len(load_model("zoo:digits-plain").fingerprint)
            64
        """

    @property
    def caution(self) -> str:
        """Return what is odd about the model and prevents nothing, with the likely cure.

        It is empty where nothing is odd.

        Returns:
            One sentence, or an empty string.

        Example:
            >>> import sparring as sp
            >>> sp.load_model("zoo:digits-plain").caution
            ''
        """
        return ""

    @property
    def complete(self) -> bool:
        """Return whether equal fingerprints prove equal models.

        False where a model holds something that cannot be read; it is asked again before a record of it is continued.

        Example:
            >>> from sparring.models.load import load_model
            >>> load_model("zoo:digits-plain").complete
            True
        """
        return True

    def describe(self) -> dict[str, Any]:
        """Return the victim as plain JSON for the record.

        Returns:
            Name, hash, adapter, what it exposes, and the task.

        Example:
            >>> from sparring.models.load import load_model
            >>> load_model("zoo:digits-plain").describe()["adapter"]
            'TorchVictim'
        """
        return {
            "name": self.name,
            "sha256": self.fingerprint,
            "adapter": type(self).__name__,
            "exposes": sorted(self.exposes),
            "task": self.task.describe(),
        }


def say_set(things: frozenset[str] | set[str]) -> str:
    """Return a set in words."""
    return ", ".join(sorted(things)) or "nothing"
