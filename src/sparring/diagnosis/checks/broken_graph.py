"""D6: do gradients reach the input, and if not, where are they lost? Costs a shared gradient and one forward and backward of 4 samples."""

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check

SAMPLES = 4
NAMED = 3


@check(code="D6", title="Broken graph", needs={"gradients"}, tasks=EVERY_TASK)
def broken_graph(subject: Subject) -> Opinion:
    """Follow grad_fn through every module of a forward pass, to find where gradients end."""
    error = ""
    try:
        subject.gradient(next(iter(subject.losses)))
        attached = subject.attached
    except Exception as trouble:
        attached, error = False, f"Autograd failed ({type(trouble).__name__}: {trouble}). "
    lost: list[str] = []
    if subject.module:
        lost, reached = _follow(subject.module, subject.x[:SAMPLES])
        attached = attached and reached
    names = ", ".join(lost[:NAMED]) + (f" and {len(lost) - NAMED} more" if len(lost) > NAMED else "")
    cure = f"Give {names or 'the part that cuts the graph'} a differentiable substitute for the backward pass (BPDA), or use query attacks."
    if not attached:
        where = f"The gradient is lost in {names}." if lost else "No gradient reaches the input, and no single module is responsible."
        return Opinion("bad", error + where, cure, names or "unknown", "none")
    if lost:
        seen = f"The gradient is lost in {names}, although the scores still depend on the input through another path."
        return Opinion("caution", seen, cure, names, "none")
    return Opinion("ok", "Gradients reach the input through every module.", value="none", threshold="none")


def _follow(module: nn.Module, x: Tensor) -> tuple[list[str], bool]:
    """Modules, in the order they ended, whose input had a gradient and whose output has none, of nested
    ones the inner; and whether the output depends on the input at all. The session freezes the weights,
    so a gradient is the input's; where it cannot (weights of unregistered modules) only the second answer holds."""
    names = {id(one): name for name, one in module.named_modules()}
    found: list[tuple[str, nn.Module]] = []

    def look(one: nn.Module, inputs: Any, settings: Any, output: Any) -> None:
        came, went = list(_tensors((inputs, settings))), list(_tensors(output))
        if id(one) in names and went and any(t.requires_grad for t in came) and not any(t.requires_grad for t in went):
            found.append((names[id(one)], one))

    first = next(module.parameters(), x)
    point = x.detach().to(first.device, first.dtype if first.is_floating_point() else x.dtype).clone().requires_grad_(True)
    grads: tuple[Tensor | None, ...] = ()
    handle = register_module_forward_hook(look, with_kwargs=True)
    try:
        with torch.enable_grad():
            ends = [one for one in _tensors(module(point)) if one.requires_grad]
            with contextlib.suppress(RuntimeError):  # the shared gradient met the same error and tells it
                grads = torch.autograd.grad([one.sum() for one in ends], point, allow_unused=True) if ends else ()
    finally:
        handle.remove()
    inner = [(name, one) for name, one in found if not any(_within(other, name) for other, _ in found)]
    return list(dict.fromkeys(f"{name or 'the model itself'} ({type(one).__name__})" for name, one in inner)), any(one is not None for one in grads)


def _within(name: str, outer: str) -> bool:
    return name != outer and (not outer or name.startswith(outer + "."))


def _tensors(thing: Any) -> Iterable[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict):
        for one in thing.values():
            yield from _tensors(one)
    elif isinstance(thing, list | tuple):
        for one in thing:
            yield from _tensors(one)
