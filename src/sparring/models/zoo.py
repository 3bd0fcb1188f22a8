"""A small zoo: two digits networks, one trained to be robust, and a forest for the breast-cancer table."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor, nn

from sparring.core.registry import find, register

WEIGHTS = files("sparring.models") / "weights"
"""Where the trained networks lie; `scripts/train_zoo.py` writes them."""


class ZooModel(NamedTuple):
    """Hold an entry of the zoo.

    build: makes the raw model, ready to be wrapped. data: the embedded set it belongs to. about: one line.
    """

    build: Callable[[], Any]
    data: str
    about: str


def zoo(name: str) -> ZooModel:
    """Return the model of that name; UnknownName names the nearest.

    `everything("model")` lists them all.
    """
    return find("model", name)


def entry(name: str, *, data: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a function without arguments that makes a model, with the set it belongs to."""

    def enter(build: Callable[[], Any]) -> Callable[[], Any]:
        about = (build.__doc__ or "").split("\n", 1)[0]
        register("model", name)(ZooModel(build, data, about))
        return build

    return enter


class DigitsNet(nn.Module):
    """Compute logits [n, 10] of digits [n, 1, 8, 8] in [0, 1].

    It has one convolution and three hidden layers, 13,544 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(192, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@entry("digits-plain", data="digits")
def digits_plain() -> nn.Module:
    """Return a digits network with standard training."""
    return _trained("digits-plain")


@entry("digits-robust", data="digits")
def digits_robust() -> nn.Module:
    """Return the same network trained on PGD points, Linf 0.15 (Madry et al. 2018).

    Source: arXiv:1706.06083.
    """
    return _trained("digits-robust")


@entry("breast-cancer-forest", data="breast-cancer")
def breast_cancer_forest() -> Any:
    """Return a hundred boosted trees of depth 3, fitted on the training split when asked for."""
    from sklearn.ensemble import GradientBoostingClassifier

    data = find("dataset", "breast-cancer")("train")
    return GradientBoostingClassifier(random_state=0).fit(data.domain.native(data.x), data.y.numpy())


def _trained(name: str) -> nn.Module:
    net = DigitsNet()
    net.load_state_dict(safetensors.torch.load((WEIGHTS / f"{name}.safetensors").read_bytes()))
    return net.eval()
