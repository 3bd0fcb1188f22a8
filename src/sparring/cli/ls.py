"""spar ls: list registered things and the runs in a folder."""

import fnmatch
from typing import Annotated, Any

import typer

from sparring.cli.known import names_of
from sparring.cli.listing import KINDS, alike
from sparring.cli.terminal import Terminal, echo


def _kinds(incomplete: str) -> list[str]:
    return [kind for kind in (*KINDS, "runs") if kind.startswith(incomplete)]


def _names(context: typer.Context, incomplete: str) -> list[str]:
    kind = KINDS.get(context.params.get("kind") or "")
    names = [name for one in alike(kind) for name in names_of(one)] if kind else []
    return [name for name in names if name.startswith(incomplete)]


def command(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)} or runs", autocompletion=_kinds)],
    pattern: Annotated[str, typer.Argument(help="Names to show; * and ? are wildcards. A single full name shows all details.", autocompletion=_names)] = "*",
    out: Annotated[str, typer.Option(help="The folder that contains the runs.")] = "runs",
    tasks: Annotated[bool, typer.Option("--tasks", help="Show which tasks each entry supports.")] = False,
    aim: Annotated[str | None, typer.Option(help="Only entries for this aim: evasion, poisoning, membership, ...")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print names only.")] = False,
) -> None:
    """List attacks, models, data, threats and all other kinds.

    A full name shows all that is known about one thing: its source, its settings with defaults and choices, and what it needs.

    Examples:

    \b
      spar ls attacks
      spar ls attacks "*pgd*"
      spar ls attacks --tasks
      spar ls checks D6
      spar ls runs
    """
    from sparring.core.errors import UnknownName

    if kind == "rungs":
        echo("rungs are now called verifiers: spar ls verifiers", err=True)
        kind = "verifiers"
    if kind not in (*KINDS, "runs"):
        raise UnknownName("kind", kind, [*KINDS, "runs"])

    from sparring.cli.listing import rows_of
    from sparring.cli.matrix import matrix
    from sparring.cli.summary import print_json

    rows: list[dict[str, Any]]
    if tasks:
        rows = matrix(kind, KINDS.get(kind, kind))
    else:
        rows = _runs(out) if kind == "runs" else rows_of(kind)
    rows = rows if aim is None else _about(aim, kind, rows)
    rows = [row for row in rows if any(fnmatch.fnmatchcase(row[key], pattern) for key in ("name", "code") if key in row)]
    if json:
        print_json(rows)
    elif quiet:
        for row in rows:
            echo(row["name"])
    elif tasks:
        _print_table([{"name": row["name"], **row["tasks"], "why": row["why"]} for row in rows])
    elif kind != "runs" and len(rows) == 1 and pattern in (rows[0]["name"], rows[0].get("code")):
        _print_one(rows[0])
    else:
        shown = [name for name in ("code", "name") if any(name in row for row in rows)]
        _print_table(rows if kind == "runs" else [_in_short(row, shown) for row in rows], strange=kind == "runs")


def _about(aim: str, kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of an aim."""
    from sparring.core.errors import PlanError
    from sparring.core.registry import find

    find("aim", aim)
    if not any("aim" in row for row in rows):
        raise PlanError(f"--aim does not apply to {kind}: leave it out, or list attacks, sets, metrics or sections")
    return [row for row in rows if row.get("aim") == aim]


def _in_short(row: dict[str, Any], shown: list[str]) -> dict[str, Any]:
    """What is shown of it, and its first sentence with the source below; the aim stands below the name."""
    source = f"\n{cites}" if (cites := row.get("cites")) else ""
    row = {**row, "name": f"{row['name']}\n  {row['aim']}" if row.get("aim") else row["name"]}
    return {**{name: row.get(name, "") for name in shown}, "does": row["does"] + source}


def _print_table(rows: list[dict[str, Any]], *, strange: bool = False) -> None:
    """Print one line per row; `strange` are values from outside, of which none has lines of its own."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in rows[0] if rows else ["nothing found"]:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) and strange else Text(_said(value)) for value in row.values()))
    Terminal().print(table)


def _print_one(row: dict[str, Any]) -> None:
    """Print one thing in full: what it does, its facts and its settings."""
    from rich.table import Table
    from rich.text import Text

    from sparring.cli.listing import without_arguments

    console = Terminal()
    console.print(Text(row["name"], style="bold"))
    settings = row.get("settings", {})
    text = without_arguments(row["text"]) if all("does" in one for one in settings.values()) else row["text"]
    for number, paragraph in enumerate(text.split("\n\n")):
        lines = paragraph.splitlines()
        listed = any(line.startswith((" ", ">>>")) for line in lines)
        console.print(Text(("\n" if number else "") + (paragraph if listed else " ".join(lines))))
    facts = Table(box=None, pad_edge=False, show_header=False)
    for name, value in row.items():
        if name not in ("name", "does", "text", "settings"):
            facts.add_row(Text(name, style="bold"), Text(_said(value)))
    if facts.row_count:
        console.print()
        console.print(facts)
    if settings:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("setting", "default", "meaning"):
            table.add_column(title, overflow="fold")
        for name, one in settings.items():
            default = _written(one["default"]) if "default" in one else "must be given"
            choices = f"Choices: {', '.join(one['choices'])}." if "choices" in one else ""
            table.add_row(name, Text(default), Text(" ".join(filter(None, (one.get("does", ""), choices)))))
        console.print()
        console.print(table)


def _written(value: Any) -> str:
    """A setting as it is written in a plan."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else "none" if value is None else str(value) or '""'


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(str(one) if number == 0 else f"{name} {one}" for number, (name, one) in enumerate(value.items()))
    if isinstance(value, list):
        return ("\n" if any(isinstance(one, dict) for one in value) else ", ").join(map(_said, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _runs(out: str) -> list[dict[str, str]]:
    from sparring.core.errors import SparringError
    from sparring.records.record import Record
    from sparring.records.store import Store

    store = Store(out)
    found = []
    for name in store.names(""):
        if store.exists(f"{name}/run.json"):
            try:
                header = Record.open(store.inner(name).url).header
            except SparringError as error:
                found.append({"name": name, "status": "unreadable", "started": "", "cases": str(error)})
                continue
            cases = ", ".join(case["name"] for case in header["cases"])
            found.append({"name": name, "status": header["status"], "started": header["started"], "cases": cases})
    return sorted(found, key=lambda row: row["started"])
