"""Converts arguments of public functions to data."""

from typing import Any

from torch.utils.data import DataLoader, Dataset

from sparring.core.domain import Domain
from sparring.core.errors import InputError
from sparring.core.task import Task
from sparring.data.dataset import Data


def data_of(given: Any, domain: Domain, task: Task | None = None) -> Data:
    """Return data unchanged, and a pair (x, y) or a torch set as data of the domain.

    Raises:
        InputError: Where it is none of these, or does not fit domain or task.
    """
    if isinstance(given, Data):
        return given
    if isinstance(given, Dataset | DataLoader):
        return Data.of(given, domain=domain, task=task)
    if isinstance(given, tuple | list) and len(given) == 2:
        return Data.of(given[0], given[1], domain, task=task)
    raise InputError(f"the data is a {type(given).__name__}: give sp.load(...), sp.Data.of(x, y, domain), a pair (x, y), or a torch Dataset or DataLoader")
