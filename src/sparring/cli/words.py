"""Plan keys on the command line: key=value, --key value or --key=value."""

from collections.abc import Sequence
from typing import Any

from sparring.core.errors import LoadError, PlanError
from sparring.core.files import is_there


def read_words(words: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    """Return the plan file, if one is named, and the keys with their values.

    A word that is neither is an error.
    """
    plan: str | None = None
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            key, given, value = word[2:].partition("=")
            if not given:
                if not rest:
                    raise PlanError(f"{word} needs a value")
                value = rest.pop(0)
        elif is_setting(word):
            key, _, value = word.partition("=")
        elif plan is None and not values:
            plan = word
            continue
        else:
            raise PlanError(f"cannot read {word!r}: write key=value (quote values that contain spaces)")
        key = key.replace("-", "_")
        if key in values:
            raise PlanError(f"{key} is given twice, as {values[key]!r} and as {value!r}: write it once; lists have commas, such as {key}='one, other'")
        values[key] = _plain(value)
    return plan, values


def is_setting(word: str) -> bool:
    """Return whether a word of a command is key=value or an option; a file that exists is none."""
    return word.startswith("-") or ("=" in word and word.split("=", 1)[0].isidentifier() and not is_there(word))


def _plain(value: str) -> Any:
    """Numbers, true, false, none and [lists] as such; everything else stays a string."""
    from sparring.core.documents import parse_yaml

    try:
        read = parse_yaml(value, "the value")
    except LoadError:
        return value
    return read if read is None or isinstance(read, bool | int | float | list) else value
