"""Code shared by fits of small networks: minibatches, Adam, batches of networks, safetensors."""

import contextlib
import copy
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from sparring.core.errors import InputError, LoadError, PlanError
from sparring.core.fit import Fit, Samples
from sparring.core.victim import Victim
from sparring.models.torch import TorchVictim

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of Adam (Kingma, Ba 2015, arXiv:1412.6980, section 2)."""

WIDEST = 64
"""Networks trained as one batch: with 64 of them fully connected ones took less than a quarter of the time in benchmarks/fits.py."""


class Standardise(nn.Module):
    """Return (x - shift) / scale.

    Both are taken from the samples and stay as they are in training.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.register_buffer("shift", torch.zeros(tuple(shape)))
        self.register_buffer("scale", torch.ones(tuple(shape)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale


class ModuleFit(Fit):
    """Represent a fit whose victim is a torch module, which is stored as safetensors."""

    @abstractmethod
    def module(self, shape: tuple[int, ...], outputs: tuple[int, ...]) -> nn.Module:
        """Return a fresh module, its weights drawn from the global random state.

        Args:
            shape: Of one input.
            outputs: Shape of the scores of one input.
        """

    def fresh(self, data: Samples, seed: int) -> nn.Module:
        """Return the module before training, its weights drawn by the seed alone."""
        if not isinstance(data.x, Tensor):
            raise InputError(f"{data.name} holds {data.domain.kind}, not numbers: {self.kind} learns from images and other floats")
        with own_randomness(seed):
            return self.module(tuple(data.x.shape[1:]), data.task.score_shape).eval()

    def victim(self, module: nn.Module, data: Samples) -> Victim:
        """Return the trained module as a victim; PlanError where its weights are not finite."""
        if any(not bool(value.isfinite().all()) for value in module.state_dict().values()):
            raise PlanError(f"{self} ended with weights that are not finite on {data.name}: lower the rate, or scale the inputs")
        return TorchVictim(module.eval(), data.domain, name=str(self), task=data.task)

    def pack(self, victim: Victim) -> bytes:
        if not isinstance(victim, TorchVictim):
            raise LoadError(f"{victim.name} is not a torch module: {self.kind} can save only victims that it trained")
        return safetensors.torch.save({name: value.detach().contiguous().clone() for name, value in victim.module.state_dict().items()})

    def unpack(self, content: bytes, data: Samples) -> Victim:
        module = self.fresh(data, 0)
        try:
            state, own = safetensors.torch.load(content), module.state_dict()
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise LoadError(f"the weights of {self} are not a valid safetensors file: {error}") from error
        if {name: (value.dtype, value.shape) for name, value in state.items()} != {name: (value.dtype, value.shape) for name, value in own.items()}:
            raise LoadError(f"the weights of {self} do not fit its network")
        module.load_state_dict(state)
        return self.victim(module, data)


@dataclass(frozen=True)
class NetworkFit(ModuleFit):
    """Represent a network trained by Adam on minibatches.

    The rate falls to 0 as a cosine.

    Args:
        epochs: Passes over the samples.
        batch: Samples per step; the last one of an epoch may be smaller.
        rate: Of Adam, at the beginning.
        decay: Of the weights, as in AdamW (Loshchilov, Hutter 2019, arXiv:1711.05101).
    """

    epochs: int = 30
    batch: int = 32
    rate: float = 3e-3
    decay: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("batch", self.batch)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise PlanError(f"{self.kind}({name}={value!r}): give a whole number of at least 1")
        if not self.rate > 0 or not self.decay >= 0:
            raise PlanError(f"{self.kind}(rate={self.rate}, decay={self.decay}): the rate must be above 0, the decay at least 0")

    def width(self, datas: Sequence[Samples]) -> int:
        return WIDEST

    def learn(self, data: Samples, seed: int) -> Victim:
        return self.many([data], [seed])[0]

    def many(self, datas: Sequence[Samples], seeds: Sequence[int]) -> list[Victim]:
        """Return networks trained together, each on its own samples in their own order.

        One that is done before the others stays as it is.
        """
        modules = [self.fresh(data, seed) for data, seed in zip(datas, seeds, strict=True)]
        for module, data in zip(modules, datas, strict=True):
            standardise(module, data)
        with one_thread(), torch.enable_grad(), torch.autocast("cpu", enabled=False):
            self._train(modules, datas, seeds)
        return [self.victim(module, data) for module, data in zip(modules, datas, strict=True)]

    def _train(self, modules: list[nn.Module], datas: Sequence[Samples], seeds: Sequence[int]) -> None:
        task, count = datas[0].task, len(modules)
        weights = {
            name: torch.stack([dict(one.named_parameters())[name].detach() for one in modules]).requires_grad_() for name, _ in modules[0].named_parameters()
        }
        buffers = {name: torch.stack([dict(one.named_buffers())[name] for one in modules]) for name, _ in modules[0].named_buffers()}
        bare = copy.deepcopy(modules[0]).to("meta")
        learned = list(weights.values())
        means, squares = [torch.zeros_like(one) for one in learned], [torch.zeros_like(one) for one in learned]

        def loss(own: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor, y: Tensor, shares: Tensor) -> Tensor:
            return (task.training_loss(functional_call(bare, (own, fixed), (x,)), y) * shares).sum()

        def total(x: Tensor, y: Tensor, shares: Tensor) -> Tensor:
            if count > 1:
                return vmap(loss)(weights, buffers, x, y, shares).sum()
            return loss({name: one[0] for name, one in weights.items()}, {name: one[0] for name, one in buffers.items()}, x[0], y[0], shares[0])

        for number, (x, y, shares, progress) in enumerate(self._steps(datas, seeds), 1):
            slopes = torch.autograd.grad(total(x, y, shares), learned)
            rates = (self.rate / 2 * (1 + (math.pi * progress).cos())) * (progress < 1)
            with torch.no_grad():
                for one, slope, mean, square in zip(learned, slopes, means, squares, strict=True):
                    rate = rates.reshape(-1, *[1] * (one.ndim - 1))
                    mean.lerp_(slope, 1 - BETAS[0])
                    square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
                    size = (square / (1 - BETAS[1] ** number)).sqrt_().add_(EPSILON)
                    if self.decay:
                        one.mul_(1 - rate * self.decay)
                    one.sub_(rate / (1 - BETAS[0] ** number) * mean / size)
        for place, module in enumerate(modules):
            module.load_state_dict({name: one[place].detach() for name, one in (weights | buffers).items()})

    def _steps(self, datas: Sequence[Samples], seeds: Sequence[int]) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Per step x [m, b, ...], y [m, b, ...], the share of each sample in the loss [m, b], and how much of its training each network has behind it, [m]."""
        counts = [len(data) for data in datas]
        batch = min(self.batch, max(counts))
        steps = torch.tensor([self.epochs * math.ceil(count / batch) for count in counts], dtype=torch.float32)
        walks = [self._walk(count, batch, seed) for count, seed in zip(counts, seeds, strict=True)]
        inputs, truths = [data.x.detach().cpu().float() for data in datas], [data.y.detach().cpu() for data in datas]
        truths = [one.float() if one.is_floating_point() else one for one in truths]
        idle = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch)
        for number in range(int(steps.max())):
            chosen = [next(walk, idle) for walk in walks]
            x, y = (torch.stack([one[rows] for one, (rows, _) in zip(held, chosen, strict=True)]) for held in (inputs, truths))
            yield x, y, torch.stack([shares for _, shares in chosen]), number / steps

    def _walk(self, count: int, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator().manual_seed(seed)
        missing = -count % batch
        for _ in range(self.epochs):
            order = torch.cat([torch.randperm(count, generator=rng), torch.zeros(missing, dtype=torch.int64)])
            for rows in order.split(batch)[:-1]:
                yield rows, torch.full((batch,), 1 / batch)
            held = batch - missing
            yield order[-batch:], torch.cat([torch.full((held,), 1 / held), torch.zeros(missing)])


def standardise(module: nn.Module, data: Samples) -> None:
    """Set shift and scale of the module from the samples.

    A table has one of each per column, everything else one for all numbers.
    """
    own = next((one for one in module.modules() if isinstance(one, Standardise)), None)
    if own is None:
        return
    x: Any = data.x.detach().cpu().double()
    axes = [0] if own.shift.ndim else list(range(x.ndim))
    mean, deviation = x.mean(axes), x.std(axes, correction=0)
    own.shift.copy_(mean)
    own.scale.copy_(torch.where(deviation > 0, deviation, 1.0))


def first_layer(shape: tuple[int, ...]) -> Standardise:
    """Return the layer that scales inputs of a shape; see `standardise`."""
    return Standardise(shape if len(shape) == 1 else ())


def shaped(outputs: tuple[int, ...]) -> list[nn.Module]:
    """Return the layers that reshape [n, numbers] to the scores; empty if not needed."""
    return [] if len(outputs) == 1 else [nn.Unflatten(1, outputs)]


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Set the global random state of the processor by the seed, and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, so that sums have one order.

    Small networks are faster so, too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
