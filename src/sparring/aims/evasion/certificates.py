"""The certificates of an evaluation: asked before the attacks, written as rows, and held against every attack that follows."""

import io
import time
from collections.abc import Set

import numpy as np
import torch

from sparring.aims.evasion.batch import Batch, verdict_columns
from sparring.aims.rows import Columns, fill, skipped
from sparring.attacks.attack import Attack
from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Certifier
from sparring.certification.certify import certified_radius, certify
from sparring.core.errors import Contradiction, LoadError, SparringError
from sparring.core.rng import Rng
from sparring.judge.judge import Status, judge
from sparring.records.record import Points

DOUBTFUL = 0.05
"""Share of statistical certificates of a batch that may be broken before this counts as a contradiction."""
PROVED, OPEN = "proved", "unknown"
"""Statuses of certificates besides those of attacks; a refuted sample is judged like any point."""


def certify_batch(batch: Batch, certifier: Certifier) -> None:
    """Ask one certifier about the samples that are open, or read what it said.

    What it proved and refuted is entered.
    """
    said = str(certifier)
    if batch.lacks(said):
        columns, points = _rows(batch, certifier, batch.unproved())
        batch.progress.keep(said, batch.name, columns, points)
    statuses = batch.statuses(said)
    batch.proved = [before or (said if status == PROVED else "") for before, status in zip(batch.proved, statuses, strict=True)]
    batch.fallen = [before or (said if status == Status.BROKEN else "") for before, status in zip(batch.fallen, statuses, strict=True)]
    batch.done(said, statuses.count(str(Status.BROKEN)))


def check_against(batch: Batch, attack: Attack, statistical: Set[str]) -> None:
    """Raise Contradiction where an attack broke what was proved for certain.

    Inputs and points are saved first, so that the fault can be looked for.

    Statistical certificates may be wrong as often as their confidence says, so there it takes more than that share of them.

    Args:
        batch: The samples.
        attack: The attack, which is on record for them.
        statistical: The certifiers, as written, whose certificates hold with a confidence only.
    """
    proved = [place for place, said in enumerate(batch.proved) if said]
    statuses = batch.statuses(str(attack))
    broken = [place for place in proved if statuses[place] == Status.BROKEN]
    if all(batch.proved[place] in statistical for place in broken) and len(broken) <= DOUBTFUL * len(proved):
        return
    record, cell = batch.progress.record, batch.progress.cells[str(attack)].key
    ids = [batch.data.ids[place] for place in broken]
    kept = record.points(cell)
    chosen = [place for place, one in enumerate(kept.ids) if one in ids]
    packed = io.BytesIO()
    np.savez_compressed(
        packed, ids=np.asarray(ids), points_of=np.asarray([kept.ids[place] for place in chosen]), before=kept.before[chosen], after=kept.after[chosen]
    )
    file = f"contradictions/{cell}-{batch.name}.npz"
    record.store.write(file, packed.getvalue())
    said = batch.proved[broken[0]]
    found = {"case": batch.progress.case, "certificate": said, "attack": str(attack), "ids": ids, "file": file}
    if found not in record.header["contradictions"]:
        record.header["contradictions"].append(found)
        record.save_header()
    raise Contradiction(
        f"{attack} broke {len(ids)} of the samples certified by {said}, such as {ids[0]}: the results of this case are invalid. "
        f"{record.store.path(file)} holds inputs and points; please report this bug"
    )


def _rows(batch: Batch, certifier: Certifier, out: list[str]) -> tuple[Columns, Points | None]:
    """The rows of one batch, and the counterexamples of what was refuted."""
    began = time.monotonic()
    todo = [place for place, reason in enumerate(out) if not reason]
    answers, trouble = _ask(batch, certifier, todo)
    columns = skipped(batch.data, batch.places, batch.threat, batch.criterion, out)
    fill(columns, todo, seconds=[(time.monotonic() - began) / max(1, len(todo))] * len(todo))
    if trouble:
        fill(columns, todo, status=[str(Status.ERROR)] * len(todo), note=[trouble] * len(todo))
        return columns, None
    notes = [one.method if one.proved else one.reason or f"refuted by {one.method} at the whole radius" for one in answers]
    fill(columns, todo, status=[PROVED if one.proved else OPEN for one in answers], note=notes,
         margin=[one.margin for one in answers], size=[one.radius for one in answers])  # fmt: skip
    refuted = [] if batch.threat.minimal else [(place, one) for place, one in zip(todo, answers, strict=True) if one.verdict is Verdict.REFUTED]
    if not refuted:
        return columns, None
    places = [place for place, _ in refuted]
    rows, own = torch.tensor(places), batch.data.rows(torch.tensor(places))
    seen = torch.stack([one.counterexample for _, one in refuted if one.counterexample is not None]).to(batch.data.x)
    with batch.victim.session():
        nobody = torch.zeros(len(rows), dtype=torch.bool)
        verdicts = judge(batch.victim, own.x, seen, batch.criterion.take(rows), batch.threat.take(rows), nobody, own.y)
    notes = [said or one.method for said, (_, one) in zip(verdicts.note, refuted, strict=True)]
    fill(columns, places, **verdict_columns(batch.victim, verdicts._replace(note=notes)))
    return columns, Points(own.ids, own.domain.pack(own.x), own.domain.pack(verdicts.points))


def _ask(batch: Batch, certifier: Certifier, todo: list[int]) -> tuple[list[Certificate], str]:
    """Certificates for the places to do, or the problem that kept them from being made."""
    if not todo:
        return [], ""
    rows = torch.tensor(todo)
    data, threat = batch.data.rows(rows), batch.threat.take(rows)
    ask = certified_radius if threat.minimal else certify
    rng = Rng.of(batch.settings.seed, data.ids, data.y.device)
    try:
        return list(ask(batch.victim, data.x, data.y, threat, [certifier], rng=rng)), ""
    except LoadError as error:  # the model failed, not its user
        return [], str(error)
    except SparringError:
        raise
    except Exception as error:
        return [], f"{type(error).__name__}: {error}"
