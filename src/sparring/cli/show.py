"""spar show: print the tables of a run, or the rows of one sample."""

from typing import Annotated

import typer

from sparring.cli.completion import complete_runs
from sparring.cli.terminal import echo


def command(
    run: Annotated[str, typer.Argument(help="A run folder, the beginning of its name, or last for the newest.", autocompletion=complete_runs)] = "last",
    sample: Annotated[str | None, typer.Option(help="Show the rows of the sample with this id.")] = None,
    out: Annotated[str, typer.Option(help="The folder or URL that holds the runs.")] = "runs",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Show the tables of a run, or the rows of one sample.

    Examples:

    \b
      spar show last
      spar show last --sample digits/test/00002
    """
    from sparring.bench.run import Run
    from sparring.cli.summary import latest, print_json, print_run
    from sparring.core.errors import UnknownName

    found = Run.open(latest(out, run))
    if sample is None:
        raise typer.Exit(print_run(found, as_json=json, quiet=quiet))
    table = found.table()
    rows = table[table.id == sample]
    if rows.empty:
        raise UnknownName("sample", sample, set(table.id))
    if json:
        print_json(rows.to_dict("records"))
    elif not quiet:
        from sparring.core.visible import visible
        from sparring.report.view import View

        cases = {case.name: case for case in View.of(found.record).cases}
        for column in ("wanted", "given"):
            rows = rows.assign(**{column: [cases[case].class_name(said) for case, said in zip(rows.case, rows[column], strict=True)]})
        columns = ["case", "attack", "status", "wanted", "given", "quality", "margin", "size", "queries", "note"]
        shown = rows[columns].map(lambda one: visible(one) if isinstance(one, str) else one)
        echo(shown.to_string(index=False, na_rep="-"), lines=True)
