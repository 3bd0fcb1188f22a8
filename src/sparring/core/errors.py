"""Defines the errors that Sparring raises on purpose.

SparringError
├── UsageError            the caller can correct it; exit code 2
│   ├── InputError        data or points that do not fit: shape, type, range, labels
│   ├── LoadError         a file that is missing, truncated, of another kind or unsafe to open
│   ├── UnknownName       no such attack, threat, model, key ...; names the nearest
│   ├── PlanError         a plan or a setting that cannot be carried out
│   └── NeedsError        an attack needs what this victim or threat does not offer
├── AccessError           an attack asked for more than the threat grants it
├── EndpointError         an endpoint that gives no answer, or none that can be used; exit code 3
├── Contradiction         an attack broke a sample that a certificate had proved: a fault of ours; exit code 3
└── RecordError           a run folder that contradicts itself; exit code 3
    └── StorageError      a file that cannot be written: the disk is full, read-only or in the way; exit code 3, or 2 before the first result
"""

import difflib
from collections.abc import Iterable

FEW = 4
"""Up to this many known names are all listed; of so few, the nearest may be near by chance."""


def __dir__() -> list[str]:
    return sorted(name for name, one in globals().items() if isinstance(one, type) and issubclass(one, SparringError))


class SparringError(Exception):
    """Report a failure on purpose; every error of Sparring is one, and holds an `exit_code`."""

    exit_code = 3


class UsageError(SparringError, ValueError):
    """Report wrong use: the message states what was wrong, the values seen and the cure."""

    exit_code = 2


class InputError(UsageError):
    """Report data or points that do not fit the domain."""


class LoadError(UsageError):
    """Report a file that cannot be read, or must not be."""


class UnknownName(UsageError):
    """Report a name that nothing is registered under, and suggest the nearest one.

    hint: what to write instead; by default the nearest known names, and all of them where they are few.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str | None = None):
        self.kind = kind
        known = sorted(known)
        few = len(known) <= FEW
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.7 if few else 0.5)
        listed = [f"known: {', '.join(known) or 'none'}"] if few or not near else []
        hint = hint or " ".join([*([f"did you mean {' or '.join(near)}?"] if near else []), *listed])
        super().__init__(f"unknown {kind} {name!r}: {hint}")


class PlanError(UsageError):
    """Report a plan or a setting that cannot be carried out."""


class NeedsError(UsageError):
    """Report that an attack needs what the victim or the threat does not offer."""


class AccessError(SparringError):
    """Report that an attack asked the victim for more than the threat grants."""


class EndpointError(SparringError):
    """Report an endpoint that gives no answer, or none that can be used.

    The answers received before are in the ledger.
    """


class Contradiction(SparringError):
    """Report that an attack broke a sample that a certificate had proved.

    One of the two is wrong, so the results of the case are invalid.
    """


class RecordError(SparringError):
    """Report a run folder that contradicts itself."""


class StorageError(RecordError):
    """Report a file or folder that cannot be written, such as on a full or read-only disk."""

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path} cannot be written ({reason}): free space or choose another folder; the same command continues a run that was begun")


class ThreatWarning(UserWarning):
    """Report a threat that probably does not mean what was meant; the evaluation goes on."""


class ModelWarning(UserWarning):
    """Report a model that probably is not asked as it is deployed; the evaluation goes on."""


class PluginWarning(UserWarning):
    """Report a plugin that cannot be loaded, in whole or in part; everything else works."""
