"""The ladder: cheap methods first, each on what the ones before left open, until time or methods run out."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sparring.certify.bounds.interval import Bands
from sparring.certify.docket import Answer, Docket, Replay
from sparring.certify.question import Question
from sparring.certify.rung import Rung
from sparring.core.errors import UnknownName
from sparring.core.registry import everything, find

log = logging.getLogger(__name__)


def ladder(written: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None) -> list[tuple[Rung, dict[str, Any]]]:
    """Rungs with their settings, in the order of the ladder. written: names, or settings by name; None for all rungs with their defaults."""
    chosen = written if isinstance(written, Mapping) else {name: {} for name in (everything("rung") if written is None else written)}
    found: list[tuple[Rung, dict[str, Any]]] = []
    for name, settings in chosen.items():
        one: Rung = find("rung", name)
        for setting in settings:
            if setting not in one.defaults:
                raise UnknownName(f"setting of {name}", setting, one.defaults)
        found.append((one, dict(settings)))
    return sorted(found, key=lambda pair: pair[0].order)


def decide(
    question: Question, *, seconds: float | None = None, rungs: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None, replay: Replay | None = None,
    proofs: bool = False, bands: Bands | None = None, seed: int = 0,
) -> list[Answer]:  # fmt: skip
    """Answers to all questions, in their order.

    seconds: for all of them together. rungs: see `ladder`. replay: confirms witnesses on the model as it is deployed; without it float64
    decides. proofs: keep what a proof file is made of. bands: see `bounds.execution`. seed: of random starting points.
    """
    docket = Docket(question, replay, None if seconds is None else time.monotonic() + seconds, proofs, bands, seed)
    if reason := _unfit(question):
        docket.note(reason)
        return docket.close()
    with torch.no_grad():
        for one, settings in ladder(rungs):
            if not len(docket):
                break
            if docket.seconds_left() <= 0:
                docket.note("time: the limit was reached")
                break
            if reason := one.misfit(docket):
                log.debug("%s left out: %s", one.name, reason)
                continue
            docket.rung = one.name
            before, began = len(docket), time.monotonic()
            one.climb(docket, **settings)
            log.debug("%s settled %d of %d in %.3f s", one.name, before - len(docket), before, time.monotonic() - began)
    return docket.close()


def _unfit(question: Question) -> str:
    """Why nothing can be said about these questions, or an empty string."""
    inputs = question.inputs
    if not bool(torch.isfinite(inputs.low).all() & torch.isfinite(inputs.high).all()):
        return "input: the input set has no bounds on every number"
    if bool((inputs.low > inputs.high).any()):
        return "input: lower bounds above upper ones, so the input set is empty"
    if not question.network.finite:
        return "numerics: the network holds numbers that are not finite"
    return ""
