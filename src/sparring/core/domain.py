"""What an input is: bounds, type, the form it is deployed in, and how to show it."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

Batch = Any
"""A batch of inputs, sample first: a `Tensor` where inputs are numbers, a NumPy object array of
strings where they are text. Both can be measured with `len`, indexed and assigned by row."""


class Domain(ABC):
    """One kind of input. Frozen; equal domains describe equal inputs."""

    kind: ClassVar[str]
    """Name in the registry; `describe()["kind"]` leads back here."""

    @abstractmethod
    def check(self, x: Any) -> Batch:
        """`x` as a batch of this domain (copied to tensor or object array if need be).

        Raises InputError for a wrong shape, type or range, or for values that are not finite."""

    @abstractmethod
    def deploy(self, x: Batch, origin: Batch) -> Batch:
        """`x` as the model will really receive it. Where that form is coarser than `x`, values are
        rounded toward the clean input `origin`, so that rounding does not leave the threat."""

    @abstractmethod
    def valid(self, x: Batch) -> np.ndarray:
        """bool [n]: does each row lie in the domain as deployed?"""

    @abstractmethod
    def native(self, x: Batch) -> Any:
        """`x` as a model from another library is fed (NumPy array, data frame, list of strings)."""

    @abstractmethod
    def pack(self, x: Batch) -> np.ndarray:
        """`x` as an array that needs no pickle, for storage; `unpack` is its inverse."""

    @abstractmethod
    def unpack(self, array: np.ndarray) -> Batch: ...

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Plain JSON, with "kind"; `restore` is its inverse."""

    @classmethod
    @abstractmethod
    def restore(cls, description: dict[str, Any]) -> "Domain": ...

    @abstractmethod
    def show(self, before: Batch, after: Batch) -> str:
        """One sample before and after (batches of one) as an HTML fragment, everything escaped."""

    @abstractmethod
    def say(self) -> str:
        """The domain in words, for the threat card and `doctor`."""
