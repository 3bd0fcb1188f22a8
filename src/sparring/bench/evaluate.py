"""One evaluation carried out: cases x cells x batches, from the attack over the judge to the record."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.bench.case import POINTS, Case, Settings
from sparring.bench.certificates import Part, certify_part, check_against
from sparring.bench.header import begin, finish, folder_of, now
from sparring.bench.run import Run
from sparring.core.bout import Bout, Cost, Left
from sparring.core.dice import Dice, number_of
from sparring.core.errors import Contradiction, LoadError, SparringError
from sparring.core.threat import Reference, Threat
from sparring.data.dataset import Data
from sparring.judge.doctor import examine
from sparring.judge.judge import Status, Verdicts, judge
from sparring.metrics.outcome import CLEAN, STANDS
from sparring.records.record import Points, Record, key_of
from sparring.records.store import Store

Listener = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event and its details; the command line draws them."""


def carry_out(cases: Sequence[Case], out: str | os.PathLike[str], plan: dict[str, Any], settings: Settings, listen: Listener | None = None) -> Run:
    """Evaluate all cases into a run folder under `out`, or go on with the one that is there.

    A run is addressed by what it computes, so the same call continues it: finished batches are
    read, not computed. Raises UsageError before the first question; an attack that fails becomes
    rows of status "error" and the run goes on.
    """
    tell = listen or (lambda event, details: None)
    for case in cases:
        case.check()
    keys = [case.cell_keys(settings.seed, settings.cascade) for case in cases]
    identity = key_of([keys, [case.name for case in cases]])
    described = [case.describe(cells) for case, cells in zip(cases, keys, strict=True)]
    store = Store(out).inner(folder_of(identity, cases[0].victim.name))
    for case in cases if not store.exists("run.json") else ():
        case.ask_once()
    record = begin(store, identity, described, plan)
    record.header["contradictions"] = []
    batches = [torch.arange(len(case.data)).split(settings.batch)[settings.shard[0] :: settings.shard[1]] for case in cases]
    total = sum(len(rows) * len(cells) for case, cells in zip(batches, keys, strict=True) for rows in case)
    tell("started", {"record": record.store.url, "total": total, "cases": len(cases)})
    try:
        for case, cells, about, chunks in zip(cases, keys, described, batches, strict=True):
            tell("case", {"case": case.name})
            if not about["checks"]:
                findings = examine(case.victim, case.data, case.threat)
                about["checks"] = [check.describe() for check in findings]
                if settings.doubt and settings.shard[0] == 0:
                    try:
                        look = case.second_look(findings, settings.seed)
                    except Exception as error:  # a foreign model may fail in any way; the evaluation itself goes on
                        record.header["warnings"].append(f"{case.name}: no second look: {type(error).__name__}: {error}")
                    else:
                        about.update({"second_look": look} if look else {})
                record.save_header()
            done = {cell: record.known(cell) for cell in cells.values()}
            try:
                for rows in chunks:
                    _evaluate_batch(case, cells, rows, record, done, settings, tell)
            except Contradiction as error:
                record.header["warnings"].append(f"{case.name} stopped: {error}")
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        record.header.update(status=status, error=f"{type(error).__name__}: {error}", ended=now())
        record.save_header()
        raise
    finish(record)
    if record.header["contradictions"]:
        record.header["status"] = "contradicted"
        record.save_header()
    tell("ended", {"status": record.header["status"]})
    return Run(record)


def _evaluate_batch(
    case: Case, cells: dict[str, str], rows: Tensor, record: Record, done: dict[str, dict[str, tuple[str, str]]], settings: Settings, tell: Listener
) -> None:
    """All attacks of a case on one batch of samples, each written as soon as it is judged."""
    data, threat = case.data.rows(rows), case.threat.take(rows)
    name = f"part-{int(rows[0]):07d}-{int(rows[-1]):07d}"
    reference = threat.goal.reference(data.y, Dice.of(settings.seed, data.ids, data.y.device), case.victim.classes)
    asked = ["the label is the target" if one else "" for one in threat.goal.done(data.y, reference).tolist()]
    left = asked  # reasons to skip a sample: `asked` for every attack, `left` for those in the cascade
    found = Left(data.x[torch.arange(len(data))], torch.full((len(data),), -torch.inf, dtype=torch.float64))  # by the searches of the cascade so far
    missing = {cell for cell in cells.values() if not all(one in done[cell] for one in data.ids)}
    resuming = [attack for attack in case.attacks if attack.resumes and cells[attack.say()] in missing]
    part, proved = Part(case, data, rows, threat, reference, name, settings), dict[int, str]()  # proved: places, and by whom
    for attack in (None, *case.attacks):  # None: the clean inputs
        said = attack.say() if attack else CLEAN
        chained = bool(settings.cascade and attack and not attack.control)
        known, out = done[cells[said]], left if chained else asked
        if chained and attack is not case.attacks[0]:  # the first attack of a cascade audits the certificates
            out = [reason or proved.get(place, "") for place, reason in enumerate(out)]
        again = chained and any(case.attacks.index(later) > case.attacks.index(attack) for later in resuming)  # what it found is not on record
        if cells[said] in missing or again:
            began = time.monotonic()
            todo = torch.tensor([place for place, reason in enumerate(out) if not reason], dtype=torch.int64)
            before = Left(found.points[todo], found.margin[todo]) if chained and attack and attack.resumes else None
            with case.victim.session(number_of(f"{settings.seed} {cells[said]} {name}")):
                verdicts, bout = _attack(case, attack, data.rows(todo), threat.take(todo), reference.take(todo), settings.seed, before)
            if chained:
                better = bout.ledger.margin > found.margin[todo]
                found.points[todo[better]], found.margin[todo[better]] = bout.ledger.best[better], bout.ledger.margin[better]
            if cells[said] in missing:
                columns = _columns(data, rows, todo, threat, reference, verdicts, bout.ledger.cost, out, time.monotonic() - began)
                record.add_part(cells[said], name, columns, _chosen(data.rows(todo), verdicts, POINTS[settings.points]) if attack else None)
                known.update(zip(data.ids, zip(columns["status"], columns["note"], strict=True), strict=True))
        fallen = {place for place, one in enumerate(data.ids) if known[one][0] not in STANDS}
        if attack is None:
            asked = left = [reason or ("wrong without attack" if place in fallen else "") for place, reason in enumerate(asked)]
            proved, left = certify_part(part, cells, done, record, asked, tell)
        elif proved:
            check_against(part, proved, attack, cells[said], known, record)
        if attack and not attack.control:
            left = [reason or (f"broken by {said}" if place in fallen else "") for place, reason in enumerate(left)]
        tell("batch", {"case": case.name, "attack": said, "samples": len(data), "fell": len(fallen)})


class Fought(NamedTuple):
    """What came of one attack on one batch."""

    verdicts: Verdicts
    bout: Bout


def _attack(case: Case, attack: Attack | None, data: Data, threat: Threat, reference: Reference, seed: int, before: Left | None) -> Fought:
    """Search and judge; an attack that fails for a reason of its own yields verdicts "error"."""
    if attack is None:
        threat = case.clean_threat()
        reference = threat.goal.reference(data.y, Dice.of(seed, data.ids, data.y.device), case.victim.classes)
    bout = Bout.open(case.victim, data.x, reference, threat, Dice.of(seed, data.ids, data.y.device), before)
    problem = ""
    if attack and len(bout):
        try:
            attack.run(bout)
        except LoadError as error:  # the model failed, not its user
            problem = str(error)
        except SparringError:
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    spent = bout.ledger.spent & ~bout.ledger.broken
    try:
        verdicts = judge(case.victim, data.x, bout.best(), reference, threat, spent) if len(bout) else _unjudged(data, "")
    except LoadError as error:
        return Fought(_unjudged(data, str(error)), bout)
    if problem:
        status = [one if one is Status.BROKEN else Status.ERROR for one in verdicts.status]
        verdicts = verdicts._replace(status=status, note=[problem if one is Status.ERROR else "" for one in status])
    return Fought(verdicts, bout)


def _unjudged(data: Data, problem: str) -> Verdicts:
    """Every sample an error, with the same note."""
    nothing = torch.full((len(data),), torch.nan, dtype=torch.float64)
    return Verdicts([Status.ERROR] * len(data), data.x, torch.full((len(data),), -1), nothing, nothing, [problem] * len(data))


def _columns(
    data: Data, rows: Tensor, todo: Tensor, threat: Threat, reference: Reference, verdicts: Verdicts, cost: Cost, out: list[str], seconds: float
) -> dict[str, list[Any]]:
    """The columns of `records.record.ROW` for one batch; samples not in `todo` are skipped, with the reason."""
    count, place_of = len(data), {place: turn for turn, place in enumerate(todo.tolist())}

    def spread(values: Sequence[Any] | Tensor, otherwise: Any) -> list[Any]:
        listed = values.tolist() if isinstance(values, Tensor) else list(values)
        return [listed[place_of[place]] if place in place_of else otherwise for place in range(count)]

    targeted = reference.sign < 0
    return {
        "id": data.ids,
        "position": rows.tolist(),
        "label": data.y.tolist(),
        "target": [target if hit else None for target, hit in zip(reference.anchor.tolist(), targeted.tolist(), strict=True)],
        "status": [str(one) for one in spread(verdicts.status, Status.SKIPPED)],
        "predicted": spread(verdicts.predicted, None),
        "margin": spread(verdicts.margin, None),
        "size": spread(verdicts.size, None),
        "radius": threat.space.radii(count).tolist(),
        "queries": spread(cost.queries, 0),
        "forwards": spread(cost.forwards, 0),
        "backwards": spread(cost.backwards, 0),
        "seconds": [seconds / max(1, len(todo)) if place in place_of else 0.0 for place in range(count)],
        "note": [out[place] or note for place, note in enumerate(spread(verdicts.note, ""))],
    }


def _chosen(data: Data, verdicts: Verdicts, most: int) -> Points | None:
    """The points to keep: of the broken ones the smallest and the one in the middle first."""
    broken = [place for place, status in enumerate(verdicts.status) if status is Status.BROKEN]
    others = [place for place, status in enumerate(verdicts.status) if status is not Status.BROKEN]
    ranked = sorted(broken, key=lambda place: float(verdicts.size[place]))
    spread = [ranked[int(turn)] for turn in np.linspace(0, len(ranked) - 1, min(most, len(ranked)))]
    places = sorted({*spread, *(others if most == sys.maxsize else others[: most // 3])})
    if not places:
        return None
    rows, domain = torch.tensor(places), data.domain
    return Points([data.ids[place] for place in places], domain.pack(data.x[rows]), domain.pack(verdicts.points[rows]))
