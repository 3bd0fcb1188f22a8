"""Defences that look robust and are not, each with its undefended twin: small networks for scikit-learn's digits.

Each stands for a family that was broken after publication; none is a reproduction of a particular paper. Networks that
have to be trained are trained when first asked for, in a second or two, from a fixed seed.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.core.goal import Goal
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.data.load import load
from sparring.domains.image import image
from sparring.models.adapter import victim
from sparring.threats.balls import Linf
from sparring.threats.goals import Untargeted

RADIUS = 0.15
SAMPLES = 64
CLASSES = 10


# Layers that defend ------------------------------------------------------------------------------------------------------


class Scale(nn.Module):
    """Logits times a constant: what is left of distillation at a high temperature (Papernot et al. 2016)."""

    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def forward(self, z: Tensor) -> Tensor:
        return z * self.by


class Quantise(nn.Module):
    """Few grey levels, by rounding: the gradient is zero everywhere (bit depth reduction, Xu et al. 2018)."""

    def __init__(self, levels: int = 5):
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return (x * (self.levels - 1)).round() / (self.levels - 1)


class GradientKiller(nn.Module):
    """The image in 8 bits, by way of an array: autograd does not see it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy((x.detach().cpu().numpy() * 255).round() / 255).to(x)


class WinnersTakeAll(nn.Module):
    """Of all units the largest tenth stay, the others are 0 (k-WTA, Xiao et al. 2020)."""

    def __init__(self, share: float = 0.1):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        edge = flat.topk(max(1, int(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return (flat * (flat >= edge)).reshape(x.shape)


class Noise(nn.Module):
    """Fresh Gaussian noise on the input, also when deployed (Cohen et al. 2019 without its vote)."""

    def __init__(self, deviation: float = 0.3):
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * torch.randn_like(x)


class RandomResize(nn.Module):
    """A random shift of up to a pixel and a random zoom, one for each image (Xie et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        zoom = 1 + 0.4 * (torch.rand(len(x), 1, 1) - 0.5)
        shift = 0.5 * (torch.rand(len(x), 2, 1) - 0.5)
        frame = torch.cat([torch.eye(2).expand(len(x), 2, 2) * zoom, shift], 2).to(x)
        return F.grid_sample(x, F.affine_grid(frame, list(x.shape), align_corners=False), align_corners=False)


class Jpeg(nn.Module):
    """Cosine transform of the 8 x 8 image, coefficients rounded to coarse steps, and back (Guo et al. 2018)."""

    def __init__(self, step: float = 0.4):
        super().__init__()
        place = torch.arange(8.0)
        basis = torch.cos((2 * place[None] + 1) * place[:, None] * torch.pi / 16) * 0.5
        basis[0] /= 2**0.5
        self.register_buffer("basis", basis, persistent=False)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return (self.basis.T @ (self.basis @ x @ self.basis.T / self.step).round() @ self.basis * self.step).clamp(0, 1)


class Thermometer(nn.Module):
    """Each pixel as a column of ones as high as its value (Buckman et al. 2018)."""

    def __init__(self, levels: int = 10):
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        edges = (torch.arange(self.levels, device=x.device, dtype=x.dtype) + 0.5) / self.levels
        return (x.unsqueeze(2) > edges.reshape(1, 1, -1, 1, 1)).to(x).flatten(1, 2)


class Jump(nn.Module):
    """A ReLU with jumps: its output is cut down to coarse steps, its slope is kept (a discontinuous activation)."""

    def __init__(self, step: float = 0.5):
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return (x / self.step).floor().detach() * self.step + 0.02 * (x * 50 / self.step).sin()


class BatchStatistics(nn.Module):
    """Batch normalisation that never leaves training: a sample's answer depends on its company."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, training=True)


class Vote(nn.Module):
    """The share of members that vote for each class; gradients are of no use."""

    def __init__(self, *members: nn.Module):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([F.one_hot(member(x).argmax(1), CLASSES).to(x) for member in self.members]).mean(0)


class Mean(nn.Module):
    """The mean of the members' probabilities, as a logit."""

    def __init__(self, *members: nn.Module):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x).softmax(1) for member in self.members]).mean(0).log()


class Smooth(nn.Module):
    """The winner gets 0.9 and the others share the rest, with so little of the logits that float32 hardly holds it (label smoothing at
    the output)."""

    def forward(self, z: Tensor) -> Tensor:
        hard = F.one_hot(z.argmax(1), z.shape[1]).to(z)
        return 0.9 * hard + 0.1 / z.shape[1] + 1e-12 * z


class Stairs(nn.Module):
    """The image through a fixed scrambling with steps and a false slope: the gradient is there, and misleads."""

    def forward(self, x: Tensor) -> Tensor:
        steps = (x * 6).round() / 6
        return steps.detach() + 0.01 * torch.sin(400 * x)


class Lopsided(nn.Module):
    """The winner's logit lets almost no gradient through."""

    def forward(self, z: Tensor) -> Tensor:
        top = F.one_hot(z.argmax(1), z.shape[1]).to(z) * 0.999
        return z * (1 - top) + (z * top).detach()


class Drips(nn.Module):
    """The gradient reaches one pixel in twelve, others with every change of the image."""

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(x[0].numel(), device=x.device).reshape(x.shape[1:])
        open_now = (1e3 * x.detach().flatten(1).sum(1).reshape(-1, 1, 1, 1) + 7.1 * count * count).sin() > 0.966
        return torch.where(open_now, x, x.detach())


class Rejects(nn.Module):
    """One class more: an image whose neighbours differ too much from one another is turned away (a detector)."""

    def __init__(self, inner: nn.Module, most: float):
        super().__init__()
        self.inner, self.most = inner, most

    def roughness(self, x: Tensor) -> Tensor:
        return (x - F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)).abs().flatten(1).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.inner(x)
        over = 200 * (self.roughness(x) - self.most)
        return torch.cat([z, (z.amax(1) + over)[:, None]], 1)


class UnnoticedCriterion(NamedTuple):
    """label, reject: int64 [n], the true class and the one of what is turned away."""

    label: Tensor
    reject: Tensor

    def take(self, rows: Tensor) -> "UnnoticedCriterion":
        return UnnoticedCriterion(self.label[rows], self.reject[rows])

    def loss(self, scores: Tensor) -> Tensor:
        both = torch.stack([self.label, self.reject], 1)
        return scores.scatter(1, both, -torch.inf).amax(1) - scores.gather(1, both).amax(1)

    def met(self, answer: Tensor) -> Tensor:
        return (answer >= 0) & (answer != self.label) & (answer != self.reject)

    def aimed(self) -> list[str | None]:
        return [None] * len(self.label)


@dataclass(frozen=True)
class Unnoticed(Goal):
    """Any class but the true one, and not turned away: what an adversary wants of a model with a detector."""

    reject: int = CLASSES
    kind = "unnoticed"

    def freeze(self, truth: Tensor, task: Any, rng: Any) -> UnnoticedCriterion:
        return UnnoticedCriterion(truth, torch.full_like(truth, self.reject))

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "reject": self.reject}


# Networks ----------------------------------------------------------------------------------------------------------------


@functools.cache
def digits(split: str = "test") -> Data:
    return load("digits", split=split)


def plain_layers(activation: Callable[[], nn.Module] = nn.ReLU, channels: int = 1) -> list[nn.Module]:
    """The parts of a small network: [n, channels, 8, 8] -> logits."""
    return [nn.Conv2d(channels, 8, 3, padding=1), activation(), nn.Flatten(), nn.Linear(512, 48), activation(), nn.Linear(48, CLASSES)]


def trained(build: Callable[[], nn.Module], *, epochs: int = 15, seed: int = 0) -> nn.Module:
    """The network fitted by Adam to the training digits, from a fixed seed."""
    data = digits("train")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net, luck = build(), torch.Generator().manual_seed(seed)
        optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(data), generator=luck).split(64):
                optimiser.zero_grad()
                F.cross_entropy(net(data.x[rows]), data.y[rows]).backward()
                optimiser.step()
    return net.eval()


@functools.cache
def base(seed: int = 0) -> nn.Module:
    return trained(lambda: nn.Sequential(*plain_layers()), seed=seed)


def behind(*layers: nn.Module, net: nn.Module | None = None) -> nn.Module:
    """The plain network behind these layers."""
    return nn.Sequential(*layers, net or base()).eval()


@functools.cache
def winners() -> nn.Module:
    return trained(lambda: nn.Sequential(*plain_layers(lambda: WinnersTakeAll(0.15))))


@functools.cache
def thermometer() -> nn.Module:
    return trained(lambda: nn.Sequential(Thermometer(), *plain_layers(channels=10)))


@functools.cache
def resized() -> nn.Module:
    return trained(lambda: nn.Sequential(RandomResize(), *plain_layers()), epochs=25)


@functools.cache
def noisy() -> nn.Module:
    return trained(lambda: nn.Sequential(Noise(), *plain_layers()), epochs=20)


@functools.cache
def batch_statistics() -> nn.Module:
    return trained(lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), BatchStatistics(), *plain_layers()[1:]))


@functools.cache
def running_statistics() -> nn.Module:
    """The same network with the statistics of the training set."""
    net, x = batch_statistics(), digits("train").x
    norm = nn.BatchNorm2d(8, affine=False, momentum=1.0)
    with torch.no_grad():
        norm(net[0](x))
    return without(net, BatchStatistics, lambda: norm)


def without(net: nn.Module, kind: type[nn.Module], instead: Callable[[], nn.Module] = nn.Identity) -> nn.Module:
    """The same layers with those of a kind replaced."""
    return nn.Sequential(*(instead() if isinstance(layer, kind) else layer for layer in net.children())).eval()


def rejecting() -> nn.Module:
    made = Rejects(base(), 0.0)
    made.most = float(made.roughness(digits("train").x).quantile(0.95))
    return made.eval()


ANY = Untargeted()


@dataclass(frozen=True)
class Defence:
    """net: the broken defence. twin: the same without it. goal: what the adversary wants of it."""

    name: str
    net: Callable[[], nn.Module]
    twin: Callable[[], nn.Module]
    goal: Goal = ANY

    def victim(self) -> Victim:
        return victim(self.net(), image(1, 8, 8), name=self.name)

    def undefended(self) -> Victim:
        return victim(self.twin(), image(1, 8, 8), name=f"{self.name}, undefended")

    def threat(self) -> Threat:
        return Threat(Linf(RADIUS), self.goal)


DEFENCES = {
    one.name: one
    for one in (
        Defence("temperature", lambda: nn.Sequential(base(), Scale(1000.0)).eval(), base),
        Defence("quantised input", lambda: behind(Quantise()), base),
        Defence("winners take all", winners, base),
        Defence("random noise", noisy, lambda: without(noisy(), Noise)),
        Defence("random resize", resized, lambda: without(resized(), RandomResize)),
        Defence("gradient killer", lambda: behind(GradientKiller()), base),
        Defence("jpeg", lambda: behind(Jpeg()), base),
        Defence("thermometer", thermometer, base),
        Defence("jumping activation", lambda: without(base(), nn.ReLU, Jump), base),
        Defence("batch statistics", batch_statistics, running_statistics),
        Defence("detector", rejecting, base, Unnoticed()),
        Defence("vote", lambda: Vote(base(0), base(1), base(2)).eval(), lambda: Mean(base(0), base(1), base(2)).eval()),
        Defence("smoothed logits", lambda: nn.Sequential(base(), Smooth()).eval(), base),
        Defence("lopsided logits", lambda: nn.Sequential(base(), Lopsided()).eval(), base),
        Defence("dripping gradient", lambda: behind(Drips()), base),
        Defence("stairs", lambda: behind(Stairs()), base),
    )
}
