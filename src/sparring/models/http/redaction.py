"""Takes our secrets out of what a server sends, in the forms in which servers repeat them."""

import base64
import functools
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote_plus

from sparring.core.address import HIDDEN, without_secrets
from sparring.core.visible import visible

LONGEST = 200
"""Characters of a text from a server that are stored or shown."""

READ = 1 << 16
"""Characters of it that are looked at."""

SHORTEST = 4
"""Characters of a value from which it is taken for a secret."""

SCHEMES = frozenset({"bearer", "basic", "digest", "token", "apikey"})


def redacted(text: str, secrets: Iterable[str], longest: int = LONGEST) -> str:
    """Return a text from a server on one line, shortened and with `***` for each of our secrets.

    Args:
        text: The text.
        secrets: Values of headers, queries and cookies; their words and their usual encodings are replaced too.
        longest: Characters that are kept.
    """
    pattern = _pattern(tuple(sorted(set(secrets))))
    hidden = text[:READ]
    for _ in range(2):  # the second time without the white space that may have stood inside a secret
        hidden = " ".join((pattern.sub(HIDDEN, hidden) if pattern else hidden).split())
    hidden = visible(without_secrets(hidden))
    return hidden if len(hidden) <= longest else hidden[:longest] + "..."


@functools.lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for part in _parts(secret) for form in _forms(part)}
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)), re.IGNORECASE) if forms else None


def _parts(value: str) -> Iterator[str]:
    """The value of a header or parameter, and what stands in it: words, the pairs of a cookie, the password of basic access."""
    for part in {value, unquote_plus(value), *value.split(), *(pair.partition("=")[2].strip() for pair in value.split(";"))}:
        if len(part) < SHORTEST or part.lower() in SCHEMES:
            continue
        yield part
        if value.lower().startswith("basic "):
            try:
                name_and_password = base64.b64decode(part, validate=True).decode()
            except ValueError:
                continue
            yield from (one for one in (name_and_password, name_and_password.partition(":")[2]) if len(one) >= SHORTEST)


def _forms(part: str) -> Iterator[str]:
    """A secret as it is, percent-encoded, escaped for JSON or HTML, as hexadecimal digits, and within a longer text in base64."""
    raw = part.encode("utf-8", "surrogatepass")
    yield from (part, quote(part, safe=""), quote_plus(part), json.dumps(part)[1:-1], html.escape(part), raw.hex())
    for before in range(3):  # a byte more before it moves all letters of base64
        written = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        inside = written[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]  # letters that depend on the secret alone
        if len(inside) >= SHORTEST:
            yield inside
            yield inside.replace("+", "-").replace("/", "_")
