"""The header of a run, which is written first and always replaced as a whole."""

import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparring.bench.environment import environment
from sparring.core.address import without_secrets
from sparring.core.errors import LoadError, PlanError
from sparring.records.header_schema import all_in_utf_8
from sparring.records.merge import take_over
from sparring.records.record import SCHEMA, Record
from sparring.records.store import Store


def begin(store: Store, identity: str, cases: Sequence[dict[str, Any]], plan: dict[str, Any]) -> Record:
    """Return the record of a new or existing run, marked as running; nothing is written yet.

    The cases are as `Case.describe` gives them.
    """
    header = {"schema": SCHEMA, "id": identity, "status": "running", "started": now(), "ended": None, "resumed": 0}
    found: dict[str, Any] = {"warnings": [], "contradictions": []}
    if store.exists("run.json"):
        old = Record.open(store.url).header
        if len(old["cases"]) != len(cases):
            raise LoadError(f"{store.url}/run.json has {len(old['cases'])} cases, and the plan {len(cases)}: delete it and run the same command again")
        header.update(started=old["started"], resumed=old["resumed"] + 1)
        found = {name: old.get(name, []) for name in found}
        for new, known in zip(cases, old["cases"], strict=True):
            if (known.get("n") or 0) > new["n"]:
                unit = (known.get("aim") or {}).get("unit", "sample")
                raise PlanError(
                    f"the record {store.url} holds {known['n']} {unit}s of {new['name']}, not {new['n']}: ask for all of them, or write another out="
                )
            new.update({name: known[name] for name in ("checks", "reevaluation") if name in known})
    program = Path(sys.argv[0])
    ours = program.name == "spar" or (program.name == "__main__.py" and program.parent.name == "sparring")  # the latter from python -m sparring
    command = shlex.join(["spar" if ours else program.name, *without_secrets(sys.argv[1:])])  # can be pasted into a shell
    header.update(command=command, plan=without_secrets(plan), environment=environment(), cases=list(cases), gate=[], **found)
    return Record(store, all_in_utf_8(header))


def finish(record: Record) -> None:
    """Write when the run ended and whether its rows are complete."""
    warnings = record.header.setdefault("warnings", [])
    for case in record.header["cases"]:
        rows = record.rows(case["cells"][0]["key"])
        if len(rows) and all(row == "skipped" for row in rows["status"]):
            warnings.append(f"{case['name']}: no sample fits the goal, so nothing was measured: choose another goal or other data")
    record.header["warnings"] = list(dict.fromkeys(warnings))
    if record.store.exists("run.json"):
        take_over(record.header, Record.open(record.store.url).header)  # another shard may have written meanwhile
    status = "contradicted" if record.header.get("contradictions") else "partial" if record.missing() else "done"
    record.header.update(status=status, ended=now())
    record.save_header()


def folder_of(identity: str, name: str) -> str:
    """Return the name of a run's folder: the start of its hash and a readable part."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")[:40]
    return f"{identity[:6]}-{slug or 'run'}"


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
