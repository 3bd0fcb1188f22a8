"""The command `spar`: one thin file per command, torch imported only where it is used."""

import os
import sys

import typer

from sparring.cli import doctor, gate, ls, merge, new, report, run, show
from sparring.core.errors import SparringError

app = typer.Typer(
    name="spar",
    help="Attack, harden and certify machine-learning models, and write down what held.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
LOOSE = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command("run", context_settings=LOOSE)(run.command)
app.command("doctor", context_settings=LOOSE)(doctor.command)
app.command("ls")(ls.command)
app.command("show")(show.command)
app.command("report")(report.command)
app.command("gate")(gate.command)
app.command("merge")(merge.command)
app.command("new")(new.command)


def main() -> None:
    """Entry point. Exit codes: 0 done and gate met, 1 gate missed, 2 wrong use, 3 incomplete or failed, 130 interrupted."""
    import click

    sys.path.insert(0, os.getcwd())  # factories such as mypackage.models:make are looked for here, as `python -m` does
    try:
        code = app(standalone_mode=False)
    except SparringError as error:
        sys.stderr.write(f"spar: {error}\n")
        code = error.exit_code
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the record is valid, the same command continues\n")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
