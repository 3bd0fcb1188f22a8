"""Training under Gaussian noise, the usual base of a smoothed classifier; with SmoothAdv also under attack."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.attacks.ascend import ascend
from sparring.core.errors import InputError, PlanError
from sparring.defences.training.loop import Listener


@dataclass(frozen=True)
class SmoothAdv:
    """Represent the attack in SmoothAdv_PGD (Salman et al. 2019, arXiv:1906.04584).

    radius: L2, in the units of the input. steps: of the ascent. draws: noise vectors behind one gradient, all of which are learned from.
    warm_up: epochs over which the radius grows to its full size.
    """

    radius: float
    steps: int = 2
    draws: int = 2
    warm_up: int = 5

    def __post_init__(self) -> None:
        if not self.radius > 0 or self.steps < 1 or self.draws < 1 or self.warm_up < 0:
            raise PlanError(f"{self}: the radius must be above 0, steps and draws at least 1, warm_up at least 0")

    def shift(self, model: nn.Module, x: Tensor, y: Tensor, noise: Tensor, radius: float) -> Tensor:
        """Move x [n, ...] by at most `radius` to where the smoothed softmax gives y least.

        The mean is over the noise [draws, n, ...], which is held fixed; steps are of
        twice the radius over their number along the unit gradient.
        """

        def loss(change: Tensor) -> Tensor:
            scores = model((x + change + noise).flatten(0, 1)).unflatten(0, noise.shape[:2])
            return F.nll_loss(torch.logsumexp(scores.log_softmax(2), 0), y, reduction="sum")

        def move(change: Tensor, gradient: Tensor, k: int) -> Tensor:
            change = change + 2 * radius / self.steps * _unit(gradient)
            return change * (radius / _length(change).clamp_min(radius))

        return (x + ascend(torch.zeros_like(x), loss, move, steps=self.steps)).detach()


def train_noise(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    sigma: float = 0.25,
    adversary: SmoothAdv | None = None,
    epochs: int = 15,
    batch: int = 128,
    rate: float = 2e-3,
    seed: int = 0,
    listen: Listener | None = None,
) -> nn.Module:
    """Train a classifier to be right under Gaussian noise of standard deviation `sigma`.

    Returns the same module, trained, in evaluation mode.

    model: scores [n, C] from x, on the device and in the type of x; its weights are where training begins. x: float [n, ...]. y: int64 [n].
    adversary: learn from attacked images (SmoothAdv). rate: the highest learning rate of one cycle under Adam.
    seed: order of the images and noise; the global random state is neither used nor changed by us (dropout of a model would use it).
    listen: called with ("epoch", {"epoch", "loss"}). Raises InputError for samples that do not fit, or PlanError for settings.

    Cohen et al. 2019 (arXiv:1902.02918): one fresh noise vector an image and epoch. We use Adam in one cycle where the
    paper uses SGD in steps.

        >>> from sparring.data.load import load
        >>> from sparring.models.zoo import DigitsNet
        >>> digits = load("digits", split="train")
        >>> net = train_noise(DigitsNet(), digits.x[:200], digits.y[:200], epochs=1)
        >>> net.training
        False
    """
    if len(x) != len(y) or not len(x) or not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise InputError(f"x is {x.dtype} {tuple(x.shape)} and y has {len(y)} labels: give finite floats and one label per sample")
    if not sigma > 0 or epochs < 1 or batch < 1 or not rate > 0:
        raise PlanError(f"sigma={sigma}, epochs={epochs}, batch={batch}, rate={rate}: all must be positive")
    generator = torch.Generator(device=x.device).manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * -(-len(x) // batch))
    model.train()
    for epoch in range(epochs):
        reach = adversary.radius * min(1.0, (epoch + 1) / max(1, adversary.warm_up)) if adversary else 0.0
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator, device=x.device).split(batch):
            clean, label = x[rows], y[rows]
            noise = sigma * torch.randn(adversary.draws if adversary else 1, *clean.shape, generator=generator, device=x.device, dtype=x.dtype)
            seen = adversary.shift(model, clean, label, noise, reach) if adversary else clean
            loss = F.cross_entropy(model((seen + noise).flatten(0, 1)), label.repeat(len(noise)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        if listen:
            listen("epoch", {"epoch": epoch + 1, "loss": total / len(x)})
    return model.eval()


def _length(change: Tensor) -> Tensor:
    """[n, 1, ...]: the L2 size of each row."""
    return torch.linalg.vector_norm(change.flatten(1), dim=1).reshape(-1, *[1] * (change.ndim - 1))


def _unit(gradient: Tensor) -> Tensor:
    return gradient / _length(gradient).clamp_min(1e-12)
