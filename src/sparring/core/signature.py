"""What a function that is registered must look like, checked when it is registered and not when it is first used."""

import dataclasses
import inspect
from collections.abc import Callable, Collection
from typing import Any


def check_signature(decorator: str, function: Callable[..., Any], nouns: tuple[str, ...], *, settings: bool = True, taken: Collection[str] = ()) -> None:
    """Refuse a function that does not take its nouns, or has a setting without a default.

    Args:
        decorator: What registers it, for the message.
        function: The function.
        nouns: What it is called with, by position; a function may name them otherwise.
        settings: Whether it may have settings, which are given by name.
        taken: Names that a setting cannot have, because they mean something else where it is given.

    Raises:
        TypeError: With the signature that it has and the one that it needs.

    Example:
        >>> check_signature("metric", lambda rows, share=0.5: share, ("rows",))
        >>> check_signature("metric", lambda: 0.5, ("rows",))
        Traceback (most recent call last):
        ...
        TypeError: @metric on <lambda>(): it is called with (rows, **settings): take rows first, then settings with defaults
    """
    if not callable(function):
        raise TypeError(f"@{decorator} stands on {function!r}: put it on a function")
    own = inspect.signature(function)
    parameters = list(own.parameters.values())
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    spread = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    name = getattr(function, "__name__", type(function).__name__)
    if len(positional) < len(nouns) and not spread:
        rest = ", then settings with defaults" if settings else ""
        wanted = ", ".join([*nouns, *(["**settings"] if settings else [])])
        raise TypeError(f"@{decorator} on {name}{own}: it is called with ({wanted}): take {', '.join(nouns)} first{rest}")
    for one in parameters:
        if one in positional[: len(nouns)] or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        if one.name in taken:
            raise TypeError(f"@{decorator} on {name}{own}: {one.name} means something else where settings are given: rename it")
        if one.default is one.empty:
            cure = f"give it one, such as {one.name}=10" if settings else "leave it out"
            raise TypeError(f"@{decorator} on {name}{own}: {one.name} has no default: {cure}")


def check_fields(decorator: str, kind: type, taken: Collection[str] = ()) -> None:
    """Refuse a class that is no dataclass, or that has a field without a default.

    Args:
        decorator: What registers it, for the message.
        kind: The class.
        taken: Names that a field cannot have, because they mean something else where settings are given.

    Raises:
        TypeError: With the field and the cure.
    """
    name = getattr(kind, "__name__", repr(kind))
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise TypeError(f"@{decorator} on {name}: it is no dataclass: put @dataclass(frozen=True) between them")
    for one in dataclasses.fields(kind):
        if one.name in taken:
            raise TypeError(f"@{decorator} on {name}: {one.name} means something else where settings are given: rename it")
        if one.init and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise TypeError(f"@{decorator} on {name}: {one.name} has no default: give it one, such as {one.name}: float = 1.0")
