"""ONNX files as victims: scores and labels through onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import LoadError
from sparring.core.victim import Victim
from sparring.models.adapter import adapter, as_scores, digest


def _is_onnx(model: Any) -> bool:
    return isinstance(model, str | Path) and str(model).endswith(".onnx")


@adapter("onnx", _is_onnx, order=5)
class OnnxVictim(Victim):
    """An .onnx file with one input and scores as its first output. A fixed batch size in the file is met by
    asking in pieces of it, the last one filled up with copies of its first row."""

    def __init__(self, model: str | Path, domain: Domain, *, name: str | None = None):
        try:
            import onnxruntime
        except ImportError as error:
            raise LoadError("ONNX files need onnxruntime: pip install 'sparring[onnx]'") from error
        path = Path(model)
        if not path.is_file():
            raise LoadError(f"{path} does not exist")
        self.content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.runtime = onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class
            raise LoadError(f"{path} is not an ONNX network that onnxruntime can read: {str(error).splitlines()[0]}") from error
        inputs = self.runtime.get_inputs()
        if len(inputs) != 1:
            raise LoadError(f"{path} has {len(inputs)} inputs ({', '.join(one.name for one in inputs)}); one is supported")
        self.input = inputs[0]
        self.domain = domain
        self.name = name or path.stem
        self.exposes = frozenset({"scores", "labels"})
        self.type = np.dtype({"tensor(float)": "f4", "tensor(double)": "f8", "tensor(float16)": "f2"}.get(self.input.type, "f4"))
        rows = self.input.shape[0] if self.input.shape else None
        self.rows = rows if isinstance(rows, int) else None
        self.classes = self.scores(self._example()).shape[1]

    def _example(self) -> Tensor:
        shape = getattr(self.domain, "shape", None) or (len(getattr(self.domain, "columns", ())),)
        return torch.zeros(self.rows or 1, *shape)

    def scores(self, x: Batch) -> Tensor:
        fed = np.ascontiguousarray(self.domain.native(x), dtype=self.type)
        inner = self.input.shape[1:]
        if inner and all(isinstance(side, int) for side in inner) and fed.shape[1:] != tuple(inner):
            if int(np.prod(inner)) != int(np.prod(fed.shape[1:])):
                raise LoadError(f"{self.name} takes [n, {', '.join(map(str, inner))}] but the inputs are {self.domain.say()}")
            fed = fed.reshape(len(fed), *inner)
        size = self.rows or max(1, len(fed))
        answers = [self._ask(fed[start : start + size], size) for start in range(0, len(fed), size)]
        return as_scores(torch.from_numpy(np.concatenate(answers)).float(), self.name)

    def _ask(self, fed: np.ndarray, size: int) -> np.ndarray:
        missing = size - len(fed) if self.rows else 0
        full = np.concatenate([fed, np.repeat(fed[:1], missing, axis=0)]) if missing else fed
        try:
            answer = np.asarray(self.runtime.run(None, {self.input.name: full})[0])
        except Exception as error:  # onnxruntime's errors share no base class
            raise LoadError(f"{self.name} cannot take {self.domain.say()}: {str(error).splitlines()[0]}") from error
        return answer.reshape(len(full), -1)[: len(fed)]

    @property
    def fingerprint(self) -> str:
        return digest(self.content)
