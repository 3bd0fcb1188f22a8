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
from sparring.models.differentiate import graded, graded_classes
from sparring.models.evaluating import evaluating
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
        self.program = model if isinstance(model, ExportedProgram) else None
        self.exported = self.program is not None
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
            return self._search(x).to(x.device)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        return graded(self._search, x, objective)

    def gradients(self, x: Tensor, classes: Tensor) -> Graded:
        return graded_classes(self._search, x, classes)

    def _search(self, x: Tensor) -> Tensor:
        return self._call(self._searched(), x)

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
        frozen = [(parameter, parameter.requires_grad) for parameter in self.module.parameters()]
        try:
            for parameter, _ in frozen:
                parameter.requires_grad_(False)
            with evaluating(self.module), super().session(seed):
                yield
        finally:
            for parameter, needed in frozen:
                parameter.requires_grad_(needed)

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
