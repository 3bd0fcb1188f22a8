"""ONNX files as victims: scores and labels through onnxruntime, gradients through the same network in torch."""

import contextlib
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import AccessError, LoadError
from sparring.core.fingerprint import digest
from sparring.core.task import Task
from sparring.domains.image import Image
from sparring.graph.builder import MOST_NUMBERS, Built
from sparring.graph.from_onnx import import_onnx, read_content
from sparring.graph.onnx_module import OnnxFunction, differentiable
from sparring.graph.onnx_session import Session, TooLarge, parse
from sparring.models.adapter import adapter
from sparring.models.differentiate import DifferentiableVictim
from sparring.models.normalisation import Layout, Normalisation, Numbers, layout_of
from sparring.models.outputs import logit
from sparring.tasks.classes import Classes
from sparring.tasks.mask import Mask

log = logging.getLogger(__name__)

SLACK = 1e-3
"""Ten times what the imported network may differ by from onnxruntime."""

FEWEST = 8
"""Whole numbers that normalised pixels must at least become, where a file takes whole numbers: bytes become 256, a mean and a deviation make four or five."""

FLOATS = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(float16)": "f2"}
WHOLE = {"tensor(uint8)": "u1", "tensor(int8)": "i1", "tensor(int32)": "i4", "tensor(int64)": "i8"}
"""Types of tensors in ONNX and in NumPy."""

SHAPES = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"})
"""Operators that change the shape or type of an output only."""

MAPS = "seq(map("
"""Begins the type of an output of probabilities by the name of their class, as the converters of scikit-learn write it."""


Imported = TypeVar("Imported", Built, OnnxFunction)


class Output(NamedTuple):
    """Hold the output that is asked.

    name: its name. holds: scores, maps from class to probability, or labels.
    """

    name: str
    holds: Literal["scores", "maps", "labels"]


def _is_onnx(model: Any) -> bool:
    return isinstance(model, str | Path) and str(model).endswith((".onnx", ".onnx.gz"))


@adapter("onnx", _is_onnx, order=11)
class OnnxVictim(DifferentiableVictim):
    """Represent an .onnx file with one input.

    Scores are the output of floating point numbers, or of maps from class to probability. A file that returns class numbers alone exposes labels only,
    and `classes` says how many there are.

    A fixed batch size in the file is met by asking in pieces of it, the last one filled up with copies of its first row. Pixels reach a file that takes
    channels last, [n, height, width, channels], in that order; an input of whole numbers from 0 to 255 gets the range of the domain as such.

    Where every operator of the file is known (for bounds, or at least to torch), gradients are taken through a copy of the network in torch that was compared
    with onnxruntime; success is confirmed by onnxruntime. Where not, `no_gradients` says why.

    output: the name of the output with the scores, where several may hold them. mean, std, scale: the file gets (x * scale - mean) / std; see
    `Normalisation`. layout: "channels first" or "channels last", where the shape in the file does not tell.
    """

    def __init__(
        self, model: str | Path, domain: Domain, *, name: str | None = None, task: Task | None = None, classes: int | None = None,
        output: str | None = None, mean: Numbers | None = None, std: Numbers | None = None, scale: Numbers | None = None, layout: Layout | None = None,
    ):  # fmt: skip
        path, self.task = Path(model), task or Classes()
        self.content = read_content(path)
        self.runtime = Session(self.content, str(path))
        inputs = self.runtime.get_inputs()
        if len(inputs) != 1:
            raise LoadError(f"{path} has {len(inputs)} inputs ({', '.join(one.name for one in inputs)}): give a network with one input")
        self.input = inputs[0]
        self.domain = domain
        self.name = name or path.name.removesuffix(".gz").removesuffix(".onnx")
        if self.input.type not in {**FLOATS, **WHOLE}:
            raise LoadError(f"{path} takes {self.input.type}: give a network that takes a tensor of numbers")
        self.type = np.dtype({**FLOATS, **WHOLE}[self.input.type])
        self.output = _chosen(self.runtime.get_outputs(), output, str(path))
        rows = self.input.shape[0] if self.input.shape else None
        self.rows = rows if isinstance(rows, int) else None
        if (self.rows or 1) * math.prod(getattr(domain, "shape", ())) > MOST_NUMBERS:
            raise LoadError(f"{path} takes batches of {self.rows:,} inputs, which do not fit into the memory: export it with an open batch size")
        self.most = sys.maxsize
        self.order = _order(self.input.shape[1:], domain, layout_of(layout, domain), self.name)
        self.kind = torch.float64 if self.type == np.dtype("f8") else torch.float32
        self.normalisation = (found := Normalisation.of(domain, mean=mean, std=std, scale=scale)) and found.to(self.kind)
        if isinstance(domain, Image) and self.type.kind in "iu":
            self._refuse_range(domain, str(path))
        self.maps = isinstance(self.task, Mask)
        self.shape: tuple[int, ...] = ()
        self.class_names: list[str] = []
        self._network: Built | OnnxFunction | None = None
        self.probability = False
        if self.output.holds == "labels":
            self.no_gradients = f"its output {self.output.name} holds class numbers, not scores"
            self.task = self._of_labels(classes)
            self.exposes, self.exact, self.slack = frozenset({"labels"}), True, math.inf
            return
        self.probability = isinstance(self.task, Classes) and self._answers(self._example()).size == (self.rows or 1) and self._ends_in_sigmoid()
        self.task = self.task.fitted(self.scores(self._example()), self.name)
        self._network, self.no_gradients = self._imported()
        self.exposes = frozenset({"scores", "labels"} | ({"gradients"} if self._network else set()))
        self.exact = self._network is None
        self.slack = SLACK if self._network and self.type in (np.dtype("f4"), np.dtype("f8")) else math.inf

    def _refuse_range(self, domain: Image, where: str) -> None:
        """Refuse images whose values become a handful of whole numbers for the file, or numbers that its type does not have."""
        edges = torch.tensor([domain.low, domain.high], dtype=torch.float64).reshape(2, 1, 1, 1).expand(2, *domain.shape)
        least, most = (float(edge) for edge in self._scaled(edges).aminmax())
        takes, limits, steps = f"{where} takes whole numbers ({self.input.type})", np.iinfo(self.type), domain.high - domain.low
        if self.normalisation is None and most - least <= 2:
            raise LoadError(f"{takes}, the values of the images are in [{domain.low:g}, {domain.high:g}]: say scale=255")
        fits = limits.min <= round(least) and round(most) <= limits.max
        if fits and (self.normalisation is None or most - least >= FEWEST):
            return
        made = f"values in [{domain.low:g}, {domain.high:g}] become [{least:g}, {most:g}]"
        plain = self.type == np.dtype("u1") or (limits.min <= domain.low and domain.high <= limits.max and steps > 2)
        shifted = f"give scale={255 / steps:g} and mean={domain.low * 255 / steps - limits.min:g} only"
        cure = "leave out mean=, std= and scale=" if plain and self.normalisation is not None else shifted
        raise LoadError(f"{takes} from {limits.min} to {limits.max}, {made}{'' if fits else ', which wrap around'}: {cure}")

    def _of_labels(self, classes: int | None) -> Task:
        """The task of a file that returns class numbers alone."""
        if not isinstance(self.task, Classes):
            raise LoadError(f"{self.name} returns whole numbers, the task is {self.task}: give a network that returns scores")
        if classes is None:
            raise LoadError(f"{self.name} returns class numbers alone: say how many classes it has, sp.victim({self.name!r}, domain, classes=10)")
        return Classes(classes)

    def _imported(self) -> tuple[Built | OnnxFunction | None, str]:
        """The network in torch, or why there is none: as a graph that has bounds, else as a function of torch."""
        if self.output.holds == "maps":
            return None, f"its output {self.output.name} holds maps from class to probability: convert the model with zipmap=False"
        inner, output = self.inner(tuple(self._example().shape[1:])), self.output.name
        with contextlib.suppress(LoadError):
            given = import_onnx(self.content, shape=inner, dtype=self.kind, runtime=self.runtime, thorough=False, maps=self.maps, output=output)
            return self._one_by_one(given), ""
        try:
            return self._one_by_one(differentiable(self.content, self.name, self.runtime, shape=inner, output=output, spread=self._spread())), ""
        except LoadError as error:
            log.info("%s provides no gradients: %s", self.name, error)
            return None, str(error)

    def _one_by_one(self, found: Imported) -> Imported:
        """A network that takes one input of the domain at a time; LoadError for one whose inputs are whole batches."""
        if math.prod(found.input_shape) != math.prod(self._example().shape[1:]):
            raise LoadError(f"{self.name} does not treat the inputs of a batch each by itself: export it for a batch of 1, or with an open batch size")
        return found

    def _ends_in_sigmoid(self) -> bool:
        """Whether the output is a sigmoid, perhaps in another shape."""
        made = {name: node for node in parse(self.content, self.name).graph.node for name in node.output}
        node = made.get(self.output.name)
        while node is not None and node.op_type in SHAPES:
            node = made.get(node.input[0])
        return node is not None and node.op_type == "Sigmoid"

    def _spread(self) -> tuple[float, float]:
        """Middle and half width of what the file is fed, as far as that is bounded."""
        shape = tuple(self._example().shape[1:])
        edges = [torch.as_tensor(edge).double().expand(shape).clamp(-1, 1e3) for edge in (getattr(self.domain, "low", -1.0), getattr(self.domain, "high", 1.0))]
        low, high = (float(edge) for edge in self._scaled(torch.stack(edges)).aminmax())
        return (high + low) / 2, (high - low) / 2

    def inner(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of one input in the file for the shape in the domain.

        None where the file says it.
        """
        sides = self.input.shape[1:] if len(self.input.shape) > 1 else self.input.shape
        if all(isinstance(side, int) and side > 0 for side in sides):
            return None
        return shape if self.order is None else tuple(self.order.shape)

    def _example(self) -> Tensor:
        return torch.zeros(self.rows or 1, *getattr(self.domain, "shape", (0,)))

    def scores(self, x: Batch) -> Tensor:
        if self.output.holds == "labels":
            raise AccessError(f"{self.name} exposes labels, not scores")
        found = torch.from_numpy(self._answers(x)).float()
        return self.task.scores(logit(found) if self.probability else found, self.name)

    def answer(self, x: Batch) -> Tensor:
        if self.output.holds != "labels":
            return super().answer(x)
        labels = torch.from_numpy(self._answers(x).reshape(len(x), -1))
        if labels.shape[1] != 1:
            raise LoadError(f"{self.name} returned {labels.shape[1]} whole numbers per input: give a network that returns scores, or one class number")
        return labels[:, 0].to(torch.int64).where((labels[:, 0] >= 0) & (labels[:, 0] < self.classes), -1)

    def _answers(self, x: Batch) -> np.ndarray:
        """What the file returns for inputs of the domain, [n, ...]."""
        fed = self._fed(x)
        answers, start = [], 0
        while start < len(fed):
            size = self.rows or min(self.most, len(fed) - start)
            try:
                answers.append(self._ask(fed[start : start + size], size))
            except TooLarge:
                if size == 1 or self.rows:
                    raise
                self.most = size // 2
                continue
            start += size
        return np.concatenate(answers)

    def _fed(self, x: Batch) -> np.ndarray:
        """Inputs of the domain as the file takes them."""
        whole = self.type.kind in "iu"
        given = self._scaled(torch.from_numpy(np.array(self.domain.native(x), dtype=np.float64 if whole else self.type))).numpy()
        if whole:
            given = self._whole(given.round())
        if self.order is not None:
            given = given.reshape(len(given), -1)[:, self.order.flatten().numpy()].reshape(len(given), *self.order.shape)
        inner = self.input.shape[1:]
        if inner and all(isinstance(side, int) for side in inner) and given.shape[1:] != tuple(inner):
            if int(np.prod(inner)) != int(np.prod(given.shape[1:])):
                raise LoadError(f"{self.name} takes [n, {', '.join(map(str, inner))}] but the inputs are {self.domain}")
            given = given.reshape(len(given), *inner)
        return np.ascontiguousarray(given)

    def _whole(self, given: np.ndarray) -> np.ndarray:
        """Return whole numbers in the type of the file; LoadError for those that it does not have, which would wrap around."""
        limits = np.iinfo(self.type)
        if given.size and not (limits.min <= given.min() and given.max() <= limits.max):  # NaN too
            seen = f"[{given.min():g}, {given.max():g}]"
            raise LoadError(f"{self.name} takes whole numbers from {limits.min} to {limits.max}, the inputs become {seen}: give bounds, mean= or scale= to fit")
        return given.astype(self.type)

    def _scaled(self, given: Tensor) -> Tensor:
        """Return numbers of the domain as the file takes them: normalised, or for images as bytes the range of the domain as 0 to 255."""
        if self.normalisation is not None:
            return self.normalisation(given)
        if isinstance(self.domain, Image) and self.type == np.dtype("u1"):
            return (given - self.domain.low) * (255 / (self.domain.high - self.domain.low))
        return given

    def _search(self, x: Tensor) -> Tensor:
        if self._network is None:
            raise AccessError(f"{self.name} provides no gradients: {self.no_gradients}")
        given = self._scaled(x.to("cpu", self.kind))
        given = given if self.order is None else given.flatten(1)[:, self.order.flatten()]
        answer = self._network.answer(given.reshape(-1, *self._network.input_shape))
        found = answer.reshape(len(answer), *self.shape)
        return self.task.scores(logit(found) if self.probability else found, self.name)

    def search_scores(self, x: Batch) -> Tensor:
        return self.scores(x) if self._network is None else super().search_scores(x)

    def _ask(self, fed: np.ndarray, size: int) -> np.ndarray:
        missing = size - len(fed) if self.rows else 0
        full = np.concatenate([fed, np.repeat(fed[:1], missing, axis=0)]) if missing else fed
        (given,) = self.runtime.run([self.output.name], {self.input.name: full})
        answer = self._of_maps(given) if self.output.holds == "maps" else np.asarray(given)
        alone = len(full) == 1 and answer.ndim == 3 and len(answer) > 1  # the file has no axis for the batch
        inner = answer.shape if alone else answer.shape[1:]
        self.shape = tuple(inner) if self.maps and len(inner) in (2, 3) else (answer.size // len(full),)
        return answer.reshape(len(full), *self.shape)[: len(fed)]

    def _of_maps(self, given: Sequence[dict[Any, float]]) -> np.ndarray:
        """Probabilities [n, classes] from one map per input."""
        keys = sorted(given[0])
        self.class_names = [str(key) for key in keys]
        return np.array([[one[key] for key in keys] for one in given])

    @property
    def fingerprint(self) -> str:
        chosen = [self.output.name] if len(self.runtime.get_outputs()) > 1 else []
        normalised = [] if self.normalisation is None else [repr(self.normalisation)]
        return digest(self.content, *chosen, *([] if self.order is None else ["channels last"]), *normalised)


def _chosen(outputs: Sequence[Any], asked: str | None, where: str) -> Output:
    """The output with the scores: by its name where one is asked, else by its type."""
    names = [one.name for one in outputs]
    kinds = ["scores" if one.type in FLOATS else "maps" if one.type.startswith(MAPS) else "labels" if one.type in WHOLE else "" for one in outputs]
    listed = ", ".join(f"{one.name} ({one.type})" for one in outputs)
    if asked is not None:
        if asked not in names or not kinds[names.index(asked)]:
            raise LoadError(f"{where} has no output {asked!r} of numbers; its outputs are {listed}")
        return Output(asked, kinds[names.index(asked)])  # type: ignore[arg-type]
    for kind in ("scores", "maps", "labels"):
        places = [place for place, one in enumerate(kinds) if one == kind]
        if len(places) > 1:
            raise LoadError(f"{where} has several outputs that may hold {kind}, {listed}: name one, output={names[places[0]]!r}")
        if places:
            return Output(names[places[0]], kind)  # type: ignore[arg-type]
    raise LoadError(f"{where} returns no numbers; its outputs are {listed}: give a network that returns scores")


def _order(inner: Sequence[Any], domain: Domain, layout: str | None, name: str) -> Tensor | None:
    """Return which pixel of the domain stands at each place of the file, int64 [height, width, channels]; None where the order is the same.

    Raises:
        LoadError: Where the file takes as many numbers in another shape, so that pixels would be mixed up.
    """
    shape = tuple(getattr(domain, "shape", ()))
    sides = [side if isinstance(side, int) and side > 0 else None for side in inner]
    if not isinstance(domain, Image):
        return None
    last = torch.arange(math.prod(shape)).reshape(shape).permute(1, 2, 0)

    def fits(own: Sequence[int]) -> bool:
        return len(own) == len(sides) and all(side in (None, one) for side, one in zip(sides, own, strict=True))

    if layout is not None:
        return last if layout == "channels last" else None
    if fits(shape):
        return None
    if fits(tuple(last.shape)):
        return last
    known = [side for side in sides if side is not None]
    flat, same = len([side for side in sides if side != 1]) <= 1, [side for side in sides if side != 1] == [side for side in shape if side != 1]
    if flat or same or len(known) < len(sides) or math.prod(known) != math.prod(shape):
        return None
    raise LoadError(f"{name} takes [n, {', '.join(map(str, inner))}], the images are {domain}: describe the inputs in the shape of the file, sp.image(...)")
