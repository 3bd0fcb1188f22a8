"""A generator of perturbations: a network trained on a surrogate that answers with a change in one forward pass."""

import math
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.attacks.evasion.learned.frozen import Carrier, Frozen, Lesson
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout
from sparring.core.errors import NeedsError, PlanError
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.threats.balls import box

CITES = "Xiao et al. 2018 (AdvGAN), arXiv:1801.02610; Naseer et al. 2019 (CDA), arXiv:1905.11736"

STEEP = 1.5
"""Size of the numbers of a sample before the tanh."""


class Network(nn.Module):
    """Convolutions at full and half size, and the class the sample is to leave or to reach."""

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.anchor = nn.Embedding(classes, 2 * width)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.inner = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up = nn.Conv2d(3 * width, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, anchor: Tensor) -> Tensor:
        """Numbers in (-1, 1), shaped like x. x: in shares of its range. anchor: int64 [n]. Each sample's numbers are brought to one
        size before the tanh: else it saturates within an epoch, the same for all samples, and nothing comes back through it."""
        first = F.relu(self.first(x))
        odd = [side % 2 for side in x.shape[2:]]
        inner = self.down(F.pad(first, (0, odd[1], 0, odd[0])))
        inner = F.relu(inner + self.anchor(anchor)[:, :, None, None])
        inner = F.relu(inner + self.inner(inner))
        wide = F.interpolate(inner, size=x.shape[2:], mode="nearest")
        way = self.last(F.relu(self.up(torch.cat([first, wide], 1))))
        return torch.tanh(STEEP * way / way.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-20).sqrt())


class Generator(Frozen):
    """A frozen generator. `attack()` applies it, `rate(...)` is the share it fools of other samples or another network."""

    kind: ClassVar[str] = "generator"

    def attack(self) -> Carrier:
        """The attack `generated`: one forward pass of the generator and one query a sample."""
        return Carrier("generated", search, frozenset({"labels"}), frozenset({"project", "dual"}), CITES, learned=self)

    def network(self, x: Tensor) -> Network:
        """In float64, so that rounding in a batch does not reach the points."""
        with torch.random.fork_rng():
            made = Network(x.shape[1], self.about["classes"], self.about["settings"]["width"])
        made.load_state_dict(self.tensors)
        return made.to(x.device).double().requires_grad_(False).eval()


def search(bout: Bout, learned: Generator) -> Tensor:
    """The change that the generator gives for a sample and its class, brought into the region; one query."""
    live = bout.take(bout.unfinished())
    if len(live) and bout.steps(1):
        with torch.no_grad():
            way = learned.network(live.x)(shares(live.x, live.victim.domain).double(), live.reference.anchor).to(live.x.dtype)
        live.margins(cast(Any, live.region).project(put(live.x, way, live.region)))
    return bout.best()


def shares(x: Tensor, domain: Any) -> Tensor:
    """Images in shares of the way between their bounds."""
    return (x - domain.low) / (domain.high - domain.low)


def put(x: Tensor, way: Tensor, region: Any) -> Tensor:
    """x changed along `way` as far as the radius allows and cut off at the bounds of the input; differentiable in `way`, as if
    nothing were cut off: else a pixel that is pushed against its bound never learns that the other side is better."""
    low, high = box(region.domain, x)
    length = region.size(x + way.detach()).clamp_min(1e-12)
    share = (region.radius / length).to(x.dtype).reshape(-1, 1, 1, 1)
    free = x + share * way
    return free + (torch.minimum(torch.maximum(free, low), high) - free).detach()


def generator(
    surrogate: Victim, x: Any, y: Any, threat: Threat, *, epochs: int = 30, batch: int = 25, learning_rate: float = 0.005,
    loss: Literal["ce", "margin"] = "margin", cap: float = 9.0, width: int = 8, held_out: float = 0.2, seed: int = 0,
) -> Generator:  # fmt: skip
    """Train a network that gives a perturbation in one forward pass, for samples and victims it has not seen.

    surrogate: exposes gradients; the victim attacked later may be another. x, y: images and classes to learn from. threat: a
    ball, with one radius. epochs: passes through the images. batch: images a step. learning_rate: of Adam, falling to
    nothing along half a cosine. loss: what is climbed on the surrogate. cap: loss above which an image counts no more. width:
    channels of the network. held_out: share of the images that is not trained on. seed: of weights and order.

    Returns a frozen `Generator` with `trained` and `held_out`, the shares it fools on the surrogate. Raises UsageError before the first step.

    Where we differ: no discriminator and no hinge on the size of the change, because the threat bounds it; the network is told
    the class it is to leave or to reach, where AdvGAN trains one generator for each target; its output is stretched to the radius.
    """
    if not {"project", "dual"} <= threat.space.offers() or surrogate.domain.kind != "image":
        raise NeedsError(f"a generator changes images inside a ball; this is {surrogate.domain.say()} under {threat.space.kind}: try linf, l2 or l1 on images")
    if "gradients" not in surrogate.exposes:
        raise NeedsError(f"a generator learns from gradients; {surrogate.name} exposes {', '.join(sorted(surrogate.exposes))}: train it on a substitute")
    if min(epochs, batch, width) < 1 or learning_rate <= 0:
        raise PlanError(f"epochs={epochs}, batch={batch}, width={width}, learning_rate={learning_rate}: at least 1, 1, 1, above 0")
    lesson = Lesson(surrogate, x, y, threat, held_out, seed)
    with torch.random.fork_rng(), surrogate.session(seed):
        torch.manual_seed(seed)
        network = Network(lesson.x.shape[1], surrogate.classes, width).to(lesson.x)
        _train(network, lesson, epochs, batch, learning_rate, loss, cap)
    settings = {"epochs": epochs, "batch": batch, "learning_rate": learning_rate, "loss": loss, "cap": cap, "width": width}
    tensors = {name: one.detach().clone() for name, one in network.state_dict().items()}
    return lesson.graded(Generator(tensors, lesson.about(settings=settings)))


def _train(network: Network, lesson: Lesson, epochs: int, batch: int, learning_rate: float, loss: str, cap: float) -> None:
    optimiser, climbed = torch.optim.Adam(network.parameters(), learning_rate), loss_of(loss)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * math.ceil(len(lesson.rows) / batch))
    order = torch.Generator().manual_seed(lesson.seed)
    for _ in range(epochs):
        for rows in lesson.batches(batch, order):
            x, reference = lesson.x[rows], lesson.refer(rows)
            with torch.enable_grad():
                points = put(x, network(shares(x, lesson.victim.domain), reference.anchor), lesson.region(rows))
                slope = lesson.victim.gradient(points.detach(), lambda scores, aim=reference: climbed(scores, aim).clamp_max(cap)).grad.to(points)
                optimiser.zero_grad()
                torch.autograd.backward(points, -slope / len(rows))
            optimiser.step()
            schedule.step()
