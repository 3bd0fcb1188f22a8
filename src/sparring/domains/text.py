"""Text: strings, in object arrays [n]."""

import difflib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sparring.core.domain import Domain
from sparring.core.errors import InputError
from sparring.core.registry import register


@register("domain", "text")
@dataclass(frozen=True)
class Text(Domain):
    """Strings of words divided by white space."""

    kind: ClassVar[str] = "text"

    def check(self, x: Any) -> np.ndarray:
        if isinstance(x, str):
            raise InputError("x is one string: give a list of strings")
        listed = list(x) if isinstance(x, Sequence | np.ndarray) or hasattr(x, "__iter__") else [x]
        for place, one in enumerate(listed):
            if not isinstance(one, str):
                raise InputError(f"sample {place} is {one!r} ({type(one).__name__}), not a string")
            if not one.strip():
                raise InputError(f"sample {place} is an empty string: drop it")
        batch = np.empty(len(listed), dtype=object)
        batch[:] = [str(one) for one in listed]
        return batch

    def deploy(self, x: np.ndarray, origin: np.ndarray) -> np.ndarray:
        return x

    def valid(self, x: np.ndarray) -> np.ndarray:
        return np.array([isinstance(one, str) and bool(one.strip()) for one in x], dtype=bool)

    def native(self, x: np.ndarray) -> list[str]:
        return list(x)

    def pack(self, x: np.ndarray) -> np.ndarray:
        return np.array(list(x), dtype=np.str_)

    def unpack(self, array: np.ndarray) -> np.ndarray:
        batch = np.empty(len(array), dtype=object)
        batch[:] = array.tolist()
        return batch

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Text":
        return cls()

    def say(self) -> str:
        return "text, strings of words"

    def show(self, before: np.ndarray, after: np.ndarray) -> str:
        old, new = before[0].split(), after[0].split()
        pieces = []
        for what, start, stop, begin, end in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
            gone, come = html.escape(" ".join(old[start:stop])), html.escape(" ".join(new[begin:end]))
            if what == "equal":
                pieces.append(come)
            else:
                pieces += [f"<del>{gone}</del>"] * bool(gone) + [f"<ins>{come}</ins>"] * bool(come)
        return f'<div class="shown"><p class="sentence">{" ".join(pieces)}</p></div>'


def text() -> Text:
    """The domain of strings."""
    return Text()
