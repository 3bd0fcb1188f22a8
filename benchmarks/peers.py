"""PGD of other libraries behind one signature, each where it can be imported.

torchattacks, foolbox and ART are on the package index; adversarial-library is found on PYTHONPATH. Each
function takes (module, x, y, radius, step, steps) and returns the adversarial points.
"""

import importlib
import sys
import types
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

Pgd = Callable[[nn.Module, Tensor, Tensor, float, float, int], Tensor]
BATCH = 250


def naive(module: nn.Module, x: Tensor, y: Tensor, radius: float, step: float, steps: int) -> Tensor:
    """The loop everybody writes: live parameters, `loss.backward()`."""
    done = []
    for image, label in zip(x.split(BATCH), y.split(BATCH), strict=True):
        point = (image + torch.empty_like(image).uniform_(-radius, radius)).clamp(0, 1)
        for _ in range(steps):
            point = point.detach().requires_grad_(True)
            nn.functional.cross_entropy(module(point), label).backward()
            point = image + (point + step * point.grad.sign() - image).clamp(-radius, radius)
            point = point.clamp(0, 1)
        done.append(point.detach())
    return torch.cat(done)


def floor(module: nn.Module, x: Tensor, y: Tensor, radius: float, step: float, steps: int) -> Tensor:
    """Forward plus input gradient on a frozen module, in place: nothing an attack could leave out."""
    done = []
    for image, label in zip(x.split(BATCH), y.split(BATCH), strict=True):
        low, high = (image - radius).clamp_min(0), (image + radius).clamp_max(1)
        point = torch.maximum(torch.minimum(image + torch.empty_like(image).uniform_(-radius, radius), high), low)
        for _ in range(steps):
            point.requires_grad_(True)
            loss = nn.functional.cross_entropy(module(point), label, reduction="sum")
            (grad,) = torch.autograd.grad(loss, point)
            point = point.detach().add_(grad.sign_(), alpha=step).clamp_(low, high)
        done.append(point)
    return torch.cat(done)


def torchattacks(module: nn.Module, x: Tensor, y: Tensor, radius: float, step: float, steps: int) -> Tensor:
    attack = importlib.import_module("torchattacks").PGD(module, eps=radius, alpha=step, steps=steps, random_start=True)
    return torch.cat([attack(*part) for part in zip(x.split(BATCH), y.split(BATCH), strict=True)])


def foolbox(module: nn.Module, x: Tensor, y: Tensor, radius: float, step: float, steps: int) -> Tensor:
    library = importlib.import_module("foolbox")
    model = library.PyTorchModel(module, bounds=(0, 1), device="cpu")
    attack = library.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True)
    return torch.cat([attack(model, *part, epsilons=radius)[1] for part in zip(x.split(BATCH), y.split(BATCH), strict=True)])


def art(module: nn.Module, x: Tensor, y: Tensor, radius: float, step: float, steps: int) -> Tensor:
    estimators = importlib.import_module("art.estimators.classification")
    evasion = importlib.import_module("art.attacks.evasion")
    model = estimators.PyTorchClassifier(module, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu")
    attack = evasion.ProjectedGradientDescentPyTorch(model, eps=radius, eps_step=step, max_iter=steps, num_random_init=1, batch_size=BATCH, verbose=False)
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def adversarial_library(module: nn.Module, x: Tensor, y: Tensor, radius: float, step: float, steps: int) -> Tensor:
    _stand_in("torchvision", "torchvision.transforms", "torchvision.utils", "visdom")
    attack = importlib.import_module("adv_lib.attacks.projected_gradient_descent").pgd_linf
    parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
    return torch.cat([attack(module, *part, ε=radius, steps=steps, absolute_step_size=step, restarts=1, loss_function="ce") for part in parts])


def _stand_in(*names: str) -> None:
    """Empty modules for packages that the library imports but PGD does not need."""
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, RuntimeError):
            empty = types.ModuleType(name)
            empty.__getattr__ = lambda attribute: object  # type: ignore[method-assign]
            empty.__path__ = []  # type: ignore[attr-defined]
            sys.modules[name] = empty


PEERS: dict[str, Pgd] = {"torchattacks": torchattacks, "adversarial-library": adversarial_library, "foolbox": foolbox, "ART": art}


def available(module: nn.Module, x: Tensor, y: Tensor, radius: float) -> dict[str, Pgd]:
    """The peers that run here; what fails is named on standard error."""
    found = {}
    for name, run in PEERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run(module, x[:4], y[:4], radius, radius / 30, 1)
            found[name] = run
        except Exception as error:  # a peer may fail in any way
            sys.stderr.write(f"{name} does not run here: {type(error).__name__}: {error}\n")
    return found
