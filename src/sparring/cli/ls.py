"""spar ls: what is there."""

import fnmatch
from typing import Annotated

import typer

KINDS = {
    "attacks": "attack",
    "certifiers": "certifier",
    "rungs": "rung",
    "models": "model",
    "data": "dataset",
    "threats": "space",
    "losses": "loss",
    "checks": "check",
    "domains": "domain",
    "sections": "section",
    "adapters": "adapter",
    "readers": "reader",
}


def command(
    kind: Annotated[str, typer.Argument(help="attacks, certifiers, rungs, models, data, threats, losses, checks, readers, adapters or runs")],
    pattern: Annotated[str, typer.Argument(help="Names to show, with * and ?.")] = "*",
    out: Annotated[str, typer.Option(help="Where runs lie.")] = "runs",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Names only.")] = False,
) -> None:
    """List attacks, certifiers, models, data, threats, checks or runs. Example: spar ls attacks "*pgd*" """
    from rich.console import Console
    from rich.table import Table

    from sparring.cli.summary import print_json
    from sparring.core.errors import UnknownName
    from sparring.core.registry import everything

    if kind == "runs":
        rows = _runs(out)
    elif kind in KINDS:
        rows = [{"name": name, **_about(kind, thing)} for name, thing in everything(KINDS[kind]).items()]
    else:
        raise UnknownName("kind", kind, [*KINDS, "runs"])
    rows = [row for row in rows if fnmatch.fnmatch(row["name"], pattern)]
    if json:
        print_json(rows)
        return
    if quiet:
        typer.echo("\n".join(row["name"] for row in rows))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in rows[0] if rows else ["nothing found"]:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(highlight=False).print(table)


def _about(kind: str, thing: object) -> dict[str, str]:
    import inspect
    import sys

    from sparring.attacks.attack import Attack
    from sparring.certification.certifier import Certifier
    from sparring.certification.rung import Rung

    if isinstance(thing, Attack):
        settings = ", ".join(f"{name}={value!r}" for name, value in thing.defaults.items())
        return {"needs": ", ".join(sorted(thing.needs)), "does": thing.summary, "settings": settings}
    if isinstance(thing, Certifier | Rung):
        settings = ", ".join(f"{name}={value!r}" for name, value in thing.defaults.items())
        made = thing.prove if isinstance(thing, Certifier) else thing.climb
        return {"does": (inspect.getdoc(sys.modules[made.__module__]) or "").split("\n", 1)[0], "settings": settings, "cites": thing.cites}
    if hasattr(thing, "_fields"):
        return {"does": (inspect.getdoc(getattr(thing, "wrap", type(thing))) or "").split("\n", 1)[0]}
    return {"does": (inspect.getdoc(thing) or "").split("\n", 1)[0]}


def _runs(out: str) -> list[dict[str, str]]:
    from sparring.core.errors import RecordError
    from sparring.records.record import Record
    from sparring.records.store import Store

    store = Store(out)
    found = []
    for name in store.names(""):
        if store.exists(f"{name}/run.json"):
            try:
                header = Record.open(store.inner(name).url).header
            except RecordError as error:
                found.append({"name": name, "status": "unreadable", "started": "", "cases": str(error)})
                continue
            cases = ", ".join(case["name"] for case in header["cases"])
            found.append({"name": name, "status": header["status"], "started": header["started"], "cases": cases})
    return sorted(found, key=lambda row: row["started"])
