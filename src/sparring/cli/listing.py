"""The content of `spar ls`, read from the registered things themselves."""

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Set
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sparring.core.registry import ROOMS, SAID, everything
from sparring.core.taxonomy import VERSIONS

PLURALS = {"space": "threats", "dataset": "data"}
"""Kinds whose plural is no form of their own name."""

PREDICATES = ("accepts", "misfit")
"""Functions of a thing that say where it fits, not what it does."""

SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"(])")

SECTION = re.compile(r"\nArgs:\n((?:    .*\n|\n(?=    ))+)")
"""The section Args of a docstring without indentation."""

ARGUMENT = re.compile(r"    (\w+): (.*)")
"""The first line of an argument."""

LITTLE = str | bool | int | float


def plural(kind: str) -> str:
    """Return the word for several things of a kind: `losses`, `remedies`, `attacks`."""
    if kind in PLURALS:
        return PLURALS[kind]
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind.endswith("s") else f"{kind}s"


KINDS = {plural(kind): kind for kind in ROOMS}
"""Maps words of the command line to kinds of the registry."""


def rows_of(word: str) -> list[dict[str, Any]]:
    """Return one row per thing of the kind, by code where there are codes.

    Kinds with the same name in messages are listed together: attacks are those of all aims. A row holds name, aim if it has one, does (a sentence),
    settings and plain facts such as needs and cites.
    """
    rows = [about(name, thing) for kind in alike(KINDS[word]) for name, thing in everything(kind).items()]
    return sorted(rows, key=lambda row: (len(row.get("code", "")), row.get("code", "")))


def alike(kind: str) -> list[str]:
    """Return the kinds that share the name of this one, beginning with it.

    If another one is the first of them, only this one is returned.
    """
    called = [one for one in ROOMS if SAID.get(one, one) == SAID.get(kind, kind)]
    return called if called[0] == kind else [kind]


def about(name: str, thing: Any) -> dict[str, Any]:
    """Return all that is known about one registered thing, as plain JSON."""
    facts = _facts(thing)
    code = {"code": facts.pop("code")} if "code" in facts else {}
    aim = facts.pop("aim", getattr(thing, "aim", None))
    harm = {"aim": aim} if isinstance(aim, str) else {}
    named = {"taxonomy": VERSIONS} if facts.get("nist") or facts.get("atlas") else {}
    text = documentation(thing)
    found: dict[str, Any] = {"name": name, **code, **harm, "does": summary(text), **facts, **named}
    if settings := _settings(thing):
        meanings = arguments(text)
        found["settings"] = {setting: {**one, **({"does": meanings[setting]} if setting in meanings else {})} for setting, one in settings.items()}
    return {**found, "text": text}


def summary(text: str) -> str:
    """Return the first sentence of a docstring, which may go over several lines."""
    first = " ".join(text.strip().split("\n\n", 1)[0].split())
    return SENTENCE.split(first, maxsplit=1)[0]


def arguments(text: str) -> dict[str, str]:
    """Return what the section Args of a docstring says of each argument.

    >>> arguments("Sum up.\\n\\nArgs:\\n    x: The first\\n        number.\\n    y: The second.\\n\\nReturns:\\n    z: No argument.")
    {'x': 'The first number.', 'y': 'The second.'}
    """
    found: dict[str, str] = {}
    name = ""
    section = SECTION.search(f"\n{text}\n\n")
    for line in section[1].splitlines() if section else ():
        if one := ARGUMENT.fullmatch(line):
            name, found[one[1]] = one[1], one[2]
        elif name:
            found[name] += f" {line.strip()}"
    return {name: one.strip() for name, one in found.items()}


def without_arguments(text: str) -> str:
    """Return a docstring without its section Args.

    >>> without_arguments("Sum up.\\n\\nArgs:\\n    x: The first.\\n\\nSource: None.")
    'Sum up.\\n\\nSource: None.'
    """
    return SECTION.sub("", f"\n{text}\n\n").strip()


def documentation(thing: Any) -> str:
    """Return the docstring of a thing, or of the function, class or module that it holds."""
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return inspect.getdoc(thing) or ""
    if (own := getattr(thing, "__doc__", None)) and own != type(thing).__doc__:
        return inspect.cleandoc(own)
    made = _maker(thing)
    if made is None:
        return ""
    texts = [inspect.getdoc(made), inspect.getdoc(sys.modules[made.__module__])]
    if "misfit" in _fields(thing):  # a method with a module of its own: its function tells of arguments
        texts = ["\n\n".join(filter(None, reversed(texts)))]
    return next(filter(None, texts), "")


def _fields(thing: Any) -> dict[str, Any]:
    """The values that a registered thing holds, by name."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return {one.name: getattr(thing, one.name) for one in dataclasses.fields(thing)}
    told: Callable[[], dict[str, Any]] = getattr(thing, "_asdict", dict)
    return told()


def _maker(thing: Any) -> Callable[..., Any] | None:
    """The function or class that does the work of a thing."""
    held = {name: value for name, value in _fields(thing).items() if name not in PREDICATES}
    return next((value for value in held.values() if inspect.isfunction(value) or inspect.isclass(value)), None)


def _facts(thing: Any) -> dict[str, Any]:
    """Its plain values: fields of an object, class variables of a class."""
    if inspect.isclass(thing):
        values = {name: getattr(thing, name, None) for name, hint in inspect.get_annotations(thing).items() if "ClassVar" in str(hint)}
    else:
        values = _fields(thing)
    read = {name: _plain(value) for name, value in values.items() if name not in ("name", "kind", "settings")}
    return {name: value for name, value in read.items() if value not in (None, "", [], {})}


def _plain(value: Any) -> Any:
    """A value as plain JSON; None for what is no plain value."""
    if isinstance(value, LITTLE):
        return value
    if isinstance(value, Set):
        return sorted(value) if all(isinstance(one, str) for one in value) else None
    if hasattr(value, "_asdict"):
        return {name: part for name, one in value._asdict().items() if (part := _plain(one)) is not None}
    if isinstance(value, tuple | list):
        parts = [_plain(one) for one in value]
        return None if None in parts else parts
    return None


def _settings(thing: Any) -> dict[str, dict[str, Any]]:
    """From the name of a setting to its default and its choices; no default where it must be given."""
    defaults: Mapping[str, Any] = getattr(thing, "defaults", {})
    source = _maker(thing)
    if inspect.isclass(thing):
        source = getattr(thing, "parse", thing)
        if dataclasses.is_dataclass(thing) or source is not thing:
            defaults = {name: one.default for name, one in inspect.signature(source).parameters.items()}
        if dataclasses.is_dataclass(source):  # a signature hides what a factory makes
            made = {one.name: one.default_factory() for one in dataclasses.fields(source) if one.default_factory is not dataclasses.MISSING}
            defaults = {name: made.get(name, value) for name, value in defaults.items()}
    hints = _hints(source)
    return {name: {**_default(value), **_choices(name, hints.get(name))} for name, value in defaults.items()}


def _hints(source: Any) -> dict[str, Any]:
    try:
        return get_type_hints(source) if source else {}
    except NameError:  # a name that only a type checker sees
        return {}


def _default(value: Any) -> dict[str, Any]:
    if value is inspect.Parameter.empty:
        return {}
    plain = _plain(value)
    return {"default": value if value is None else str(value) if plain is None else plain}


def _choices(name: str, hint: Any) -> dict[str, Any]:
    if name == "loss":
        return {"choices": list(everything("loss"))}
    return {"choices": [str(one) for one in get_args(hint)]} if get_origin(hint) is Literal else {}
