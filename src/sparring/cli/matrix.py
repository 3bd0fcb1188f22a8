"""What runs on which task: read from what attacks, goals and other things declare, and from what tasks and losses do."""

from typing import Any, get_type_hints

from sparring.core.errors import PlanError
from sparring.core.registry import ROOMS, everything
from sparring.core.victim import say_set

RUNS, REFUSED = "yes", "-"


def matrix(word: str, kind: str) -> list[dict[str, Any]]:
    """Return one row per thing of a kind: on which tasks it runs, and why not on the others.

    Args:
        word: What the kind is called on the command line.
        kind: Its name in the registry.

    Returns:
        Rows with name, tasks (from the kind of task to "yes", "-" or the setting with which it runs, as it is written in a plan) and why.

    Raises:
        PlanError: Where things of this kind do not declare tasks.
    """
    if kind not in ROOMS or not _declares(kind):
        raise PlanError(f"--tasks: {word} do not declare the tasks that they are for; ask for {', '.join(one for one in ROOMS if _declares(one))}")
    return [_row(name, thing) for name, thing in everything(kind).items()]


def _declares(kind: str) -> bool:
    return any(hasattr(thing, "tasks") for thing in everything(kind).values())


def _row(name: str, thing: Any) -> dict[str, Any]:
    declared = frozenset(getattr(thing, "tasks", ()))
    cells = {kind: RUNS if not declared or kind in declared else REFUSED for kind in everything("task")}
    why = [f"needs {say_set(declared)}"] if REFUSED in cells.values() else []
    loss = getattr(thing, "defaults", {}).get("loss")
    if isinstance(loss, str) and loss in everything("loss"):
        for kind, task in everything("task").items():
            if cells[kind] == RUNS and not everything("loss")[loss].fits(criterion_of(task)):
                cells[kind] = "loss=margin"
                why.append(f"no {loss} for {kind}")
    return {"name": name, "tasks": cells, "why": ", ".join(why)}


def criterion_of(task: type) -> type:
    """Return the kind of criterion that a task declares for a wrong answer."""
    found = get_type_hints(task.wrong).get("return")  # type: ignore[attr-defined]
    return found if isinstance(found, type) else object
