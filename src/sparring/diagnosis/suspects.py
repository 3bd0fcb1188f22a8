"""Finds suspicious parts of a network, which lose gradients, jump or are random."""

import contextlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from sparring.diagnosis.doctor import Subject

SAMPLES = 16
SMALL = 0.02  # size of a step, as a share of the deviation of what enters the part
AWAY = 0.2  # the same for the random way to where it is asked: inputs as they are sit on the kinks of ReLU and pooling
WRONG = 0.5  # share of the change that the gradient does not explain
ZERO = 0.9  # share of samples with a zero gradient; ReLU layers never come near it


class Suspect(NamedTuple):
    """Hold a suspicious part of a model.

    name: as in named_modules, "" for the model itself. kind: of module. why: "cuts", "zero", "jumps" or "random".
    """

    name: str
    kind: str
    why: str

    def __str__(self) -> str:
        said = {"cuts": "loses the gradient", "zero": "has a zero gradient", "jumps": "changes differently from its gradient", "random": "answers at random"}
        return f"{self.name or 'the model itself'} ({self.kind}) {said[self.why]}"


def suspects(subject: Subject) -> list[Suspect]:
    """Return the suspicious parts in the order of the forward pass, of nested ones the inner.

    Each part that takes one tensor and gives one is queried by itself with its own inputs: twice, and a small step further.
    This is done once per subject.
    """
    module = subject.module
    return subject.kept("suspects", lambda: _suspects(module, subject.x[:SAMPLES]) if module else [])


def _suspects(module: nn.Module, x: Tensor) -> list[Suspect]:
    names = {id(one): name for name, one in module.named_modules()}
    seen: dict[str, tuple[nn.Module, Tensor]] = {}

    def look(one: nn.Module, inputs: Any, output: Any) -> None:
        if id(one) in names and len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            seen.setdefault(names[id(one)], (one, inputs[0].detach().clone()))

    handle = register_module_forward_hook(look)
    try:
        first = next(module.parameters(), x)
        with torch.no_grad():
            module(x.to(first.device, first.dtype if first.is_floating_point() else x.dtype).clone())
    finally:
        handle.remove()
    found = [Suspect(name, type(one).__name__, why) for name, (one, z) in seen.items() if z.is_floating_point() and (why := _complaint(one, z))]
    return [one for one in found if not any(_inside(other.name, one.name) for other in found)]


def _complaint(part: nn.Module, z: Tensor) -> str:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        spread = _flat(z).std(1, correction=0).reshape(-1, *[1] * (z.ndim - 1))
        z = z + AWAY * spread * torch.randn_like(z)
        point = z.clone().requires_grad_(True)
        with contextlib.suppress(RuntimeError):  # a part that cannot be asked alone is not accused
            before = part(point)
            if not isinstance(before, Tensor) or not before.is_floating_point() or len(before) != len(z):
                return ""
            with torch.no_grad():
                again = part(z.clone())
            if not torch.allclose(before.detach(), again, rtol=1e-3, atol=1e-5 * float(before.detach().abs().amax() + 1e-12)):
                return "random"
            if not before.requires_grad:
                return "cuts"
            way = SMALL * spread * torch.randn_like(z)
            with torch.no_grad():
                change = _flat(part(z + way) - before)
            return _differs(before, point, way, change)
    return ""


def _flat(z: Tensor) -> Tensor:
    """[n, d]; a part may give one number a sample."""
    return z.reshape(len(z), -1)


def _differs(before: Tensor, point: Tensor, way: Tensor, change: Tensor) -> str:
    """Compare a change with what the gradient says of it, along some random mixtures of the outputs."""
    apart, size, zero = torch.zeros(len(way)), torch.zeros(len(way)), torch.ones(len(way), dtype=torch.bool)
    for _ in range(4):
        mix = torch.randn_like(change)
        (grad,) = torch.autograd.grad((_flat(before) * mix).sum(), point, retain_graph=True, allow_unused=True)
        if grad is None:
            return "cuts"
        said, true = _flat(grad * way).sum(1).cpu(), (change * mix).sum(1).cpu()
        zero &= _flat(grad == 0).all(1).cpu()
        apart, size = apart + (said - true).square(), size + true.square() + said.square() / 1e6
    if float(zero.double().mean()) >= ZERO:
        return "zero"
    return "jumps" if float((apart / size.clamp_min(1e-30)).sqrt().median()) > WRONG else ""


def _inside(name: str, outer: str) -> bool:
    return name != outer and (not outer or name.startswith(outer + "."))
