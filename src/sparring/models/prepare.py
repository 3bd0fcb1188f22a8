"""A private copy of a model, rewritten for fast input gradients."""

import copy
import logging
import random
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from sparring.core.evaluating import random_states_kept
from sparring.models.layers import channels_last, fast_convolutions, in_bfloat16
from sparring.models.rewrites import simplified

log = logging.getLogger(__name__)

Rewrite = Callable[[nn.Module, Tensor], nn.Module]  # a private module and typical inputs

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

PROBE_NUMBERS = 1 << 14  # 20 MNIST or 5 CIFAR images: enough to compare two models


def prepare(module: nn.Module, example: Tensor, *, precision: Literal["exact", "bfloat16"] = "exact") -> nn.Module:
    """Copy a model, frozen and in eval mode, and rewrite the copy for fast gradients.

    `module` and the global random states stay as they are. Batch normalisation is folded into convolutions, and
    on a CPU channels go last and the first convolution gets a faster input gradient. Every rewrite is checked
    against the plain copy, outputs and input gradients, and dropped (logged at debug level) when it disagrees or
    cannot be made. Which rewrites are kept follows from the model alone, never from a clock: the same model
    gives the same copy, to the last bit, in every process. The copy allows first derivatives only. A module with
    hooks keeps them, and is copied and frozen only; one that cannot even be copied is returned as it is, with a
    warning.

    Args:
        module: takes one tensor, batch first; may return any structure of tensors.
        example: a typical batch on the module's device: its shape, range, dtype and device are what counts.
        precision: "bfloat16" computes inside in bfloat16 and still returns float32; 2 to 17 % of gradient signs
            then differ, so points found are to be judged by the model itself.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        >>> quick = prepare(model, torch.rand(8, 1, 8, 8))
        >>> quick.training, any(p.requires_grad for p in quick.parameters()), model.training
        (False, False, True)
    """
    with torch.inference_mode(False), torch.enable_grad(), random_states_kept(example.device):
        try:
            plain = copy.deepcopy(module).eval().requires_grad_(False)
        except Exception:  # a module may hold anything
            log.warning("%s cannot be copied: it is used as it is, without the faster copy", type(module).__name__)
            return module
        try:
            return _rewritten(plain, example.detach(), precision)
        except Exception:  # the model itself failed on the probe: its caller will meet the same error
            log.debug("%s is only frozen, not rewritten", type(module).__name__, exc_info=True)
            return plain


def _rewritten(plain: nn.Module, example: Tensor, precision: str) -> nn.Module:
    if any(getattr(part, hooks) for part in plain.modules() for hooks in HOOKS):
        return plain
    probe = Probe.of(plain, example)
    best = probe.attempt(plain, simplified)
    if example.device.type == "cpu" and any(isinstance(part, nn.Conv2d) for part in plain.modules()):
        best = probe.attempt(best, channels_last)
        best = probe.attempt(best, fast_convolutions)
    if precision == "bfloat16":
        best = probe.attempt(best, in_bfloat16, exact=False)
    return best


def _seed(device: torch.device) -> None:
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # not `torch.manual_seed`, which reaches every device
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(0)


class Answer(NamedTuple):
    """Hold outputs, their structure and a gradient."""

    outputs: list[Tensor]
    structure: object
    gradient: Tensor | None


class Probe(NamedTuple):
    """Hold inputs to compare two models on, and the answers of the plain one."""

    x: Tensor
    plain: Answer

    @classmethod
    def of(cls, plain: nn.Module, example: Tensor) -> "Probe":
        """Return a probe with inputs like the example, answered by the plain model."""
        x = example[: max(1, PROBE_NUMBERS // max(1, example[:1].numel()))].clone()
        if x.is_floating_point():
            low, high = example.aminmax()
            noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
            x = (x + low + noise * (high - low if high > low else 1)) / 2
        return cls(x, answer(plain, x))

    def attempt(self, best: nn.Module, rewrite: Rewrite, *, exact: bool = True) -> nn.Module:
        """Return the rewritten copy of `best` if it agrees with the plain model, else `best`."""
        name = getattr(rewrite, "__name__", "rewrite")
        try:
            candidate = rewrite(copy.deepcopy(best), self.x).eval().requires_grad_(False)
            agrees = self.agrees(candidate, exact)
        except Exception:  # whatever a foreign model does when rewritten, the last good copy remains
            log.debug("rewrite %s dropped, because it failed", name, exc_info=True)
            return best
        if not agrees:
            log.debug("rewrite %s dropped, because it disagrees with the plain model", name)
            return best
        return candidate

    def agrees(self, candidate: nn.Module, exact: bool) -> bool:
        """Return whether the candidate answers the probe as the plain model does."""
        outputs, structure, gradient = answer(candidate, self.x)
        criterion = self.plain
        tolerance = 1e-4 if exact else 0.1
        if structure != criterion.structure or not outputs or (gradient is None) != (criterion.gradient is None):
            return False
        for seen, expected in zip(outputs, criterion.outputs, strict=True):
            if seen.shape != expected.shape or seen.dtype != expected.dtype:
                return False
            scale = expected.abs().amax() if expected.numel() else 0
            if not ((seen - expected).abs() <= tolerance * scale).all():
                return False
        if gradient is None or criterion.gradient is None:
            return True
        # Rounding may flip a ReLU and with it one image's gradient: the usual image decides.
        rows = len(gradient)
        seen, expected = (g.reshape(rows, -1).double() for g in (gradient, criterion.gradient))
        error = (seen - expected).norm(dim=1) / expected.norm(dim=1).clamp_min(1e-300)
        error = torch.where((seen == expected).all(1), 0.0, error)
        return bool(error.median() <= (1e-3 if exact else 0.3)) and bool(error.mean() <= (0.03 if exact else 0.5))


def answer(module: nn.Module, x: Tensor) -> Answer:
    """Return outputs, their structure and the gradient of a random mixture of them.

    The mixture is fixed, from a fixed seed.
    """
    _seed(x.device)
    x = x.detach().requires_grad_(x.is_floating_point())
    leaves, structure = tree_flatten(module(x))
    outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    differentiable = [output for output in outputs if output.requires_grad and output.is_floating_point()]
    gradient = None
    if differentiable:
        generator = torch.Generator().manual_seed(1)
        weights = [torch.rand(output.shape, generator=generator).to(output) for output in differentiable]
        (gradient,) = torch.autograd.grad(differentiable, x, weights, allow_unused=True)
    return Answer([output.detach() for output in outputs], structure, gradient)
