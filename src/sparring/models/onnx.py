"""ONNX files as victims: scores and labels through onnxruntime, gradients through the same network in torch."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import AccessError, LoadError
from sparring.core.fingerprint import digest
from sparring.core.task import Task
from sparring.graph.builder import Built
from sparring.graph.from_onnx import import_onnx, read_content, start
from sparring.models.adapter import adapter
from sparring.models.differentiate import DifferentiableVictim
from sparring.tasks.classes import Classes
from sparring.tasks.mask import Mask

log = logging.getLogger(__name__)

SLACK = 1e-3
"""Ten times what the imported network may differ by from onnxruntime."""


def _is_onnx(model: Any) -> bool:
    return isinstance(model, str | Path) and str(model).endswith((".onnx", ".onnx.gz"))


@adapter("onnx", _is_onnx, order=11)
class OnnxVictim(DifferentiableVictim):
    """Represent an .onnx file with one input and scores as its first output.

    A fixed batch size in the file is met by asking in pieces of it, the last one filled up with copies of its first row.

    Where every operator of the file is known, gradients are taken through a copy of the network in torch that was compared
    with onnxruntime; success is confirmed by onnxruntime. Where not, `no_gradients` says why.
    """

    def __init__(self, model: str | Path, domain: Domain, *, name: str | None = None, task: Task | None = None):
        path, self.task = Path(model), task or Classes()
        self.content = read_content(path)
        self.runtime = start(self.content, str(path))
        inputs = self.runtime.get_inputs()
        if len(inputs) != 1:
            raise LoadError(f"{path} has {len(inputs)} inputs ({', '.join(one.name for one in inputs)}): give a network with one input")
        self.input = inputs[0]
        self.domain = domain
        self.name = name or path.name.removesuffix(".gz").removesuffix(".onnx")
        self.type = np.dtype({"tensor(float)": "f4", "tensor(double)": "f8", "tensor(float16)": "f2"}.get(self.input.type, "f4"))
        rows = self.input.shape[0] if self.input.shape else None
        self.rows = rows if isinstance(rows, int) else None
        self.maps = isinstance(self.task, Mask)
        self.shape: tuple[int, ...] = ()
        self.task = self.task.fitted(self.scores(self._example()), self.name)
        self._network, self.no_gradients = self._imported()
        self.exposes = frozenset({"scores", "labels"} | ({"gradients"} if self._network else set()))
        self.exact = self._network is None
        self.slack = SLACK if self._network and self.type != np.dtype("f2") else math.inf

    def _imported(self) -> tuple[Built | None, str]:
        """The network in torch, or why there is none."""
        dtype = torch.float64 if self.type == np.dtype("f8") else torch.float32
        try:
            inner = self.inner(tuple(self._example().shape[1:]))
            return import_onnx(self.content, shape=inner, dtype=dtype, runtime=self.runtime, thorough=False, maps=self.maps), ""
        except LoadError as error:
            log.info("%s provides no gradients: %s", self.name, error)
            return None, str(error)

    def inner(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of one input in the file for the shape in the domain.

        None where the file says it.
        """
        sides = self.input.shape[1:] if len(self.input.shape) > 1 else self.input.shape
        return None if all(isinstance(side, int) and side > 0 for side in sides) else shape

    def _example(self) -> Tensor:
        return torch.zeros(self.rows or 1, *getattr(self.domain, "shape", (0,)))

    def scores(self, x: Batch) -> Tensor:
        fed = np.ascontiguousarray(self.domain.native(x), dtype=self.type)
        inner = self.input.shape[1:]
        if inner and all(isinstance(side, int) for side in inner) and fed.shape[1:] != tuple(inner):
            if int(np.prod(inner)) != int(np.prod(fed.shape[1:])):
                raise LoadError(f"{self.name} takes [n, {', '.join(map(str, inner))}] but the inputs are {self.domain}")
            fed = fed.reshape(len(fed), *inner)
        size = self.rows or max(1, len(fed))
        answers = [self._ask(fed[start : start + size], size) for start in range(0, len(fed), size)]
        return self.task.scores(torch.from_numpy(np.concatenate(answers)).float(), self.name)

    def _search(self, x: Tensor) -> Tensor:
        if self._network is None:
            raise AccessError(f"{self.name} provides no gradients: {self.no_gradients}")
        first = self._network.network
        kind = torch.float64 if self.type == np.dtype("f8") else torch.float32
        answer = self._network.answer(x.to("cpu", kind).reshape(-1, *first.input_shape))
        return self.task.scores(answer.reshape(len(answer), *self.shape), self.name)

    def search_scores(self, x: Batch) -> Tensor:
        return self.scores(x) if self._network is None else super().search_scores(x)

    def _ask(self, fed: np.ndarray, size: int) -> np.ndarray:
        missing = size - len(fed) if self.rows else 0
        full = np.concatenate([fed, np.repeat(fed[:1], missing, axis=0)]) if missing else fed
        try:
            answer = np.asarray(self.runtime.run(None, {self.input.name: full})[0])
        except Exception as error:  # onnxruntime's errors share no base class
            raise LoadError(f"{self.name} cannot take {self.domain}: {str(error).splitlines()[0]}") from error
        alone = len(full) == 1 and answer.ndim == 3 and len(answer) > 1  # the file has no axis for the batch
        inner = answer.shape if alone else answer.shape[1:]
        self.shape = tuple(inner) if self.maps and len(inner) in (2, 3) else (answer.size // len(full),)
        return answer.reshape(len(full), *self.shape)[: len(fed)]

    @property
    def fingerprint(self) -> str:
        return digest(self.content)
