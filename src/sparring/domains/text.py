"""Text: strings, in object arrays [n]."""

import difflib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import InputError
from sparring.core.registry import register


class Strings(np.ndarray):
    """Hold an object array of strings [n] whose rows torch tensors may index as well."""

    @classmethod
    def of(cls, listed: Sequence[str]) -> "Strings":
        """Return the strings of a list."""
        batch = np.empty(len(listed), dtype=object)
        batch[:] = listed
        return batch.view(cls)

    def __getitem__(self, rows: Any) -> Any:
        return super().__getitem__(_index(rows))

    def __setitem__(self, rows: Any, value: Any) -> None:
        super().__setitem__(_index(rows), value)


def _index(rows: Any) -> Any:
    """Tensors as arrays: NumPy would take a tensor with one entry for a single place."""
    return rows.cpu().numpy() if isinstance(rows, Tensor) else rows


@register("domain", "text")
@dataclass(frozen=True)
class Text(Domain):
    """Describe strings of words divided by white space."""

    kind: ClassVar[str] = "text"

    def check(self, x: Any) -> Strings:
        if isinstance(x, str):
            raise InputError("x is one string: give a list of strings")
        listed = list(x) if isinstance(x, Sequence | np.ndarray) or hasattr(x, "__iter__") else [x]
        for place, one in enumerate(listed):
            if not isinstance(one, str):
                raise InputError(f"sample {place} is {one!r} ({type(one).__name__}), not a string: give strings only")
            if not one.strip():
                raise InputError(f"sample {place} is an empty string: drop it")
        return Strings.of([str(one) for one in listed])

    def deploy(self, x: Strings, origin: Strings) -> Strings:
        return x

    def valid(self, x: Strings) -> np.ndarray:
        return np.array([isinstance(one, str) and bool(one.strip()) for one in x], dtype=bool)

    def native(self, x: Strings) -> list[str]:
        return list(x)

    def pack(self, x: Strings) -> np.ndarray:
        return np.array(list(x), dtype=np.str_)

    def unpack(self, array: np.ndarray) -> Strings:
        return Strings.of(array.tolist())

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Text":
        return cls()

    def __str__(self) -> str:
        return "text, strings of words"

    def show(self, before: Strings, after: Strings) -> str:
        old, new = before[0].split(), after[0].split()
        pieces = []
        for what, start, stop, begin, end in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
            gone, come = html.escape(" ".join(old[start:stop])), html.escape(" ".join(new[begin:end]))
            if what == "equal":
                pieces.append(come)
            else:
                pieces += [f"<del>{gone}</del>"] * bool(gone) + [f"<ins>{come}</ins>"] * bool(come)
        return f'<div class="shown"><p class="sentence">{" ".join(pieces)}</p></div>'


WORD = re.compile(r"\S+")


def spaces(sentence: str) -> list[str]:
    """Return what stands before, between and behind the words of a sentence."""
    return WORD.split(sentence)


def with_word(sentence: str, place: int, word: str | None) -> str:
    """Return a sentence with another word at a place, all else as it is.

    None leaves the word out with the white space after it.

    >>> with_word("good  movie", 0, "fine"), with_word("good  movie", 0, None)
    ('fine  movie', 'movie')
    """
    spans = [found.span() for found in WORD.finditer(sentence)]
    start, end = spans[place]
    if word is not None:
        return sentence[:start] + word + sentence[end:]
    return sentence[:start] + (sentence[spans[place + 1][0] :] if place + 1 < len(spans) else "")


def text() -> Text:
    """Return the domain of strings, whose words are divided by white space.

    Returns:
        The `Domain`, to be given to `victim` and `Data.of`; its batches are arrays of strings [n].

    Example:
        >>> str(text())
        'text, strings of words'
    """
    return Text()
