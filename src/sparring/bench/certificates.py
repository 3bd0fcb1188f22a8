"""The certificates of an evaluation: asked before the attacks, written as rows, and held against every attack that follows."""

import io
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.bench.case import Case, Settings
from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Certifier
from sparring.certification.certify import certified_radius, certify
from sparring.core.dice import Dice
from sparring.core.errors import Contradiction, LoadError, SparringError
from sparring.core.threat import Reference, Threat
from sparring.data.dataset import Data
from sparring.judge.judge import Status, judge
from sparring.records.record import Points, Record

DOUBTFUL = 0.05
"""Share of statistical certificates of a batch that may break before the method itself is doubted."""
PROVED, OPEN = "proved", "unknown"
"""Statuses of certificates besides those of attacks; a refuted sample is judged like any point."""

Known = dict[str, tuple[str, str]]
"""(status, note) of the samples of a cell that are done, by id."""


class Part(NamedTuple):
    """One batch of a case: its samples, where they stand in the data, and the name of its file."""

    case: Case
    data: Data
    rows: Tensor
    threat: Threat
    reference: Reference
    name: str
    settings: Settings


def certify_part(
    part: Part, cells: dict[str, str], done: dict[str, Known], record: Record, asked: list[str], tell: Callable[[str, dict[str, Any]], None]
) -> tuple[dict[int, str], list[str]]:
    """Ask the certifiers in turn about what is open, or read what they said. Returns who proved which place of the batch, and
    per place why it needs no attack: `asked`, or that a certifier has refuted it."""
    proved: dict[int, str] = {}
    left = asked
    for certifier in part.case.certifiers:
        said = certifier.say()
        known = done[cells[said]]
        if not all(one in known for one in part.data.ids):
            out = [reason or proved.get(place, "") for place, reason in enumerate(left)]
            columns, points = _rows(part, certifier, out)
            record.add_part(cells[said], part.name, columns, points)
            known.update(zip(part.data.ids, zip(columns["status"], columns["note"], strict=True), strict=True))
        statuses = [known[one][0] for one in part.data.ids]
        proved.update({place: f"proved by {said}" for place, status in enumerate(statuses) if status == PROVED})
        left = [reason or (f"broken by {said}" if status == Status.BROKEN else "") for reason, status in zip(left, statuses, strict=True)]
        tell("batch", {"case": part.case.name, "attack": said, "samples": len(part.data), "fell": statuses.count(str(Status.BROKEN))})
    return proved, left


def check_against(part: Part, proved: dict[int, str], attack: Attack, cell: str, known: Known, record: Record) -> None:
    """Raise Contradiction where an attack broke what was proved for certain, after saving inputs and points to begin a search for the fault from.
    Statistical certificates may be wrong as often as their confidence says, so there it takes more than that share of them."""
    broken = [place for place in proved if known[part.data.ids[place]][0] == Status.BROKEN]
    certain = {f"proved by {one.say()}" for one in part.case.certifiers if not one.statistical}
    if not any(proved[place] in certain for place in broken) and len(broken) <= DOUBTFUL * len(proved):
        return
    ids = [part.data.ids[place] for place in broken]
    kept = record.points(cell)
    chosen = [place for place, one in enumerate(kept.ids) if one in ids]
    packed = io.BytesIO()
    np.savez_compressed(
        packed, ids=np.asarray(ids), points_of=np.asarray([kept.ids[place] for place in chosen]), before=kept.before[chosen], after=kept.after[chosen]
    )
    file = f"contradictions/{cell}-{part.name}.npz"
    record.store.write(file, packed.getvalue())
    said = proved[broken[0]]
    record.header["contradictions"].append(
        {"case": part.case.name, "certificate": said.removeprefix("proved by "), "attack": attack.say(), "ids": ids, "file": file}
    )
    record.save_header()
    raise Contradiction(
        f"{attack.say()} broke {len(ids)} of the samples {said}, {ids[0]} for one: nothing of this case is to be believed. "
        f"{record.store.path(file)} holds inputs and points; please report it"
    )


def _rows(part: Part, certifier: Certifier, out: list[str]) -> tuple[dict[str, list[Any]], Points | None]:
    """The columns of `records.record.ROW` for one batch, and the witnesses of what was refuted."""
    began, count = time.monotonic(), len(part.data)
    todo = [place for place, reason in enumerate(out) if not reason]
    answers, problem = _ask(part, certifier, todo)
    spent = (time.monotonic() - began) / max(1, len(todo))
    status, note = ["skipped"] * count, list(out)
    margin: list[float | None] = [None] * count
    size: list[float | None] = [None] * count
    predicted: list[int | None] = [None] * count
    for place, answer in zip(todo, answers, strict=False):
        status[place] = PROVED if answer.proved else OPEN
        note[place] = answer.method if answer.proved else answer.reason or f"refuted by {answer.method} at the whole radius"
        margin[place] = None if answer.margin != answer.margin else answer.margin
        size[place] = answer.radius
    if problem:
        for place in todo:
            status[place], note[place] = str(Status.ERROR), problem
    points = None
    refuted = [] if part.threat.minimal else [(place, one) for place, one in zip(todo, answers, strict=False) if one.verdict is Verdict.REFUTED]
    if refuted:
        rows = torch.tensor([place for place, _ in refuted])
        seen = torch.stack([one.witness for _, one in refuted if one.witness is not None]).to(part.data.x)
        own = part.data.rows(rows)
        with part.case.victim.session():
            verdicts = judge(part.case.victim, own.x, seen, part.reference.take(rows), part.threat.take(rows), torch.zeros(len(rows), dtype=torch.bool))
        for turn, (place, one) in enumerate(refuted):
            status[place], note[place] = str(verdicts.status[turn]), verdicts.note[turn] or one.method
            margin[place], size[place], predicted[place] = float(verdicts.margin[turn]), float(verdicts.size[turn]), int(verdicts.predicted[turn])
        points = Points(own.ids, own.domain.pack(own.x), own.domain.pack(verdicts.points))
    targeted = part.reference.sign < 0
    columns = {
        "id": part.data.ids,
        "position": part.rows.tolist(),
        "label": part.data.y.tolist(),
        "target": [target if hit else None for target, hit in zip(part.reference.anchor.tolist(), targeted.tolist(), strict=True)],
        "status": status,
        "predicted": predicted,
        "margin": margin,
        "size": size,
        "radius": part.threat.space.radii(count).tolist(),
        **{name: [0] * count for name in ("queries", "forwards", "backwards")},
        "seconds": [0.0 if reason else spent for reason in out],
        "note": note,
    }
    return columns, points


def _ask(part: Part, certifier: Certifier, todo: list[int]) -> tuple[list[Certificate], str]:
    """Certificates for the places to do, or the problem that kept them from being made."""
    if not todo:
        return [], ""
    rows = torch.tensor(todo)
    data, threat = part.data.rows(rows), part.threat.take(rows)
    ask = certified_radius if threat.minimal else certify
    dice = Dice.of(part.settings.seed, data.ids, data.y.device)
    try:
        return list(ask(part.case.victim, data.x, data.y, threat, [certifier], dice=dice)), ""
    except LoadError as error:  # the model failed, not its user
        return [], str(error)
    except SparringError:
        raise
    except Exception as error:
        return [], f"{type(error).__name__}: {error}"
