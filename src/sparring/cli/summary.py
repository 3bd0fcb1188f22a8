"""The closing table of a run, for people and for programs."""

import sys
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from sparring.bench.gate import rules_of
from sparring.bench.run import Run
from sparring.cli.terminal import Terminal
from sparring.core.errors import PlanError, SparringError
from sparring.core.expression import Expression, parse
from sparring.records.record import json_text
from sparring.report.lights import trust
from sparring.report.view import View

MOST = 8
"""Incomplete cells that are listed."""


def exit_code(run: Run) -> int:
    """Return 0 if the run is complete and its gate met, 1 if the gate is missed, else 3."""
    if run.status != "done" or unjudged(run) or any(row["errors"] for row in run.summary()) or run.missing():
        return 3
    return 0 if all(one["met"] for one in run.record.header["gate"]) else 1


def unjudged(run: Run) -> list[str]:
    """Return the rules of the plan that were not judged, because the run is not complete."""
    return [] if run.record.header["gate"] else rules_of(run)


def print_run(run: Run, *, as_json: bool, quiet: bool, report: str | None = None) -> int:
    """Print the numbers of a run and return its exit code."""
    code = exit_code(run)
    if as_json:
        print_json({"record": run.path, "status": run.status, "cases": run.summary(), "gate": run.record.header["gate"], "missing": run.missing(),
                    "report": report, "exit": code})  # fmt: skip
        return code
    if quiet:
        return code
    console = Terminal()
    if not console.is_terminal:
        console.width = max(console.width, 140)
    _print_evasion(console, run)
    for row in run.summary():
        if "measures" in row:
            _print_measures(console, row)
        elif row["of_the_task"]:
            _print_of_the_task(console, row)
    for found in findings(run):
        console.print(found)
    view = View.of(run.record).about("evasion", "")
    if view.cases:
        word, reasons = trust(view)
        for line in (f"verdict: {word}", *(f"  {reason}" for reason in reasons)):
            console.print(line)
    for case in run.record.header["cases"]:
        if look := case.get("reevaluation"):
            claimed, best = look["claimed"]["value"], look["best_known"]["value"]
            said = f"re-evaluation   {case['name']}: of {look['clean']['n']} samples, a plain attack leaves {claimed:.1%} and all remedies leave {best:.1%}"
            console.print(said)
    for warning in run.record.header["warnings"]:
        console.print(f"warning   {warning}", soft_wrap=True)
    for one in run.record.header["contradictions"]:
        console.print(
            f"CONTRADICTION   {one['case']}: {one['attack']} broke {len(one['ids'])} samples that {one['certificate']} had certified; see {one['file']}",
            style="bold red",
        )
    for one in run.record.header["gate"]:
        console.print(f"gate   {one['rule']}   {judged_line(one)}   {'met' if one['met'] else 'MISSED'}", soft_wrap=True)
    for rule in unjudged(run):
        console.print(f"gate   {rule}   not judged, because the run is {run.status}", soft_wrap=True)
    console.print(f"record {run.path}", soft_wrap=True)
    if report:
        console.print(f"report {report}", soft_wrap=True)
    if code == 3:
        for one in run.missing()[:MOST]:
            console.print(f"missing   {one}", soft_wrap=True)
        console.print(f"incomplete: status {run.status}; run the same command again to continue, or merge the shards with spar merge")
    return code


def _print_evasion(console: Terminal, run: Run) -> None:
    """Print one row per evasion case: accuracies, interval, and how many samples each attack broke."""
    rows = [row for row in run.summary() if "measures" not in row]
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, side in (
        ("case", "left"),
        ("n", "right"),
        ("clean", "right"),
        ("certified", "right"),
        ("robust", "right"),
        ("95 % interval", "right"),
        ("broken by", "left"),
    ):
        table.add_column(title, justify=side, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        clean, robust = row["clean_accuracy"], row["robust_accuracy"]
        fell = ", ".join(f"{name} {count}" for name, count in zip(told_apart(row["fell_to"]), row["fell_to"].values(), strict=True) if count)
        interval = f"{robust['low']:.1%} to {robust['high']:.1%}"
        certified = row["certified_accuracy"]
        proved = f"{certified['value']:.1%}" if certified else ""
        table.add_row(row["case"], str(clean["n"]), f"{clean['value']:.1%}", proved, f"{robust['value']:.1%}", interval, fell or "nothing")
    console.print(table)


def _print_of_the_task(console: Terminal, row: dict[str, Any]) -> None:
    """What the metrics of the task say of a case about evasion."""
    console.print(row["case"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for title in ("value", "95 % interval", "of"):
        table.add_column(title, justify="right")
    for one in row["of_the_task"]:
        interval = f"{written(one['low'], one)} to {written(one['high'], one)}" if one["low"] < one["value"] or one["high"] > one["value"] else ""
        said = (written(one["value"], one), interval) if one["n"] else ("", "")
        table.add_row(one["metric"].replace("_", " "), *said, str(one["n"]))
    console.print(table)


def _print_measures(console: Terminal, row: dict[str, Any]) -> None:
    """Print one case of another aim: a row per attack and control, a column per metric."""
    console.print(f"{row['case']}: {row['aim']}")
    metrics = list(dict.fromkeys(one["metric"] for one in row["measures"]))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", overflow="fold")
    table.add_column("role")
    for name in metrics:
        table.add_column(name.replace("_", " "), justify="right", overflow="fold")
    for cell in dict.fromkeys(one["cell"] for one in row["measures"]):
        own = {one["metric"]: one for one in row["measures"] if one["cell"] == cell}
        role = next(iter(own.values()))["role"]
        said = [f"{own[name]['value']:.1%} ({own[name]['low']:.1%} to {own[name]['high']:.1%})" if own[name]["n"] else "" for name in metrics]
        table.add_row(cell or "all together", role, *said)
    console.print(table)


def judged_line(one: dict[str, Any]) -> str:
    """Return what was measured for a rule of a gate.

    Where the rule bounds from above, it is said what the controls reached.
    """
    if one["value"] is None or one["value"] != one["value"]:
        return f"{one['case']}: nothing to measure, because no row fits this rule"
    attack = f" ({one['cell']})" if one["cell"] else ""
    controls = [f"{control['cell']} {written(control['value'], one)}" for control in one.get("controls", [])] if "<" in one["rule"] else []
    beside = f"; control: {', '.join(controls)}" if controls else ""
    return f"{one['case']}: {written(one['value'], one)}{attack}, {worse_end(one)}{beside}"


def worse_end(one: dict[str, Any]) -> str:
    """Return the end of the interval on which a rule of a gate was judged, in words."""
    if "<" in one["rule"]:
        return f"upper end {written(one['high'], one)}"
    return f"lower end {written(one['low'], one)}"


def written(value: float | None, one: dict[str, Any]) -> str:
    """Write a value of a metric: a share in percent, anything else as a number in its own unit."""
    if value is None:
        return "not known"
    return f"{value:.1%}" if one.get("share", True) else f"{value:.4g}"


def told_apart(attacks: Iterable[str]) -> list[str]:
    """Write attacks by their names; where names are equal, with the settings that differ.

    >>> told_apart(["odi(steps=20, restarts=2)", "square", "odi(steps=20, restarts=6)"])
    ['odi(restarts=2)', 'square', 'odi(restarts=6)']
    """
    read = [_read(attack) for attack in attacks]
    written = []
    for one in read:
        others = [other.settings for other in read if other.name == one.name]
        own = [f"{key}={value!r}" for key, value in one.settings.items() if any(key not in other or other[key] != value for other in others)]
        written.append(f"{one.name}({', '.join(own)})" if own else one.name)
    return written


def _read(attack: str) -> Expression:
    """An attack as a plan writes it; by its whole text where it is written otherwise."""
    try:
        return parse(attack)
    except PlanError:
        return Expression(attack, [], {})


def findings(run: Run) -> list[str]:
    """Return one line per check that is not ok, once per model."""
    cases = run.record.header["cases"]
    seen = [(case["model"]["name"], check) for case in cases for check in case["checks"] if check.get("verdict") in ("caution", "bad")]
    return list(
        dict.fromkeys(f"{check['verdict']}: {model}: " + " ".join(str(check.get(name) or "") for name in ("code", "finding", "cure")) for model, check in seen)
    )


def print_keys(keys: dict[str, str]) -> None:
    """Print keys and their meaning in two columns as wide as the terminal."""
    console = Terminal()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, meaning in keys.items():
        table.add_row(name, Text(meaning))
    console.print(table)


def print_json(content: Any) -> None:
    """Print one JSON document on standard output; numbers that are not finite become null."""
    sys.stdout.write(json_text(content) + "\n")


def _started(path: str) -> str:
    """Return when a run began; "" if it cannot be read, so that another one counts as the last."""
    try:
        return Run.open(path).record.header["started"]
    except SparringError:
        return ""


def latest(out: str, which: str) -> str:
    """Return the folder of a run: a path, the beginning of its name under `out`, or "last"."""
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
