"""Checks the arguments of public functions against their annotations, so that a slip is answered with a sentence."""

import inspect
import numbers
import os
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from sparring.core.errors import PlanError

if TYPE_CHECKING:
    from torch import Tensor

KINDS: dict[Any, str] = {bool: "True or False", int: "a whole number of at least 0", float: "a number", str: "a string"}
"""What to give, where a Python type says less than a word."""

READ_BY_THE_FUNCTION = frozenset({"Victim", "Threat", "Data", "Domain", "Task"})
"""Types for which much else may stand, a pair or a path say; the functions that read them know the better sentence."""

UNREAD = object()
"""The annotations have not been read yet: reading them would import what `import sparring` leaves out."""


class Signature:
    """Hold the signature of a function, with its annotations once they are asked for."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.plain = inspect.signature(function)
        self.hints: Any = UNREAD

    @property
    def name(self) -> str:
        """Return the name by which people call the function."""
        return self.function.__qualname__.removesuffix(".__init__")

    def hint(self, name: str) -> Any:
        """Return the annotation of a parameter, `Any` where it has none that can be read."""
        if self.hints is UNREAD:
            try:
                self.hints = get_type_hints(self.function)
            except (NameError, TypeError):  # a name that only a type checker sees
                self.hints = {}
        return self.hints.get(name, Any)

    def read(self, nouns: tuple[Any, ...], settings: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call, NumPy scalars as Python numbers and radii as tensors.

        Raises:
            PlanError: Where one of them has a type that its annotation excludes; the message names value and cure.
        """
        try:
            bound = self.plain.bind(*nouns, **settings)
        except TypeError:
            return nouns, settings  # the call itself says best what is missing
        for name, value in bound.arguments.items():
            kind = self.plain.parameters[name].kind
            if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) or value is self.plain.parameters[name].default:
                continue
            hint = self.hint(name)
            if isinstance(value, np.generic) and hint is not Any:
                bound.arguments[name] = value = value.item()
            elif isinstance(value, list | tuple | np.ndarray) and {getattr(one, "__name__", "") for one in get_args(hint)} == {"float", "Tensor"}:
                bound.arguments[name] = value = _numbers(value, f"{self.name}({name}={shown(value)})")
            if not fits(value, hint):
                raise PlanError(f"{self.name}({name}={shown(value)}): give {said(hint)}")
        return bound.args, bound.kwargs


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value may stand where the annotation is; what is not understood fits.

    >>> fits(3, int), fits(True, int), fits(-1, int), fits("a", int | None), fits(None, int | None)
    (True, False, False, False, True)
    >>> fits(float("nan"), float), fits(["a"], Sequence[str]), fits("a", Sequence[str])
    (False, True, False)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return value is None
    if hint is Any:
        return True
    if getattr(hint, "__name__", "") in READ_BY_THE_FUNCTION:
        return True
    if origin in (Union, types.UnionType):
        if isinstance(value, float) and value != value and any(getattr(one, "__name__", "") == "Tensor" for one in inner):
            return True  # a radius: the space says more about NaN
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value) == float(value)
    if "Callable" in str(origin or hint):
        return callable(value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if origin in (Sequence, list, tuple):
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            return False
        known = (isinstance(value, Sequence | np.ndarray) and len(inner) == 1) or (origin is tuple and inner[-1:] == (...,))
        known = known and not any(getattr(one, "__name__", "") == "Attack" for one in get_args(inner[0]))  # it reads them itself
        return not known or all(fits(one, inner[0]) for one in value)
    if origin is os.PathLike or hint is os.PathLike:
        return isinstance(value, os.PathLike)
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        return isinstance(value, hint)
    return True


def _numbers(values: Any, where: str) -> "Tensor":
    """Return a list or an array of one number per sample as a tensor, float64."""
    import torch  # here, so that what only names arguments starts at once

    try:
        return torch.as_tensor(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise PlanError(f"{where}: give a number, or a list of one number per sample") from error


def said(hint: Any) -> str:
    """Return in words what an annotation asks for.

    >>> said(int | None)
    'a whole number of at least 0, or None'
    >>> said(Literal["ce", "margin"])
    '"ce" or "margin"'
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return "None"
    if origin in (Union, types.UnionType):
        parts = list(dict.fromkeys(said(one) for one in sorted(inner, key=lambda one: one is type(None))))
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, or {parts[-1]}"
    if origin is Literal:
        words = [f'"{one}"' if isinstance(one, str) else repr(one) for one in inner]
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    if origin in (Sequence, list, tuple):
        return f"a list, each of its items {said(inner[0])}" if inner and inner[0] is not Any else "a list"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    if origin is os.PathLike or hint is os.PathLike:
        return "a path"
    if "Callable" in str(origin or hint):
        return "a function"
    name = getattr(hint, "__name__", str(hint))
    return KINDS.get(hint, f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}")


def shown(value: Any) -> str:
    """Return a value as an error names it: a short value itself, else its type."""
    plain = value is None or isinstance(value, bool | int | float | str)
    text = repr(value) if plain or isinstance(value, list | tuple | dict) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
