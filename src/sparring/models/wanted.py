"""Converts arguments of public functions to a victim, a module or a threat."""

import os
from typing import Any, TypeAlias

from torch import nn

from sparring.core.domain import Domain
from sparring.core.errors import InputError
from sparring.core.task import Task
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.models.adapter import adapter_of, victim

VictimLike: TypeAlias = Victim | tuple[Any, Domain] | str
"""A victim, a pair of a model and the domain of its inputs, or a model of the zoo such as "zoo:digits-plain"."""


def victim_of(given: Any, domain: Domain | None = None, what: str = "the victim", task: Task | None = None) -> Victim:
    """Return an argument as a victim.

    A victim stays as it is; a pair (model, domain), a model of the zoo, and with a domain at hand any model become one.

    Args:
        given: A victim, a pair, a torch module, an estimator, a path, an address or a callable.
        domain: The domain of the inputs, where the data or another victim has told it.
        what: The name of the argument, for the error.
        task: What a model that is no victim yet answers, where the data has told it and it is no class.

    Raises:
        InputError: Where the domain is not known; the message says how to name it.
        LoadError: Where no adapter fits.
    """
    if isinstance(given, Victim):
        return given
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Domain):
        given, domain = given
    if isinstance(given, str) and given.startswith("zoo:"):
        from sparring.models.load import load_model

        return load_model(given)
    if domain is not None and given is not None:
        told = {} if task is None or task.kind == "classes" else {"task": task}
        return victim(os.fspath(given) if isinstance(given, os.PathLike) else given, domain, **told)
    raise InputError(
        f"{what} is a {type(given).__name__} without a description of its inputs: "
        "wrap the model with sp.victim(model, domain), or give the pair (model, domain), where the domain is sp.image(28, 28), sp.table(frame) or sp.text()"
    )


def listed_of(given: Any) -> list[Any]:
    """Return an argument as a list of victims.

    A pair (model, domain) is one of them.
    """
    pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Domain)
    return list(given) if isinstance(given, list | tuple) and not pair and adapter_of(given) is None else [given]


def module_of(given: Any) -> Any:
    """Return the torch module of a victim or a pair, and anything else unchanged."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Domain):
        given = given[0]
    held = getattr(given, "module", None) if isinstance(given, Victim) else given
    if isinstance(given, Victim) and not isinstance(held, nn.Module):
        raise InputError(f"{given.name} is a {type(given).__name__} without a torch module: give the module to train")
    return held


def threat_of(given: Any) -> Threat:
    """Return a threat unchanged; anything else is refused.

    Raises:
        InputError: Where it is none; the message says where a radius belongs.
    """
    if isinstance(given, Threat):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        raise InputError(f"the threat is {given!r}, a number: give a threat with this radius, such as sp.linf({given:g}), sp.l2(0.5) or another")
    raise InputError(f"the threat is {given!r}"[:200] + ": give sp.linf(0.1), sp.l2(0.5), sp.rules(...) or another")
