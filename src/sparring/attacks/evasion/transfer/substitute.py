"""A substitute for a victim that answers with labels: trained on those labels, along its own Jacobian."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.attacks.ascend import ascend
from sparring.core.domain import Domain
from sparring.core.errors import InputError, NeedsError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.models.adapter import victim as as_victim
from sparring.models.wanted import VictimLike, victim_of

HELD_OUT = 0.2
"""Share of the seeds held out to measure the agreement."""


class Substitute(NamedTuple):
    """Hold a trained substitute and what it cost.

    victim: the trained network, differentiable. agreement: share of the held-out seeds on which it answers as the victim
    does, in [0, 1]. held_out: how many these are. queries: labels asked of the victim, those of the held-out seeds included.
    """

    victim: Victim
    agreement: float
    held_out: int
    queries: int


@in_our_words
def substitute(
    victim: VictimLike, seed_data: Data, *, network: Callable[[], nn.Module] | None = None, rounds: int = 4, step: float = 0.1, epochs: int = 20,
    learning_rate: float = 0.001, queries: int | None = None, seed: int = 0,
) -> Substitute:  # fmt: skip
    """Train a network on labels of the victim, at points that its own Jacobian chooses.

    This is Jacobian-based data augmentation (JBDA: Papernot et al. 2017, arXiv:1602.02697, algorithm 1).

    Args:
        victim: A model that answers with labels.
        seed_data: Inputs like the victim's; their own labels are not looked at.
        network: Makes an untrained torch module [n, ...] -> [n, classes]; a small one for inputs of this shape if left
            out.
        rounds: Of augmentation; each doubles the points.
        step: How far a new point lies from its old one in every coordinate, in the input's own units.
        epochs: Of Adam, in batches of 32, in every round.
        learning_rate: Of Adam, above 0.
        queries: The most labels to ask for, None for no limit.
        seed: Of weights, orders and choices; the global random state stays as it is.

    Returns:
        A `Substitute`: the trained victim, its agreement with the model, and the queries spent. `sp.transfer(found.victim)` goes on from here.

    Raises:
        UsageError: Before the first question, where data or settings do not fit.

    Example:
        >>> import sparring as sp
        >>> found = substitute(sp.load_model("zoo:digits-plain"), sp.load("digits", take=20), rounds=1, epochs=1)
        >>> found.queries
        36

    Differs from the paper: a fifth of the seeds is held out, to measure the agreement on points that nothing was trained on; when
    the limit does not reach for all new points, those asked are drawn at random, where the paper draws a reservoir in all later rounds.
    """
    if not isinstance(seed_data, Data):
        raise InputError(f"seed_data is a {type(seed_data).__name__}: give sp.load(...) or sp.Data.of(x, y, domain)")
    victim = victim_of(victim, seed_data.domain)
    x = seed_data.x
    if not isinstance(x, Tensor):
        raise NeedsError(f"a substitute needs numerical inputs, but {victim.name} takes {victim.domain}")
    x = victim.domain.check(x)
    held = max(1, round(HELD_OUT * len(x)))
    if len(x) < 2:
        raise InputError("one seed is too few, because one is held out: give at least two")
    if queries is not None and queries < len(x):
        raise PlanError(f"queries={queries}: the {len(x)} seeds alone take {len(x)} labels: allow more, or give fewer seeds")
    if min(rounds, epochs) < 0 or step < 0 or learning_rate <= 0:
        raise PlanError(f"rounds={rounds}, epochs={epochs}, step={step}, learning_rate={learning_rate}: none may be negative, the last not 0")
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=rng)
    with torch.random.fork_rng(), victim.session(seed):
        probe, points = x[order[:held]], x[order[held:]]
        truth, labels = victim.label(probe), victim.label(points)
        asked = len(x)
        model = _trained(network, points, labels, victim.classes, epochs, learning_rate, rng, seed)
        for _ in range(rounds):
            fresh = _along_jacobian(model, points, labels, step, victim.domain)
            if queries is not None and asked + len(fresh) > queries:
                fresh = fresh[torch.randperm(len(fresh), generator=rng)[: queries - asked].sort().values]
            if not len(fresh):
                break
            points, labels = torch.cat([points, fresh]), torch.cat([labels, victim.label(fresh)])
            asked += len(fresh)
            model = _trained(network, points, labels, victim.classes, epochs, learning_rate, rng, seed)
        made = as_victim(model, victim.domain, name=f"substitute of {victim.name}")
        agreement = float((made.label(probe) == truth).double().mean())
    return Substitute(made, agreement, held, asked)


def _trained(
    network: Callable[[], nn.Module] | None, x: Tensor, labels: Tensor, classes: int, epochs: int, learning_rate: float, rng: torch.Generator, seed: int
) -> nn.Module:
    """Return a network trained on all points so far, with the same initial weights in every round. Points without an answer are left out."""
    torch.manual_seed(seed)  # inside fork_rng
    model = network() if network else _small(x, classes)
    model = model.to(x.device).train()
    answered = labels >= 0
    x, labels = x[answered], labels[answered]
    optimiser = torch.optim.Adam(model.parameters(), learning_rate)
    with torch.enable_grad():
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=rng).split(32):
                if len(rows) < 2 <= len(x):
                    continue  # batch normalisation cannot take one sample
                optimiser.zero_grad()
                F.cross_entropy(model(x[rows]), labels[rows]).backward()
                optimiser.step()
    return model.eval().requires_grad_(False)


def _along_jacobian(model: nn.Module, x: Tensor, labels: Tensor, step: float, domain: Domain) -> Tensor:
    """Return one new point per point, moved along the sign of the gradient of the score of the victim's label, inside the bounds."""
    low, high = (torch.as_tensor(getattr(domain, edge), dtype=x.dtype, device=x.device) for edge in ("low", "high"))

    def own(point: Tensor) -> Tensor:
        return model(point).gather(1, labels.clamp_min(0)[:, None])

    return domain.deploy(ascend(x, own, lambda x, g, _: (x + step * g.sign()).clamp(low, high), steps=1), x)


class _Standardised(nn.Module):
    """Subtracts the mean and divides by the deviation of the seeds, column by column."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, x: Tensor):
        super().__init__()
        self.register_buffer("mean", x.mean(0))
        self.register_buffer("deviation", x.std(0).clamp_min(1e-3) if len(x) > 1 else torch.ones_like(x[0]))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


def _small(x: Tensor, classes: int) -> nn.Module:
    """Two convolutions and a hidden layer for images of at least 8 x 8, two hidden layers for anything else."""
    if x.ndim == 4 and min(x.shape[2:]) >= 8:
        wide = 32 * (x.shape[2] // 4) * (x.shape[3] // 4)
        layers = [nn.Conv2d(x.shape[1], 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(wide, 100), nn.ReLU(), nn.Linear(100, classes)).to(x.dtype)
    first = [_Standardised(x)] if x.ndim == 2 else []
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(x[0].numel(), 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, classes)).to(x.dtype)
