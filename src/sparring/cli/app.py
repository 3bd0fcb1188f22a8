"""The command `spar`: one thin file per command, torch imported only where it is used."""

import contextlib
import errno
import logging
import os
import sys
import traceback
import warnings
from typing import Annotated, Any

import typer

from sparring import __version__
from sparring.cli import certify, check_proof, doctor, gate, harden, ls, merge, new, report, run, show
from sparring.cli.completion import in_bash
from sparring.cli.process import stop_on_signals, tame_threads
from sparring.cli.terminal import Visibly, echo
from sparring.core.errors import ModelWarning, PluginWarning, SparringError, ThreatWarning
from sparring.core.visible import visible
from sparring.models.user_folder import kept, leave_path

app = typer.Typer(
    name="spar",
    help="Attack, harden and certify machine-learning models, and record the results.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(asked: bool) -> None:
    if asked:
        echo(f"sparring {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_say_version)] = False,
) -> None:
    """Attack, harden and certify machine-learning models, and record the results.

    Begin with: spar run model=zoo:digits-plain data=digits threat="linf 0.1"
    """


INTERRUPTED = 130
FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Errors of a full disk, which come without the name of the file."""

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
    stopped = stop_on_signals()
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Visibly())
    leave_path()
    with kept():
        sys.exit(_ran(stopped))


def _ran(stopped: list[str]) -> int:
    """Run the command of `sys.argv`, and return the exit code; stopped: names of signals that came meanwhile."""
    try:
        if os.environ.get("_SPAR_COMPLETE") == "complete_bash" and "COMP_WORDS" in os.environ:
            in_bash(lambda: app(sys.argv[1:], prog_name="spar", complete_var="_SPAR_COMPLETE"))
            sys.exit(0)
        with warnings.catch_warnings():
            warnings.showwarning = _showing_visibly(warnings.showwarning)
            code = app(sys.argv[1:] or ["--help"], prog_name="spar", standalone_mode=False, complete_var="_SPAR_COMPLETE")
    except SparringError as error:
        echo(f"spar: {error}", err=True)
        code = error.exit_code
    except MISUSE as error:
        echo(f"spar: {error.format_message()} (spar --help lists the commands, spar COMMAND --help its options)", err=True)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            echo(traceback.format_exc(), lines=True, err=True)
        else:
            _say(f"spar: {error.filename or 'a file'} cannot be read or written ({error.strerror}): check the path, its permissions and the space on the disk")
        code = SparringError.exit_code
    except Exception:  # a slip of ours: say all, and do not let it pass for a missed gate
        echo(traceback.format_exc(), lines=True, err=True)
        code = SparringError.exit_code
    if code == INTERRUPTED:
        _say(f"{f'stopped by {stopped[0]}' if stopped else 'interrupted'}: the record is valid; run the same command again to continue")
        code = SparringError.exit_code if stopped else code
    return code if isinstance(code, int) else 0


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        echo(sentence, err=True)


def _showing_visibly(show: Any) -> Any:
    """A way to show warnings that lets no text control the terminal; ours stand in one line, without their place in the code."""

    def told(message: Warning | str, category: type[Warning], *more: Any) -> None:
        if issubclass(category, ModelWarning | PluginWarning | ThreatWarning):
            echo(f"spar: {message}", err=True)
        else:
            show(visible(message), category, *more)

    return told


if __name__ == "__main__":
    main()
