"""Count the functions of the package that one ordinary call enters: how much code a reader must know to follow it.

    python scripts/count_functions.py run             # spar run, the embedded default plan
    python scripts/count_functions.py run take=100    # the same on fewer samples, which may leave some functions out
    python scripts/count_functions.py pgd             # one sp.attacks.pgd call, with everything it prepares
    python scripts/count_functions.py pgd --list      # with the name of every function, file by file

A function counts once however often it is entered, and so do methods, lambdas, and functions inside functions. The bodies of modules and
classes, comprehensions, and methods that `dataclass` and `NamedTuple` write do not count, nor what runs while the package is imported.
Victim and data of `pgd` are made before the count begins. The last line is one JSON object: functions, files, and the lines of the functions.
"""

import argparse
import json
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
"""Names of code that Python 3.11 enters as functions and later versions partly do not."""


def entered(call: Callable[[], object], root: Path) -> set[CodeType]:
    """Make a call, and return the code of all functions below the folder `root` that it entered, in any thread.

    Code that runs below the body of a module, while it is imported, is left out.
    """
    seen: set[CodeType] = set()
    importing = threading.local()

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_name == "<module>":
            importing.depth = getattr(importing, "depth", 0) + {"call": 1, "return": -1}.get(event, 0)
        elif event == "call" and not getattr(importing, "depth", 0):
            seen.add(code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return {code for code in seen if Path(code.co_filename).is_relative_to(root) and code.co_name not in COMPREHENSIONS}


def run_default(words: list[str]) -> Callable[[], object]:
    """Return a call of `spar run` that writes its record to a folder which is then deleted."""
    from sparring.cli.app import main

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            sys.argv = ["spar", "run", "--quiet", f"out={folder}", *words]
            try:
                main()
            except SystemExit as left:
                if left.code:
                    raise

    return call


def one_attack() -> Callable[[], object]:
    """Return a call of PGD on twenty digits and a robust network."""
    import sparring as sp
    from sparring.data.load import load
    from sparring.models.load import load_model

    data = load("digits", split="test", take=20)
    victim = load_model("zoo:digits-robust", data)
    return lambda: sp.attacks.pgd(victim, data.x, data.y, sp.linf(0.1))


def main() -> None:
    """Count, and print the sums; with --list the functions too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "pgd"], help="the call whose functions are counted")
    parser.add_argument("words", nargs="*", help="for run: keys that change the plan, as on the command line")
    parser.add_argument("--list", action="store_true", help="print the names of the functions too")
    given = parser.parse_args()
    if given.words and given.what == "pgd":
        parser.error("only run takes keys of a plan")
    import sparring

    root = Path(sparring.__file__).resolve().parent
    found = entered(run_default(given.words) if given.what == "run" else one_attack(), root)
    by_file: dict[str, list[CodeType]] = defaultdict(list)
    for code in found:
        by_file[str(Path(code.co_filename).relative_to(root))].append(code)
    lines = {code: max((line for *_, line in code.co_lines() if line), default=code.co_firstlineno) - code.co_firstlineno + 1 for code in found}
    if given.list:
        for file, codes in sorted(by_file.items()):
            print(f"{file}: {', '.join(code.co_qualname for code in sorted(codes, key=lambda one: one.co_firstlineno))}")
    print(json.dumps({"call": " ".join([given.what, *given.words]), "functions": len(found), "files": len(by_file), "lines": sum(lines.values())}))


if __name__ == "__main__":
    main()
