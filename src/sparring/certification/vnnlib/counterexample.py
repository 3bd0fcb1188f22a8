"""Counterexamples: confirmed on the deployed network and written in the VNN-COMP format."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from sparring.certification.vnnlib.property import TOLERANCE, Property
from sparring.core.errors import LoadError
from sparring.graph.network import Network


class Standing(StrEnum):
    """Name the status of a counterexample.

    What a counterexample is worth. HOLDS: onnxruntime's own answer is unsafe, without any tolerance, and float64 agrees up to `TOLERANCE`.
    NEARLY: only within `TOLERANCE`, which shows nothing. FAILS: not even that.
    """

    HOLDS = "holds"
    NEARLY = "holds only within the tolerance"
    FAILS = "fails"


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Hold a counterexample.

    x float64 [inputs], y float64 [outputs]: an input, and what onnxruntime answers to it in the file's own precision.
    """

    x: np.ndarray
    y: np.ndarray
    standing: Standing

    def text(self) -> str:
        """Return the counterexample as the competition writes it.

        ((X_0 0.5) ... (Y_0 1.25)), with numbers that read back as they were.
        """
        named = [*(f"(X_{i} {value!r})" for i, value in enumerate(self.x.tolist())), *(f"(Y_{i} {value!r})" for i, value in enumerate(self.y.tolist()))]
        return "(" + "\n".join(named) + ")\n"


@dataclass(frozen=True, eq=False)
class Deployed:
    """Hold a network and its onnxruntime session.

    A network in both forms: as it is reasoned about, and the onnxruntime session of the same file.
    """

    network: Network
    runtime: Any

    @property
    def inputs(self) -> int:
        """Return the number of inputs."""
        return int(torch.Size(self.network.input_shape).numel())

    def answer(self, x: np.ndarray) -> np.ndarray:
        """Return the answer of onnxruntime to x, float64 [outputs].

        x: float64 [inputs], cast to the type that the file takes.
        """
        taken = self.runtime.get_inputs()[0]
        sides = [side if isinstance(side, int) and side > 0 else 1 for side in taken.shape]
        fed = np.tile(x, max(1, int(np.prod(sides)) // len(x))).reshape(sides)
        try:
            answered = self.runtime.run(None, {taken.name: fed.astype(FLOATS.get(taken.type, np.dtype("f4")))})[0]
        except Exception as error:  # onnxruntime's errors share no base class
            raise LoadError(f"onnxruntime cannot evaluate a counterexample: {str(error).splitlines()[0]}") from error
        return np.asarray(answered, np.float64).reshape(-1)[: self.network.outputs]

    def exact(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs of the network in float64, float64 [outputs]."""
        with torch.no_grad():
            return self.network(torch.from_numpy(x).double().reshape(1, *self.network.input_shape)).flatten().numpy()

    def replay(self, asked: Property, x: np.ndarray) -> Counterexample:
        """Compute a counterexample again in the type of the file.

        Compute x float64 [inputs] again, moved to an input that the file's type holds exactly and that lies in the box, if there is one.
        """
        best = Counterexample(x, self.answer(x), Standing.FAILS)
        kind = FLOATS.get(self.runtime.get_inputs()[0].type, np.dtype("f4"))
        for case in asked.cases:
            if case.contains(x, TOLERANCE):
                moved = held(x, *case.inside, kind)
                y = self.answer(moved)
                near = asked.unsafe(moved, y, TOLERANCE) and asked.unsafe(moved, self.exact(moved), TOLERANCE)
                if near and asked.unsafe(moved, y):
                    return Counterexample(moved, y, Standing.HOLDS)
                if near:
                    best = Counterexample(moved, y, Standing.NEARLY)
        return best


FLOATS = {"tensor(float)": np.dtype("f4"), "tensor(double)": np.dtype("f8"), "tensor(float16)": np.dtype("f2")}


def held(x: np.ndarray, low: np.ndarray, high: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Return the numbers of a type next to x that lie between low and high.

    Where there is none, x itself brought between them. float64 [inputs].
    """
    inside = np.clip(x, low, high)
    near = inside.astype(kind)
    up, down = np.nextafter(near, kind.type(np.inf)), np.nextafter(near, kind.type(-np.inf))
    near = np.where(near.astype(np.float64) < low, up, np.where(near.astype(np.float64) > high, down, near)).astype(np.float64)
    return np.where((low <= near) & (near <= high), near, inside)
