"""D5: does the model optimise while it answers? Costs one forward of 4 samples."""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check

SAMPLES = 4

PLACES: tuple[tuple[Any, str, str], ...] = (
    (torch.autograd, "grad", "autograd.grad"),
    (torch.autograd, "backward", "autograd.backward"),
    (torch.Tensor, "backward", "Tensor.backward"),
    (torch.autograd, "_engine_run_backward", "autograd"),  # whoever imported `grad` by name passes here
)


@check(code="D5", title="Optimisation at inference", needs={"labels"}, tasks=EVERY_TASK)
def inference_optimisation(subject: Subject) -> Opinion:
    """Watch whether a plain forward pass differentiates or optimises anything."""
    with _watch() as seen:
        subject.ask(subject.x[:SAMPLES])
    if not seen:
        return Opinion("ok", "A plain forward ran no backward pass and no optimiser.", value=0.0, threshold=0.0)
    calls = ", ".join(f"{name} {times} times" if times > 1 else f"{name} once" for name, times in seen.items())
    cure = "Attack adaptively: differentiate through the unrolled optimisation, attack the model without it and transfer, or use query attacks."
    return Opinion("bad", f"A plain forward of {min(SAMPLES, len(subject))} samples called {calls}.", cure, float(seen.total()), 0.0)


@contextlib.contextmanager
def _watch() -> Iterator[Counter[str]]:
    """Count calls that optimise; a call made by another counted call is not counted again."""
    seen: Counter[str] = Counter()
    inside: list[str] = []

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(*args: Any, **settings: Any) -> Any:
            if not inside:
                seen[name] += 1
            inside.append(name)
            try:
                return call(*args, **settings)
            finally:
                inside.pop()

        return wrapper

    def stepped(optimiser: Any, *_: Any) -> None:
        seen[f"{type(optimiser).__name__}.step"] += 1

    before = [(owner, place, name, getattr(owner, place)) for owner, place, name in PLACES if hasattr(owner, place)]
    handle = register_optimizer_step_pre_hook(stepped)
    try:
        for owner, place, name, call in before:
            setattr(owner, place, counted(name, call))
        yield seen
    finally:
        handle.remove()
        for owner, place, _, call in before:
            setattr(owner, place, call)
