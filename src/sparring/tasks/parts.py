"""Answers of several parts, of which enough must be right: the pixels of a mask, the labels of a set."""

import torch
from torch import Tensor

from sparring.core.errors import InputError

VOID = -1
"""In a truth: this part does not count. In an answer, in all parts: there is none."""


def answered(answer: Tensor) -> Tensor:
    """Return whether every part has an answer, bool [n]."""
    return (answer >= 0).flatten(1).all(1)


def at_least(share: float, counted: Tensor) -> Tensor:
    """Return the fewest parts that are at least `share` of those that count, int64 [n].

    counted: bool [n, ...].
    """
    return (counted.flatten(1).sum(1).double() * share - 1e-9).ceil().to(torch.int64)


def deciding_loss(gaps: Tensor, counted: Tensor, spare: Tensor) -> Tensor:
    """Return minus the gap of the deciding part, [n].

    The deciding part has rank `spare` + 1 among the gaps in descending order. At most `spare` parts are right exactly if this part is wrong.

    The value depends on this part alone. The gradient is the mean over the parts whose gap lies between that of this part and 0. These parts still have
    to become wrong (or, if enough are wrong, would have to become right again).

    Args:
        gaps: Float [n, parts], positive where a part is right, -inf where it does not count.
        counted: Bool [n, parts], which parts count.
        spare: Int64 [n], how many parts may be right.
    """
    known = gaps.detach()
    deciding = known.sort(1, descending=True).values.gather(1, spare.clamp_max(known.shape[1] - 1)[:, None])
    value = -deciding.squeeze(1)
    if not gaps.requires_grad:
        return value
    between = (known >= deciding.clamp_max(0)) & (known <= deciding.clamp_min(0)) & counted & known.isfinite()
    slope = -gaps.where(between, 0.0).sum(1) / between.sum(1).clamp_min(1)
    return slope - slope.detach() + value


def enough_met(right: Tensor, answer: Tensor, spare: Tensor) -> Tensor:
    """Return bool [n]: whether there is an answer and at most `spare` of its parts are right.

    right: bool [n, ...], which counted parts of the answer are right.
    """
    return (right.flatten(1).sum(1) <= spare) & answered(answer)


def number_among(written: int | str, names: tuple[str, ...], count: int | None, one: str, many: str) -> int:
    """Return the number of the class or label with this name or number.

    Args:
        written: Its name or number.
        names: The names, in order; empty if there are numbers only.
        count: How many there are; None if that is not known.
        one: What it is called: "class".
        many: What several are called: "classes".

    Raises:
        InputError: Where there is none.
    """
    if isinstance(written, str) and written in names:
        return names.index(written)
    if isinstance(written, int) and str(written) in names and names.index(str(written)) != written:
        what = f"{written} is the name of one {one} and the number of another: the {many} are {', '.join(names)}"
        raise InputError(f"{what}; write its name in Python, as a string, or give the {many} names that are no numbers")
    number = written if isinstance(written, int) and not isinstance(written, bool) else -1
    if not 0 <= number < (count or number + 1):
        known = ", ".join(names) if names else f"0 to {count - 1}" if count else "numbered from 0"
        raise InputError(f"there is no {one} {written!r}: the {many} are {known}")
    return number
