"""Torch modules (and exported programs) as victims: gradients, scores, labels."""

import contextlib
import inspect
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.core.victim import Graded, Objective, Victim
from sparring.models.adapter import adapter, as_scores, digest
from sparring.models.prepare import prepare

PIECE = 256
"""Inputs asked at once on a processor; more measured slower."""

SLACK = 1e-3
"""Ten times what `prepare` lets a copy differ by from the original."""

Search = Literal["fast", "bfloat16", "plain"]


@adapter("torch", lambda model: isinstance(model, nn.Module | ExportedProgram), order=10)
class TorchVictim(Victim):
    """A torch module, asked in evaluation mode; mode, parameters, `.grad` and hooks are as before afterwards.

    search: how gradients are taken. "fast": on a private copy prepared for speed and checked against
    the original; "bfloat16": a private copy in low precision; "plain": on the module itself. Whatever the
    search, success is confirmed by the module as it is.
    """

    def __init__(self, model: nn.Module | ExportedProgram, domain: Domain, *, name: str | None = None, search: Search = "fast"):
        if search not in ("fast", "bfloat16", "plain"):
            raise LoadError(f'search={search!r}: choose "fast", "bfloat16" or "plain"')
        self.module = model.module() if isinstance(model, ExportedProgram) else model
        self.exported = isinstance(model, ExportedProgram)
        self.graph = str(model.graph) if isinstance(model, ExportedProgram) else ""
        self.was_training = self.module.training and not self.exported
        self.name = name or type(model).__name__
        self.domain = domain
        self.exposes = frozenset({"gradients", "scores", "labels"})
        self.search: Search = "plain" if self.exported else search
        self.exact = self.search == "plain"
        self.slack = SLACK if self.search == "fast" else math.inf
        self._copy: nn.Module | None = None
        first = next(self.module.parameters(), None)
        self.device = first.device if first is not None else torch.device("cpu")
        self.dtype = first.dtype if first is not None and first.is_floating_point() else torch.float32
        with self.session():
            self.classes = self.scores(self._example()).shape[1]

    def _example(self) -> Tensor:
        shape = getattr(self.domain, "shape", None)
        if shape is None:
            columns = getattr(self.domain, "columns", None)
            if columns is None:
                raise LoadError(f"{self.name} is a torch module but the inputs are {self.domain.kind}: wrap it in a callable from strings to scores")
            shape = (len(columns),)
        low, high = (torch.as_tensor(edge, dtype=torch.float64) for edge in (self.domain.low, self.domain.high))  # type: ignore[attr-defined]
        middle = ((low.clamp(-1e3, 1e3) + high.clamp(-1e3, 1e3)) / 2).to(self.device, self.dtype)
        return (torch.zeros(2, *shape, device=self.device, dtype=self.dtype) + middle).contiguous()

    def _call(self, module: nn.Module, x: Tensor) -> Tensor:
        """Scores of any number of inputs, asked in pieces that fit the caches of a processor."""
        if len(x) > 2 * PIECE and self.device.type == "cpu" and not x.requires_grad:
            return torch.cat([self._call(module, piece) for piece in x.split(PIECE)])
        try:
            return as_scores(module(x.to(self.device, self.dtype)), self.name)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, LoadError):
                raise
            raise LoadError(f"{self.name} cannot take {self.domain.say()} (fed {tuple(x.shape)}): {str(error).splitlines()[0]}") from error

    def scores(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self._call(self.module, x.clone()).to(x.device)  # a model may write into its input

    def search_scores(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self._call(self._searched(), x).to(x.device)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            scores = self._call(self._searched(), point)
            value = objective(scores.to(point.device))
            if value.requires_grad:
                (grad,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
            else:
                grad = None
        grad = torch.zeros_like(x) if grad is None else grad.detach()
        return Graded(scores.detach().to(x.device), value.detach(), grad)

    def gradients(self, x: Tensor, classes: Tensor) -> Graded:
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            scores = self._call(self._searched(), point).to(point.device)
            value = scores.gather(1, classes)
            grads = [
                torch.autograd.grad(column.sum(), point, retain_graph=place + 1 < classes.shape[1], allow_unused=True)[0] if value.requires_grad else None
                for place, column in enumerate(value.unbind(1))
            ]
        grad = torch.stack([torch.zeros_like(x) if one is None else one.detach() for one in grads], 1)
        return Graded(scores.detach().to(x.device), value.detach(), grad)

    def _searched(self) -> nn.Module:
        if self.search == "plain":
            return self.module
        if self._copy is None:
            self._copy = prepare(self.module, self._example(), precision="bfloat16" if self.search == "bfloat16" else "exact")
        return self._copy

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        if self.exported:
            with super().session(seed):
                yield
            return
        modes = [(module, module.training) for module in self.module.modules()]
        frozen = [(parameter, parameter.requires_grad) for parameter in self.module.parameters()]
        buffers = [(module, name, buffer, buffer.clone()) for module in self.module.modules() for name, buffer in module._buffers.items() if buffer is not None]
        try:
            self.module.eval()
            for parameter, _ in frozen:
                parameter.requires_grad_(False)
            with super().session(seed):
                yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, needed in frozen:
                parameter.requires_grad_(needed)
            for module, name, buffer, was in buffers:
                if not torch.equal(buffer, was):
                    buffer.copy_(was)
                module._buffers[name] = buffer

    @property
    def fingerprint(self) -> str:
        parts: list[bytes | str] = [repr(self.module), self.graph, self.search]
        with contextlib.suppress(OSError, TypeError):
            parts.append(inspect.getsource(type(self.module)))
        for name, value in self.module.state_dict().items():
            parts.append(f"{name} {value.dtype} {tuple(value.shape)}")
            parts.append(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
        return digest(*parts)

    def describe(self) -> dict[str, Any]:
        count = sum(parameter.numel() for parameter in self.module.parameters())
        return {**super().describe(), "parameters": count, "search": self.search}
