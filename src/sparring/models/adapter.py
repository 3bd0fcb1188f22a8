"""From what people have to a `Victim`: the first adapter that accepts an object takes it."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.core.registry import everything, register
from sparring.core.task import Task
from sparring.core.victim import Victim

Kind = TypeVar("Kind", bound=type[Victim])


class Adapter(NamedTuple):
    """Hold a way to wrap models of one kind.

    accepts: whether this object can be wrapped. wrap: (object, domain, **settings) -> Victim. The adapter of lower `order` is tried first.
    """

    accepts: Callable[[Any], bool]
    wrap: Callable[..., Victim]
    order: int


def adapter(name: str, accepts: Callable[[Any], bool], *, order: int = 50) -> Callable[[Kind], Kind]:
    """Register a victim class as the adapter for what `accepts` says yes to."""

    def enter(wrap: Kind) -> Kind:
        register("adapter", name)(Adapter(accepts, wrap, order))
        return wrap

    return enter


def adapter_of(model: Any) -> Adapter | None:
    """Return the first adapter that accepts an object; None where there is none."""
    ranked: list[Adapter] = sorted(everything("adapter").values(), key=lambda one: one.order)
    return next((one for one in ranked if one.accepts(model)), None)


def victim(model: Any, domain: Domain, **settings: Any) -> Victim:
    """Return a model as a `Victim`.

    model: a torch module, an exported program, an ONNX path, a scikit-learn estimator or pipeline, or
    any callable from a batch to scores [n, classes]. task: `sp.tasks.values()` or another, where its answers are no classes.
    domain: what its inputs are, `image(28, 28)` say.
    settings: of the adapter, `name=...` for all. Raises LoadError where no adapter fits.
    """
    if isinstance(model, Victim):
        return model
    if not isinstance(domain, Domain):
        raise LoadError(f"the domain is {domain!r}: say what the inputs are with sp.image(28, 28), sp.table(frame) or sp.text()")
    task = settings.get("task")
    if task is not None and not isinstance(task, Task):
        raise LoadError(f"the task is {task!r}: give a Task, such as sparring.tasks.classes.Classes(10), or leave it out")
    chosen = adapter_of(model)
    if chosen is None:
        raise LoadError(
            f"cannot attack a {type(model).__module__}.{type(model).__name__}: give a torch module, an exported program, "
            "an .onnx path, a scikit-learn estimator or a callable that returns scores [n, classes]"
        )
    if task is not None and "task" not in inspect.signature(chosen.wrap).parameters:
        raise LoadError(f"{chosen.wrap.__name__} answers classes only: leave task= out")
    return chosen.wrap(model, domain, **settings)
