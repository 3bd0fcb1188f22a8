"""What is odd about a threat on some data: it can be carried out, but probably does not mean what was meant."""

import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.domains.table import Table
from sparring.threats.balls import Ball, box

UNLIKE = 100
"""Ranges of two columns of a table are unlike where one is so many times the other."""


def notes_on(threat: Threat, x: Batch, domain: Domain) -> list[str]:
    """Return a sentence for each oddity, with its likely cure.

    Args:
        threat: The threat.
        x: The samples, a batch of the domain.
        domain: What the inputs are.
    """
    found = []
    if is_boundless(threat, x, domain):
        found.append(f"{threat.space.label} allows any input{_bounds(domain)}: {_smaller(threat, domain)}")
    if isinstance(threat.space, Ball) and isinstance(domain, Table) and (pair := unlike_columns(x, domain)):
        (small, narrow), (large, wide) = pair
        found.append(
            f"{threat.space.kind} changes all columns by the same amount, but {small!r} has a range of {narrow:g} and {large!r} one of {wide:g}: "
            "give a rule file, threat='rules FILE', or a model of scaled columns"
        )
    return found


def is_boundless(threat: Threat, x: Batch, domain: Domain) -> bool:
    """Return whether the threat allows any input.

    It does where the radius of the first sample reaches from one corner of the domain to the opposite one.
    A search for the smallest change may have such a radius, because it measures distances.
    """
    if threat.minimal or not threat.space.by_size:
        return False
    first = x[:1]
    low, high = (edge.expand_as(first).contiguous() for edge in box(domain, first))
    space = threat.space.take(torch.tensor([0]))
    return bool((high - low).isfinite().all()) and bool(space.around(low, domain).inside(high).all())


def unlike_columns(x: Tensor, domain: Table) -> tuple[tuple[str, float], tuple[str, float]] | None:
    """Return name and range of the columns with the smallest and the largest range.

    Return None where they are alike. Constant columns and categories do not count.
    """
    ranges = (x.amax(0) - x.amin(0)).tolist() if len(x) else []
    known = [(column.name, span) for column, span in zip(domain.columns, ranges, strict=False) if column.kind != "category" and 0 < span < float("inf")]
    small, large = min(known, key=lambda one: one[1], default=("", 1.0)), max(known, key=lambda one: one[1], default=("", 1.0))
    return (small, large) if large[1] > UNLIKE * small[1] else None


def _bounds(domain: Domain) -> str:
    return f", because inputs lie in [{domain.low:g}, {domain.high:g}]" if isinstance(domain, Image) else ", because it reaches from one bound to the other"


def _smaller(threat: Threat, domain: Domain) -> str:
    radius = threat.space.radius
    grey = isinstance(domain, Image) and isinstance(radius, int | float) and domain.high - domain.low <= 2 <= radius <= 255
    return f"write {threat.space.kind} {radius:g}/255 if {radius:g} of 255 grey levels are meant, or give a smaller radius" if grey else "give a smaller radius"
