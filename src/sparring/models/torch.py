"""Torch modules (and exported programs) as victims: gradients, scores, labels."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.core.evaluating import evaluating, frozen, modal_parts
from sparring.core.fingerprint import digest
from sparring.core.task import Task
from sparring.models.adapter import adapter
from sparring.models.class_names import names_in_config, task_in_config
from sparring.models.differentiate import DifferentiableVictim
from sparring.models.misfit import misfit
from sparring.models.normalisation import Layout, Normalisation, Numbers
from sparring.models.outputs import Adapted, is_probability
from sparring.models.prepare import prepare
from sparring.models.state import State
from sparring.tasks.classes import Classes

PIECE = 256
"""Inputs per pass on a CPU; more were measured to be slower."""

SLACK = 1e-3
"""Ten times what `prepare` lets a copy differ by from the original."""

SHOWN = 3
"""Classes of parts that a caution names."""

Search = Literal["fast", "bfloat16", "plain"]


@adapter("torch", lambda model: isinstance(model, nn.Module | ExportedProgram), order=10)
class TorchVictim(DifferentiableVictim):
    """Represent a torch module, which is evaluated in evaluation mode.

    Mode, parameters, `.grad` and hooks are as before afterwards. Of a compiled module the original is asked: it is the same function up to rounding,
    and need not be compiled for every batch size.

    task: what it answers, classes if left out; one score is that of class 1 against 0, and where a sigmoid comes last its logit. output: the key, field
    or place of the scores, where the module returns several outputs. mean, std, scale, layout: the module gets (x * scale - mean) / std, with channels
    last if so asked; see `Normalisation`.

    search: how gradients are taken. "fast": on a private copy prepared for speed and checked against the original; "bfloat16": a private copy in low
    precision; "plain": on the module itself. Whatever the search, success is confirmed by the module as it is.
    """

    def __init__(
        self, model: nn.Module | ExportedProgram, domain: Domain, *, name: str | None = None, search: Search = "fast", task: Task | None = None,
        output: str | int | None = None, mean: Numbers | None = None, std: Numbers | None = None, scale: Numbers | None = None, layout: Layout | None = None,
    ):  # fmt: skip
        if search not in ("fast", "bfloat16", "plain"):
            raise LoadError(f'search={search!r}: choose "fast", "bfloat16" or "plain"')
        model = vars(model).get("_modules", {}).get("_orig_mod", model)  # where torch.compile keeps it
        self.module = model.module() if isinstance(model, ExportedProgram) else model
        self.exported = isinstance(model, ExportedProgram)
        self.program = model if isinstance(model, ExportedProgram) else None
        self.graph = str(model.graph) if isinstance(model, ExportedProgram) else ""
        self.modal = [] if self.exported else modal_parts(self.module)
        self.name = name or type(model).__name__
        self.task: Task = task or task_in_config(model, self.name)
        self.domain = domain
        self.exposes = frozenset({"gradients", "scores", "labels"})
        self.search: Search = "plain" if self.exported else search
        self.exact = self.search == "plain"
        self.slack = SLACK if self.search == "fast" else math.inf
        self._copy: nn.Module | None = None
        self._open = 0  # sessions
        self.rows = _fixed_rows(model) if isinstance(model, ExportedProgram) else None
        self._refuse_meta()
        first = next(self.module.parameters(), None)
        self.device = first.device if first is not None else torch.device("cpu")
        self.dtype = first.dtype if first is not None and first.is_floating_point() else torch.float32
        self.writes = False
        self.class_names = names_in_config(model) if isinstance(self.task, Classes) else []
        feed = Normalisation.of(domain, mean=mean, std=std, scale=scale, layout=layout)
        feed = feed and feed.to(self.device, self.dtype)
        plain = feed is None and output is None
        tried = self.module if plain else Adapted(self.module, feed, output, self.name)
        given = self._tried(tried)
        if plain and not isinstance(given, Tensor | None):
            tried = Adapted(self.module, None, None, self.name)
            given = self._tried(tried)
        self.probability = isinstance(self.task, Classes) and is_probability(given)
        if self.probability:
            tried = Adapted(self.module, feed, output, self.name, probability=True)
        if tried is not self.module:
            self.module, self.program = tried, None
        with self.session():
            self.writes = self._writes()
            self.task = self.task.fitted(self.scores(self._example()), self.name)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without the private copy, which is made again if needed."""
        return {**self.__dict__, "_copy": None, "_open": 0}

    def _example(self) -> Tensor:
        shape = getattr(self.domain, "shape", None)
        if shape is None:
            raise LoadError(f"{self.name} is a torch module, but the inputs are {self.domain.kind}: wrap it in a function that maps strings to scores")
        low, high = (torch.as_tensor(edge, dtype=torch.float64) for edge in (self.domain.low, self.domain.high))  # type: ignore[attr-defined]
        middle = ((low.clamp(-1e3, 1e3) + high.clamp(-1e3, 1e3)) / 2).to(self.device, self.dtype)
        return (torch.zeros(self.rows or 2, *shape, device=self.device, dtype=self.dtype) + middle).contiguous()

    def _refuse_meta(self) -> None:
        if any(one.is_meta for one in (*self.module.parameters(), *self.module.buffers())):
            raise LoadError(f"{self.name} has weights on the meta device, which holds no numbers: load them, model.to_empty(device='cpu').load_state_dict(...)")

    def _tried(self, module: nn.Module) -> Any:
        """What a module returns about an example; None where it cannot take it, which is told later."""
        with frozen(module), evaluating(module), super().session(), torch.enable_grad():
            try:
                return module(self._example().requires_grad_(True))
            except Exception:  # a foreign module may raise anything
                return None

    def _writes(self) -> bool:
        """Whether the module changes its input in place."""
        with torch.no_grad():
            given = self._example()
            before = given._version
            self._call(self.module, given)
        return given._version != before

    def _call(self, module: nn.Module, x: Tensor) -> Tensor:
        """Scores of any number of inputs, in pieces that fit the caches of a processor, or of the batch size that an exported program fixes."""
        if self.rows and len(x) != self.rows:
            pieces = [(piece, self.rows - len(piece)) for piece in x.split(self.rows)]
            return torch.cat([self._call(module, torch.cat([one, one[:1].expand(lack, *one.shape[1:])]))[: len(one)] for one, lack in pieces])
        if len(x) > 2 * PIECE and self.device.type == "cpu" and not x.requires_grad:
            return torch.cat([self._call(module, piece) for piece in x.split(PIECE)])
        try:
            return self.task.scores(module(x.to(self.device, self.dtype)), self.name)
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
            if isinstance(error, LoadError):
                raise
            raise LoadError(f"{self.name} cannot take {self.domain}: {misfit(module, self.domain, error)}") from error

    def scores(self, x: Tensor) -> Tensor:
        with torch.no_grad(), self._as_deployed():
            return self._call(self.module, x.clone()).to(x.device)  # a model may write into its input

    def _search(self, x: Tensor) -> Tensor:
        if self.search != "plain" and self._copy is None:
            self._copy = prepare(self.module, self._example(), precision="bfloat16" if self.search == "bfloat16" else "exact")
        with self._as_deployed():
            return self._call(self.module if self._copy is None else self._copy, x.clone() if self.writes else x)

    @contextlib.contextmanager
    def _as_deployed(self) -> Iterator[None]:
        """Ask in evaluation mode, also outside a session, and leave modes and buffers as they were."""
        if self._open or self.exported:
            yield
        else:
            with evaluating(self.module):
                yield

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        if self.exported:
            with super().session(seed):
                yield
            return
        with frozen(self.module), evaluating(self.module), super().session(seed):
            self._open += 1
            try:
                yield
            finally:
                self._open -= 1

    @property
    def was_training(self) -> bool:
        """Return whether the module came in training mode and answers otherwise there."""
        return bool(self.modal)

    @property
    def caution(self) -> str:
        if not self.modal:
            return ""
        said = f"{self.name} came in training mode, in which {', '.join(self.modal[:SHOWN])} answer otherwise, and is asked in evaluation mode"
        return f"{said}: call eval() before, or give a function if it is deployed in training mode"

    @property
    def fingerprint(self) -> str:
        return digest(repr(self.module), self.graph, self.search, *State(self.module).parts)

    @property
    def complete(self) -> bool:
        return not State(self.module).missing

    def describe(self) -> dict[str, Any]:
        count = sum(parameter.numel() for parameter in self.module.parameters())
        return {**super().describe(), "parameters": count, "search": self.search}


def _fixed_rows(program: ExportedProgram) -> int | None:
    """Return the batch size of an exported program; None if it takes any."""
    names = set(program.graph_signature.user_inputs)
    shapes = [getattr(node.meta.get("val"), "shape", ()) for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return shapes[0][0] if shapes and shapes[0] and isinstance(shapes[0][0], int) else None
