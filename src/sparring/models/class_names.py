"""Classes of models and of data: the same names in the same order, or a refusal."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparring.core.errors import InputError, LoadError
from sparring.core.victim import Victim
from sparring.tasks.classes import Classes

SHOWN = 10
"""Classes that a message names."""


def check_classes(victim: Victim, names: Sequence[str], who: str = "") -> None:
    """Refuse data whose class numbers may mean other classes than those of the model.

    Where a side has no names, the classes are known by their numbers: those of a network are its outputs, those of labels given in
    Python, or of a file that holds the numbers 0, 1, ..., are these numbers. Otherwise names and their order must be the same.

    Args:
        victim: The model; models of scikit-learn know the names of their classes.
        names: The names of the classes of the data, by number.
        who: What is checked, for the error.

    Raises:
        InputError: With both lists, and how to number the classes of the data as the model does.
    """
    if not isinstance(victim.task, Classes) or not names:
        return
    own, names = list(getattr(victim, "class_names", ())), list(names)
    if own == names or (_places(names) and (len(names) <= len(own) or not own) and (_places(own) or not _numbers(own))):
        return
    if len(names) != victim.classes or (own and not _places(own)):
        raise _differ(victim, own, names, who)


def names_in_config(model: Any) -> list[str]:
    """Return the names of the classes in the configuration of a Hugging Face model.

    None where there are none, or they are mere numbers.
    """
    named = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(named, Mapping) or set(map(str, named)) != set(map(str, range(len(named)))):
        return []
    names = [str(named[key]) for key in sorted(named, key=int)]
    return [] if names == [f"LABEL_{place}" for place in range(len(names))] else names


def task_in_config(model: Any, name: str) -> Classes:
    """Return the task that a configuration like those of Hugging Face states, if of classes.

    It is asked where no task is given.

    Args:
        model: A model, with or without a configuration.
        name: Of the model, for the error.

    Raises:
        LoadError: Where it predicts numbers, or several labels at once.
    """
    config = getattr(model, "config", None)
    kind, count = getattr(config, "problem_type", None), getattr(config, "num_labels", None)
    if kind == "regression" or (kind is None and count == 1 and hasattr(config, "problem_type")):
        raise LoadError(f"{name} predicts numbers: give task=sp.tasks.Values(), or task=sp.tasks.Classes(2) if its score is that of class 1")
    if kind == "multi_label_classification":
        raise LoadError(f"{name} predicts {count} labels at once: give task=sp.tasks.labels({count})")
    return Classes()


def _numbers(names: Sequence[str]) -> bool:
    """Whether the names are whole numbers."""
    return all(name.lstrip("-").isdecimal() for name in names)


def _places(names: Sequence[str]) -> bool:
    """Whether the names are 0, 1, ... in order, so that they say no more than the numbers of the classes."""
    return list(names) == [str(place) for place in range(len(names))]


def _differ(victim: Victim, own: Sequence[str], names: Sequence[str], who: str) -> InputError:
    model = f"the classes {_listed(own)}" if own else f"{victim.classes} classes without names"
    cure = f"classes={','.join(own)}" if own and len(own) <= SHOWN else f"classes= with the {victim.classes} names in the order of the model"
    return InputError(f"{who or victim.name}: the model has {model}, the data {_listed(names)}: say how to number them, load(..., {cure}) or {cure} in a plan")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
