"""A generator of perturbations: a network trained on a surrogate that answers with a change in one forward pass."""

import math
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.attacks.evasion.learned.frozen import Carrier, Frozen, Lesson
from sparring.attacks.losses import loss_of
from sparring.core.errors import NeedsError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.problem import Problem
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.models.wanted import threat_of, victim_of
from sparring.tasks.classes import of_classes
from sparring.threats.balls import box

CITES = "Xiao et al. 2018 (AdvGAN), arXiv:1801.02610; Naseer et al. 2019 (CDA), arXiv:1905.11736"
TASKS = frozenset({"classes"})
"""Kinds of task: the network receives the class to leave or to reach."""

STEEP = 1.5
"""Root mean square of the output for a sample before the tanh."""


class Network(nn.Module):
    """Compute a change by convolutions, given the class that the sample is to leave or to reach.

    They are at full and half size.
    """

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.reference_class = nn.Embedding(classes, 2 * width)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.inner = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up = nn.Conv2d(3 * width, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, reference_class: Tensor) -> Tensor:
        """Return numbers in (-1, 1), shaped like x.

        x: in shares of its range. reference class: int64 [n]. Each sample's numbers are brought to one size before the tanh:
        else it saturates within an epoch, the same for all samples, and nothing comes back through it.
        """
        first = F.relu(self.first(x))
        odd = [side % 2 for side in x.shape[2:]]
        inner = self.down(F.pad(first, (0, odd[1], 0, odd[0])))
        inner = F.relu(inner + self.reference_class(reference_class)[:, :, None, None])
        inner = F.relu(inner + self.inner(inner))
        wide = F.interpolate(inner, size=x.shape[2:], mode="nearest")
        way = self.last(F.relu(self.up(torch.cat([first, wide], 1))))
        return torch.tanh(STEEP * way / way.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-20).sqrt())


class Generator(Frozen):
    """Represent a frozen generator.

    `attack()` applies it, `rate(...)` is the share it fools of other samples or another network.
    """

    kind: ClassVar[str] = "generator"

    def attack(self) -> Carrier:
        """Return the attack `generated`: one forward pass of the generator and one query a sample."""
        return Carrier("generated", search, frozenset({"labels"}), frozenset({"project", "dual"}), CITES, tasks=TASKS, learned=self)

    def network(self, x: Tensor) -> Network:
        """Return the network in float64, so that rounding in a batch does not reach the points."""
        with torch.random.fork_rng():
            made = Network(x.shape[1], self.about["classes"], self.about["settings"]["width"])
        made.load_state_dict(self.tensors)
        return made.to(x.device).double().requires_grad_(False).eval()


def search(problem: Problem, learned: Generator) -> Tensor:
    """Apply the change that the generator computes for a sample and its class, with one query."""
    live = problem.take(problem.unfinished())
    if len(live) and problem.steps(1):
        with torch.no_grad():
            way = learned.network(live.x)(shares(live.x, live.victim.domain).double(), of_classes(live.criterion).reference_class).to(live.x.dtype)
        live.losses(cast(Any, live.region).project(put(live.x, way, live.region)))
    return problem.best()


def shares(x: Tensor, domain: Any) -> Tensor:
    """Return images in shares of the way between their bounds."""
    return (x - domain.low) / (domain.high - domain.low)


def put(x: Tensor, way: Tensor, region: Any) -> Tensor:
    """Change x along `way` as far as the radius allows, cut off at the bounds of the input.

    The result is differentiable in `way`, as if
    nothing were cut off: else a pixel that is pushed against its bound never learns that the other side is better.
    """
    low, high = box(region.domain, x)
    length = region.size(x + way.detach()).clamp_min(1e-12)
    share = (region.radius / length).to(x.dtype).reshape(-1, 1, 1, 1)
    free = x + share * way
    return free + (torch.minimum(torch.maximum(free, low), high) - free).detach()


@in_our_words
def generator(
    surrogate: Victim, x: Any, y: Any, threat: Threat, *, epochs: int = 30, batch: int = 25, learning_rate: float = 0.005,
    loss: Literal["ce", "margin"] = "margin", cap: float = 9.0, width: int = 8, held_out: float = 0.2, seed: int = 0,
) -> Generator:  # fmt: skip
    """Train a network that computes a perturbation in one forward pass, also for unseen samples.

    Args:
        surrogate: Exposes gradients; the victim attacked later may be another.
        x: Images and classes to learn from.
        y: Images and classes to learn from.
        threat: A ball, with one radius.
        epochs: Passes through the images.
        batch: Images a step.
        learning_rate: Of Adam, falling to nothing along half a cosine.
        loss: What is climbed on the surrogate.
        cap: Loss above which an image counts no more.
        width: Channels of the network.
        held_out: Share of the images that is not trained on.
        seed: Of weights and order.

    Returns:
        A frozen `Generator`: `attack()` applies it, and `trained` and `held_out` are the shares it fools of either part on the surrogate.

    Raises:
        UsageError: Before the first step, where surrogate, samples, threat or settings do not fit.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=20)
        >>> generator(victim, data.x, data.y, sp.linf(0.2), epochs=1).attack().name
        'generated'

    Source: Xiao et al. 2018 (AdvGAN), arXiv:1801.02610; Naseer et al. 2019 (CDA), arXiv:1905.11736.

    Differs from the paper: no discriminator and no hinge on the size of the change, because the threat bounds it; the network is told
    the class it is to leave or to reach, where AdvGAN trains one generator for each target; its output is stretched to the radius.
    """
    surrogate, threat = victim_of(surrogate), threat_of(threat)
    if not {"project", "dual"} <= threat.space.offers() or surrogate.domain.kind != "image":
        raise NeedsError(f"a generator changes images inside a ball; this is {surrogate.domain} under {threat.space.kind}: try linf, l2 or l1 on images")
    if "gradients" not in surrogate.exposes:
        raise NeedsError(f"a generator learns from gradients; {surrogate.name} exposes {', '.join(sorted(surrogate.exposes))}: train it on a substitute")
    if min(epochs, batch, width) < 1 or learning_rate <= 0:
        raise PlanError(f"epochs={epochs}, batch={batch}, width={width}, learning_rate={learning_rate}: at least 1, 1, 1, above 0")
    lesson = Lesson(surrogate, x, y, threat, held_out, seed, TASKS)
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
            x, criterion = lesson.x[rows], lesson.refer(rows)
            with torch.enable_grad():
                points = put(x, network(shares(x, lesson.victim.domain), of_classes(criterion).reference_class), lesson.region(rows))
                slope = lesson.victim.gradient(points.detach(), lambda scores, aim=criterion: climbed(scores, aim).clamp_max(cap)).grad.to(points)
                optimiser.zero_grad()
                torch.autograd.backward(points, -slope / len(rows))
            optimiser.step()
            schedule.step()
