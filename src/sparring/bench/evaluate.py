"""The loop of a run over cases and batches, the same for every aim; it can be resumed."""

import contextlib
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.aims.case import Case, Progress, Settings
from sparring.bench.header import begin, finish, folder_of, now
from sparring.bench.run import Run
from sparring.core.address import without_secrets
from sparring.core.errors import Contradiction, ModelWarning, PlanError, StorageError, ThreatWarning
from sparring.core.events import Listener
from sparring.core.registry import find
from sparring.core.victim import Victim
from sparring.records.record import Record, key_of
from sparring.records.store import Store


def carry_out(cases: Sequence[Case], out: str | os.PathLike[str], plan: dict[str, Any], settings: Settings, listen: Listener | None = None) -> Run:
    """Run all cases into a run folder under `out`, or continue the one that exists.

    A run is addressed by what it computes, so the same call continues it: finished batches are
    read, not computed. A method that fails becomes rows of status "error" and the run goes on.

    Raises:
        UsageError: before the first question to a model.
        RecordError: where the record is damaged, about another model, or written by another process at the same time.
    """
    tell = listen or (lambda event, details: None)
    for case in cases:
        case.check()
    cells = [{cell.say: cell for cell in case.cells(settings)} for case in cases]
    identity = key_of([[{said: cell.key for said, cell in own.items()} for own in cells], [case.name for case in cases]])
    store = Store(out).inner(folder_of(identity, cases[0].subject))
    if not store.exists("run.json"):
        for case in cases:
            case.ask_once()
    described = [_described(case, list(own.values())) for case, own in zip(cases, cells, strict=True)]
    with contextlib.ExitStack() as held:
        try:
            shard, count = settings.shard
            held.enter_context(store.locked(shared=count > 1))
            if count > 1:
                held.enter_context(store.only(f"shard {shard + 1} of {count}"))
            record = begin(store, identity, described, plan)
            progress = [Progress(case.name, record, own, settings, tell) for case, own in zip(cases, cells, strict=True)]
            for case, one in zip(cases, progress, strict=True):
                case.ask_again(one)
            _warn(cases, record)
            record.save_header()
        except StorageError as error:
            raise PlanError(f"the run cannot begin: {error}") from error
        try:
            _carry_out_all(cases, progress)
            finish(record)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            record.header.update(status=status, error=without_secrets(f"{type(error).__name__}: {error}"), ended=now())
            record.save_end()
            raise
    tell("ended", {"status": record.header["status"]})
    return Run(record)


def _warn(cases: Sequence[Case], record: Record) -> None:
    """Warn of models and threats that probably do not mean what was meant, each once per run."""
    models = [one.caution for case in cases for one in vars(case).values() if isinstance(one, Victim)]
    threats = [note for case in cases for note in case.notes()]
    for category, notes in ((ModelWarning, models), (ThreatWarning, threats)):
        for note in filter(None, dict.fromkeys(notes)):
            if note not in record.header["warnings"]:
                record.header["warnings"].append(note)
            warnings.warn(note, category, stacklevel=5)


def _carry_out_all(cases: Sequence[Case], progress: Sequence[Progress]) -> None:
    """Carry out all cases in their order."""
    record, tell = progress[0].record, progress[0].tell
    total = sum(len(places) * len(one.cells) for case, one in zip(cases, progress, strict=True) for places in _batches(case, one.settings))
    tell("started", {"record": record.store.url, "total": total, "cases": len(cases)})
    for case, about, one in zip(cases, record.header["cases"], progress, strict=True):
        tell("case", {"case": case.name, "unit": about["aim"]["unit"]})
        _carry_out_case(case, about, one)


def _carry_out_case(case: Case, about: dict[str, Any], progress: Progress) -> None:
    """Examine the subject of a case once, then carry out its batches; a contradiction ends the case, not the run."""
    record = progress.record
    if not about["checks"]:
        found = case.examine(progress.settings)
        if warning := found.pop("warning", None):
            record.header["warnings"].append(f"{case.name}: {warning}")
        about.update(found)
        record.save_header()
    try:
        for places in _batches(case, progress.settings):
            case.carry_out(places, progress)
    except Contradiction as error:
        record.header["warnings"].append(f"{case.name} stopped: {error}")


def _batches(case: Case, settings: Settings) -> Sequence[Tensor]:
    """Return the batches of this shard as positions of units, int64."""
    return torch.arange(len(case.units)).split(settings.batch)[settings.shard[0] :: settings.shard[1]]


def _described(case: Case, cells: list[Any]) -> dict[str, Any]:
    """Return a case as it is written in the header."""
    listed = [{"key": cell.key, "attack": {**cell.about, "say": cell.say}} for cell in cells]
    return {"name": case.name, "aim": find("aim", case.aim).describe(), "n": len(case.units), **case.describe(), "checks": [], "cells": listed}
