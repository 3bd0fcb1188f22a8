"""Describes the inputs of a model: bounds, type, deployed form and display."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

Batch = Any
"""A batch of inputs, sample first: a `Tensor` where inputs are numbers, a NumPy object array of
strings where they are text. Both support `len`, and indexing and assignment by row."""


class Domain(ABC):
    """Describe one kind of input. A domain is frozen, and equal domains describe equal inputs."""

    kind: ClassVar[str]
    """Name in the registry; `describe()["kind"]` leads back here."""

    @abstractmethod
    def check(self, x: Any) -> Batch:
        """Return `x` as a batch of this domain, copied to a tensor or an object array if need be.

        Raises:
            InputError: For a wrong shape, type or range, or for values that are not finite.
        """

    @abstractmethod
    def deploy(self, x: Batch, origin: Batch) -> Batch:
        """Return `x` in the form that the deployed model receives.

        Where that form is coarser than `x`, values are rounded toward the clean input `origin`, so that
        rounding does not leave the threat.
        """

    @abstractmethod
    def valid(self, x: Batch) -> np.ndarray:
        """Return bool [n]: whether each row lies in the domain in its deployed form."""

    @abstractmethod
    def native(self, x: Batch) -> Any:
        """Return `x` as another library's model takes it (NumPy array, data frame, list of strings)."""

    @abstractmethod
    def pack(self, x: Batch) -> np.ndarray:
        """Return `x` as an array that needs no pickle, for storage; `unpack` is its inverse."""

    @abstractmethod
    def unpack(self, array: np.ndarray) -> Batch:
        """Return the batch that `pack` stored as this array."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the domain as plain JSON, with "kind"; `restore` is its inverse."""

    @classmethod
    @abstractmethod
    def restore(cls, description: dict[str, Any]) -> "Domain":
        """Return the domain that `describe` wrote as this JSON."""

    @abstractmethod
    def show(self, before: Batch, after: Batch) -> str:
        """Return one sample before and after (batches of one) as an HTML fragment, fully escaped."""

    @abstractmethod
    def __str__(self) -> str:
        """The domain in words, for the threat card and `doctor`."""
