"""Backward pass differentiable approximation (BPDA): a substitute gradient for one part."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sparring.core.domain import Batch
from sparring.core.errors import LoadError, UnknownName
from sparring.core.fingerprint import digest
from sparring.core.foreign import in_our_words
from sparring.core.victim import Graded, Objective
from sparring.core.wrapped import Wrapped
from sparring.models.state import State
from sparring.models.torch import TorchVictim
from sparring.models.wanted import VictimLike, victim_of

Backward = Literal["identity", "secant"] | Callable[[Tensor], Tensor]
"""The substitute: "identity" (resized if only the size differs), "secant", or a differentiable function."""

REACH = 0.5
"""Half width of a secant, as a share of the deviation of what enters the module."""


class BpdaVictim(Wrapped):
    """Represent a torch module in which one part has a substitute gradient.

    Source: Athalye et al. 2018, arXiv:1802.00420, section 4.1.

    Scores and labels are those of the module itself. The module is not changed: the hook that swaps the gradient
    is there during a gradient only. With `repaired` the stand-in takes the part's place in the forward pass of gradients
    as well; then searching and deployed model differ, and a success is confirmed by the deployed one.

    Where we differ: where "identity" does not fit, a part that only resizes is stood in for by bilinear resizing,
    and one that gives several channels for one (a code, say) by its secants, coordinate by coordinate.
    """

    def __init__(self, inner: Any, module_name: str, backward: Backward = "identity", *, repaired: bool = False):
        plain: Any = TorchVictim
        super().__init__(inner if isinstance(inner, BpdaVictim) else plain(inner.module, inner.domain, name=inner.name, search="plain", task=inner.task))
        self.module: nn.Module = inner.module
        parts = dict(self.module.named_modules())
        if module_name not in parts or not module_name:
            raise UnknownName("part of the module", module_name, [name for name in parts if name])
        if not callable(backward) and backward not in ("identity", "secant"):
            raise UnknownName("backward", str(backward), ["identity", "secant"])
        self.part, self.part_name, self.backward, self.repaired = parts[module_name], module_name, backward, repaired
        self.dtype = self._asked.dtype
        self.exact, self.slack = not repaired and self.inner.exact, math.inf

    @property
    def _asked(self) -> "TorchVictim | BpdaVictim":
        assert isinstance(self.inner, TorchVictim | BpdaVictim)
        return self.inner

    @property
    def was_training(self) -> bool:
        """Return whether the user's module was in training mode."""
        return self._asked.was_training

    def search_scores(self, x: Batch) -> Tensor:
        if not self.repaired:
            return self.inner.search_scores(x)
        with self.through():
            return self.inner.search_scores(x)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        with self.through():
            return self.inner.gradient(x, objective)

    def gradients(self, x: Tensor, several: Objective) -> Graded:
        with self.through():
            return self.inner.gradients(x, several)

    @contextlib.contextmanager
    def through(self) -> Iterator[None]:
        """Let gradients pass through the substitute inside the context."""
        asking = False

        def swap(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            nonlocal asking
            if asking:
                return None
            asking = True  # a secant asks the part again
            try:
                return self._swapped(part, inputs, output)
            finally:
                asking = False

        handle = self.part.register_forward_hook(swap)
        try:
            yield
        finally:
            handle.remove()

    def _swapped(self, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
            raise LoadError(f"{self.part_name} does not map one tensor to one tensor: put the code that blocks the gradient into a module that does")
        stand_in = self._stand_in(part, inputs[0], output)
        if stand_in.shape != output.shape:
            raise LoadError(f"the substitute for {self.part_name} returns {tuple(stand_in.shape)}, the part {tuple(output.shape)}: give a function that fits")
        return stand_in if self.repaired else _Through.apply(output, stand_in)  # type: ignore[return-value]

    def _stand_in(self, part: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        if callable(self.backward):
            return self.backward(x)
        if self.backward == "identity" and x.shape == output.shape:
            return x
        planes = x.ndim == output.ndim == 4 and len(x) == len(output)
        if self.backward == "identity" and planes and x.shape[1] == output.shape[1]:
            return F.interpolate(x, size=output.shape[2:], mode="bilinear", align_corners=False)
        if x.ndim == output.ndim >= 2 and x.shape[0] == output.shape[0] and x.shape[2:] == output.shape[2:] and output.shape[1] % x.shape[1] == 0:
            return secant(part, x, output)
        raise LoadError(
            f"{self.part_name} maps {tuple(x.shape)} to {tuple(output.shape)}, so identity does not fit: give backward=FUNCTION, a differentiable "
            "function between these shapes"
        )

    @property
    def _said(self) -> str:
        return getattr(self.backward, "__qualname__", repr(self.backward)) if callable(self.backward) else self.backward

    @property
    def settings(self) -> dict[str, Any]:
        code = {"backward state": digest(*State(self.backward).parts)} if callable(self.backward) else {}
        return {"bpda": self.part_name, "backward": self._said, **code, "repaired": self.repaired}

    @property
    def complete(self) -> bool:
        return super().complete and not State(self.backward).missing


class _Through(torch.autograd.Function):
    """Return the first tensor unchanged; the gradient goes to the second."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, stand_in: Tensor) -> Tensor:  # pyright: ignore
        return output.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor]:  # pyright: ignore
        return None, g


def secant(part: nn.Module, x: Tensor, output: Tensor) -> Tensor:
    """Return `output`, with the slope of the part between x - h and x + h, per coordinate.

    It is for parts whose output at a place depends on the input at that place alone; h is half the deviation of x, row by row.
    """
    with torch.no_grad():
        spread = x.detach().flatten(1).std(1, correction=0).clamp_min(1e-6)
        h = (REACH * spread).reshape(-1, *[1] * (x.ndim - 1))
        slope = (part(x.detach() + h) - part(x.detach() - h)) / (2 * h)
    moved = x - x.detach()
    if x.shape != output.shape:  # channel c of the input made the channels c * k ... c * k + k - 1
        moved = moved.repeat_interleave(output.shape[1] // x.shape[1], dim=1)
    return output.detach() + slope * moved


@in_our_words
def bpda(victim: VictimLike, module_name: str, backward: Backward = "identity", *, repaired: bool = False) -> BpdaVictim:
    """Return the same victim with a substitute gradient for one of its parts (BPDA).

    Args:
        victim: A torch module as a victim (or the result of another `bpda`).
        module_name: As in `named_modules()`; `doctor` names the parts that lose the gradient.
        backward: "identity"; "secant" for parts that act on each coordinate by itself, such as steps and codes; or a
            differentiable function from the part's input to its output.
        repaired: The stand-in takes the part's place altogether while searching: the undefended twin, whose points are
            tried on the victim.

    Returns:
        The victim to attack; its scores and answers are those of the module itself.

    Raises:
        UnknownName: Where the module has no part of that name.
        LoadError: For a victim that is no torch module.

    Example:
        >>> from sparring.models.load import load_model
        >>> bpda(load_model("zoo:digits-plain"), "layers.1").part_name
        'layers.1'
    """
    victim = victim_of(victim)
    if not isinstance(victim, TorchVictim | BpdaVictim):
        raise LoadError(f"bpda needs a victim made of a torch module, got {type(victim).__name__}: write eot(bpda(...)), not bpda(eot(...))")
    return BpdaVictim(victim, module_name, backward, repaired=repaired)
