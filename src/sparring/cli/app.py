"""The command `spar`: one thin file per command, torch imported only where it is used."""

import os
import sys
import traceback
import warnings
from typing import Annotated, Any

import typer

from sparring import __version__
from sparring.cli import certify, check_proof, doctor, gate, harden, ls, merge, new, report, run, show
from sparring.cli.completion import in_bash
from sparring.cli.process import tame_threads
from sparring.core.errors import PluginWarning, SparringError
from sparring.models.user_folder import kept, leave_path

app = typer.Typer(
    name="spar",
    help="Attack, harden and certify machine-learning models, and record the results.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sparring {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_say_version)] = False,
) -> None:
    """Attack, harden and certify machine-learning models, and record the results.

    Begin with: spar run model=zoo:digits-plain data=digits threat="linf 0.1"
    """


INTERRUPTED = 130
MISUSE: type[typer.BadParameter] = typer.BadParameter.__mro__[1]
"""The base of typer's complaints about arguments, which it has exported under no name of its own in all versions."""

LOOSE = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command("run", context_settings=LOOSE)(run.command)
app.command("doctor", context_settings=LOOSE)(doctor.command)
app.command("certify", context_settings=LOOSE)(certify.command)
app.command("check-proof")(check_proof.command)
app.command("harden", context_settings=LOOSE)(harden.command)
app.command("ls")(ls.command)
app.command("show")(show.command)
app.command("report")(report.command)
app.command("gate")(gate.command)
app.command("merge")(merge.command)
app.command("new")(new.command)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done and gate met, 1 gate missed, 2 wrong use, 3 incomplete or failed, 130 interrupted.
    """
    tame_threads()
    leave_path()
    with kept():
        sys.exit(_ran())


def _ran() -> int:
    """Run the command of `sys.argv`, and return the exit code."""
    try:
        if os.environ.get("_SPAR_COMPLETE") == "complete_bash" and "COMP_WORDS" in os.environ:
            in_bash(lambda: app(sys.argv[1:], prog_name="spar", complete_var="_SPAR_COMPLETE"))
            sys.exit(0)
        with warnings.catch_warnings():
            warnings.showwarning = _telling_of_plugins(warnings.showwarning)
            code = app(sys.argv[1:] or ["--help"], prog_name="spar", standalone_mode=False, complete_var="_SPAR_COMPLETE")
    except SparringError as error:
        sys.stderr.write(f"spar: {error}\n")
        code = error.exit_code
    except MISUSE as error:
        sys.stderr.write(f"spar: {error.format_message()} (spar --help lists the commands, spar COMMAND --help its options)\n")
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception:  # a slip of ours: say all, and do not let it pass for a missed gate
        traceback.print_exc()
        code = SparringError.exit_code
    if code == INTERRUPTED:
        sys.stderr.write("interrupted: the record is valid; run the same command again to continue\n")
    return code if isinstance(code, int) else 0


def _telling_of_plugins(show: Any) -> Any:
    """A way to show warnings that puts those about plugins in one line, without the place in our code where they were noticed."""

    def told(message: Warning | str, category: type[Warning], *more: Any) -> None:
        if issubclass(category, PluginWarning):
            sys.stderr.write(f"spar: {message}\n")
        else:
            show(message, category, *more)

    return told


if __name__ == "__main__":
    main()
