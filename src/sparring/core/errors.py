"""Everything Sparring raises on purpose.

SparringError
├── UsageError            the caller can mend it; exit code 2
│   ├── InputError        data or points that do not fit: shape, type, range, labels
│   ├── LoadError         a file that is missing, truncated, of another kind or unsafe to open
│   ├── UnknownName       no such attack, threat, model, key ...; names the nearest
│   ├── PlanError         a plan or a setting that cannot be carried out
│   └── NeedsError        an attack needs what this victim or threat does not offer
├── AccessError           an attack asked for more than the threat grants it
├── EndpointError         a model behind an address that gives no answer, or none that can be used; exit code 3
├── Contradiction         an attack broke what a certificate had proved: a fault of ours; exit code 3
└── RecordError           a run folder that contradicts itself; exit code 3
"""

import difflib
from collections.abc import Iterable


class SparringError(Exception):
    """Base of all errors raised on purpose. `exit_code` is what the command line returns."""

    exit_code = 3


class UsageError(SparringError, ValueError):
    """Wrong use: the message states what was wrong, the values seen and the cure."""

    exit_code = 2


class InputError(UsageError):
    """Data or points that do not fit the domain."""


class LoadError(UsageError):
    """A file that cannot be read, or must not be."""


class UnknownName(UsageError):
    """A name nobody registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        self.kind = kind
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}: {hint}")


class PlanError(UsageError):
    """A plan or a setting that cannot be carried out."""


class NeedsError(UsageError):
    """An attack needs what the victim or the threat does not offer."""


class AccessError(SparringError):
    """An attack asked the victim for more than the threat grants."""


class EndpointError(SparringError):
    """An endpoint that gives no answer, or none that can be used. What was answered before is in the ledger."""


class Contradiction(SparringError):
    """An attack broke a sample that a certificate had proved: one of the two is wrong, and nothing of the case is to be believed."""


class RecordError(SparringError):
    """A run folder that contradicts itself."""
