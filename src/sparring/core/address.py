"""Web addresses as they are stored and shown: without passwords, values of queries and keys in paths."""

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"
"""What stands in place of a secret."""

SECRET = re.compile(r"key|token|secret|passw|sig|auth|credential", re.IGNORECASE)
"""Names of parameters that probably hold a secret."""

VARIABLE = re.compile(r"\$[A-Z_][A-Z0-9_]*")
"""A value that is read from the environment when it is needed, and so may be stored and shown as it is."""

ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+?(?=['\")\]}>,;:.]*(?:\s|$))")
"""An address in a text, without the marks that end a sentence or a quotation."""

KEY_LENGTH = 16
"""Letters and digits in a row from which a part of a path is taken for a key."""


def public(address: str) -> str:
    """Return an address without what may be secret in it.

    >>> public("https://me:pw@host/v1/predict?code=abc&lang=$LANGUAGE#batch=8")
    'https://host/v1/predict?code=***&lang=$LANGUAGE#batch=8'
    >>> public("https://host/hooks/8f3ab91c77d04e6fa2")
    'https://host/hooks/***'
    """
    try:
        scheme, place, path, query, settings = urlsplit(address)
    except ValueError:
        return HIDDEN
    shown_path = "/".join(HIDDEN if is_key(part) else part for part in path.split("/"))
    return urlunsplit((scheme, place.rpartition("@")[2], shown_path, _masked(query, every=True), _masked(settings, every=False)))


def without_secrets(content: Any) -> Any:
    """Return a text, or plain JSON of texts, in which every address is as `public` returns it."""
    if isinstance(content, str):
        return ADDRESS.sub(lambda found: public(found[0]), content) if "://" in content else content
    if isinstance(content, dict):
        return {name: without_secrets(value) for name, value in content.items()}
    return [without_secrets(one) for one in content] if isinstance(content, list | tuple) else content


def is_key(part: str) -> bool:
    """Return whether a part of a path looks like a key: many letters and digits in a row, mixed."""
    return any(len(run) >= KEY_LENGTH and re.search(r"\d", run) and re.search(r"[A-Za-z]", run) for run in re.findall(r"[A-Za-z0-9]+", part))


def _masked(query: str, *, every: bool) -> str:
    """Return parameters with `***` for every value, or only for those whose names say that they are secret."""
    found = []
    for part in query.split("&") if query else ():
        name, given, value = part.partition("=")
        keep = VARIABLE.fullmatch(value) if every else given and (name == "token" or not SECRET.search(name))  # token names a variable
        found.append(part if keep or part == "" else f"{name}={HIDDEN}" if given else HIDDEN)
    return "&".join(found)
