"""The closing table of a run, for people and for programs."""

import json
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sparring.bench.run import Run
from sparring.core.errors import RecordError
from sparring.report.lights import trust
from sparring.report.view import View


def exit_code(run: Run) -> int:
    """0 done and gate met, 1 gate missed, 3 incomplete or an attack failed."""
    if run.status != "done" or any(row["errors"] for row in run.summary()):
        return 3
    return 0 if all(one["met"] for one in run.record.header["gate"]) else 1


def print_run(run: Run, *, as_json: bool, quiet: bool, report: str | None = None) -> int:
    """Print the numbers of a run and return its exit code."""
    code = exit_code(run)
    if as_json:
        print_json({"record": run.path, "status": run.status, "cases": run.summary(), "gate": run.record.header["gate"], "report": report, "exit": code})
        return code
    if quiet:
        return code
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 140)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, side in (
        ("case", "left"),
        ("n", "right"),
        ("clean", "right"),
        ("certified", "right"),
        ("robust", "right"),
        ("95 % interval", "right"),
        ("fell to", "left"),
    ):
        table.add_column(title, justify=side, overflow="fold")  # type: ignore[arg-type]
    for row in run.summary():
        clean, robust = row["clean_accuracy"], row["robust_accuracy"]
        fell = ", ".join(f"{attack.split('(')[0]} {count}" for attack, count in row["fell_to"].items() if count)
        interval = f"{robust['low']:.1%} to {robust['high']:.1%}"
        certified = row["certified_accuracy"]
        proved = f"{certified['value']:.1%}" if certified else ""
        table.add_row(row["case"], str(clean["n"]), f"{clean['value']:.1%}", proved, f"{robust['value']:.1%}", interval, fell or "nothing")
    console.print(table)
    for found in findings(run):
        console.print(found, markup=False)
    word, reasons = trust(View.of(run.record))
    console.print(f"verdict: {word}" + "".join(f"\n  {reason}" for reason in reasons), markup=False)
    for case in run.record.header["cases"]:
        if look := case.get("second_look"):
            claimed, best = look["claimed"]["value"], look["best_known"]["value"]
            said = f"second look   {case['name']}: on {look['clean']['n']} samples a plain attack claims {claimed:.1%}, {best:.1%} is the best known"
            console.print(said, markup=False)
    for one in run.record.header["contradictions"]:
        console.print(
            f"CONTRADICTION   {one['case']}: {one['attack']} broke {len(one['ids'])} that {one['certificate']} had proved; see {one['file']}",
            style="bold red",
            markup=False,
        )
    for one in run.record.header["gate"]:
        verdict = "met" if one["met"] else "MISSED"
        console.print(f"gate   {one['rule']}   {one['case']}: {one['value']:.1%}, lower end {one['low']:.1%}   {verdict}", markup=False)
    console.print(f"record {run.path}", soft_wrap=True, markup=False)
    if report:
        console.print(f"report {report}", soft_wrap=True, markup=False)
    if code == 3:
        console.print(f"incomplete: status {run.status}; the same command continues")
    return code


def findings(run: Run) -> list[str]:
    """One line for every check that is not ok; said once, however many cases a model has."""
    cases = run.record.header["cases"]
    seen = [(case["model"]["name"], check) for case in cases for check in case["checks"] if check["verdict"] in ("caution", "bad")]
    return list(dict.fromkeys(f"{check['verdict']}: {model}: {check['code']} {check['finding']} {check['cure']}" for model, check in seen))


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    json.dump(content, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")


def _started(path: str) -> str:
    """When a run began; a run that cannot be read is never the last one while there is another."""
    try:
        return Run.open(path).record.header["started"]
    except RecordError:
        return ""


def latest(out: str, which: str) -> str:
    """The folder of a run: a path, the beginning of its name under `out`, or "last"."""
    from sparring.core.errors import UnknownName
    from sparring.records.store import Store

    if Store(which).exists("run.json"):
        return which
    store = Store(out)
    runs = [name for name in store.names("") if store.exists(f"{name}/run.json")]
    if which == "last" and runs:
        return f"{out}/{max(runs, key=lambda name: _started(f'{out}/{name}'))}"
    matching = [name for name in runs if name.startswith(which)]
    if len(matching) == 1:
        return f"{out}/{matching[0]}"
    raise UnknownName("run", which, runs)
