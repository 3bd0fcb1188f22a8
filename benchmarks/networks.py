"""The published networks of the shared data folder, as factories whose keys are those of the files.

`load("wong")` builds a network and reads its weights; `wong()` only builds it, for
`model=benchmarks.networks:wong weights=../shared/data/models/mnist_fgsm_wong.safetensors`.
All take images in [0, 1], NCHW, and normalise inside. Clean accuracy measured with `load`, float32
(MNIST: all 10,000 test images; Fashion-MNIST: the 900 at hand; CIFAR: the 300 exact test images at hand):

    wong             98.50   trades            99.48   mlp3              97.52   cifar_conv_adv2   70.0
    wk17a            98.11   madry_tiny        97.94   mlp6              96.29   cifar_conv_mix4   75.0
    wong01           98.20   conv_ibp          96.69   fmnist_wong01     79.11   cifar_conv_nat    78.0
    conv_adv03       96.33   colt01            99.16                             cifar_resnet2b    75.0
    conv_nat         98.25                                                       cifar_resnet20    93.0
                                                                                 cifar_resnet8     89.0

The README of the data gives the same for MNIST; its CIFAR figures are of 784 images, of which we hold 300.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "models"


class Normalise(nn.Module):
    """Subtract the mean and divide by the deviation, channel by channel; neither appears in the state."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class Stack(nn.Sequential):
    """An `nn.Sequential` behind a normalisation that leaves the keys of its state alone."""

    def __init__(self, layers: OrderedDict[str, nn.Module], normalise: nn.Module):
        super().__init__(layers)
        self.normalise = normalise

    def forward(self, input: Tensor) -> Tensor:
        x = self.normalise(input)
        for name, layer in self.named_children():
            if name != "normalise":
                x = layer(x)
        return x


MNIST = ((0.1307,), (0.3081,))
CIFAR = ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616))
CIFAR_RESNET = ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def stack(*layers: nn.Module) -> OrderedDict[str, nn.Module]:
    """Layers numbered as `nn.Sequential` numbers them."""
    return OrderedDict((str(index), layer) for index, layer in enumerate(layers))


def strided(channels: int, widths: tuple[int, int], kernel: int, padding: int, *features: int) -> nn.Sequential:
    """Two convolutions of stride 2, then linear layers, ReLU between."""
    layers: list[nn.Module] = []
    for before, after in zip((channels, widths[0]), widths, strict=True):
        layers += [nn.Conv2d(before, after, kernel, stride=2, padding=padding), nn.ReLU()]
    layers.append(nn.Flatten())
    for before, after in itertools.pairwise(features):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def wong() -> nn.Module:
    """`mnist_fgsm_wong`, `mnist_wk17a`, `mnist_wong01`, `mnist_conv_adv03`, `fmnist_wong01`."""
    return strided(1, (16, 32), 4, 1, 1568, 100, 10)


def madry_tiny() -> nn.Module:
    return strided(1, (4, 8), 5, 2, 392, 128, 10)


def conv_nat() -> nn.Module:
    return Stack(stack(*strided(1, (16, 32), 4, 0, 800, 100, 10)), Normalise(*MNIST))


def cifar_conv_adv2() -> nn.Module:
    """`cifar_conv_adv2` and `cifar_conv_mix4`."""
    return Stack(stack(*strided(3, (16, 32), 4, 1, 2048, 100, 10)), Normalise(*CIFAR))


def cifar_conv_nat() -> nn.Module:
    return strided(3, (32, 64), 4, 0, 2304, 128, 64, 10)


def conv_ibp() -> nn.Module:
    names = ("conv1", "relu1", "conv2", "relu2", "flatten", "fc1", "relu3", "fc2")
    return nn.Sequential(OrderedDict(zip(names, strided(1, (8, 16), 4, 1, 784, 256, 10), strict=True)))


def trades() -> nn.Module:
    widths = (1, 32, 32, 64, 64)
    features = OrderedDict[str, nn.Module]()
    for index in range(1, 5):
        features[f"conv{index}"] = nn.Conv2d(widths[index - 1], widths[index], 3)
        features[f"relu{index}"] = nn.ReLU()
        if index % 2 == 0:
            features[f"pool{index // 2}"] = nn.MaxPool2d(2)
    layers = [nn.Linear(1024, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)]
    classifier = OrderedDict[str, nn.Module](zip(("fc1", "relu1", "fc2", "relu2", "fc3"), layers, strict=True))
    parts = {"feature_extractor": nn.Sequential(features), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict(**parts, classifier=nn.Sequential(classifier)))


def mlp3() -> nn.Module:
    layers = (nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    names = ("flatten", "fc1", "relu1", "fc2", "relu2", "fc3")
    return nn.Sequential(OrderedDict(zip(names, layers, strict=True)))


def mlp6() -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(784, 100)]
    for width in (100, 100, 100, 100, 10):
        layers += [nn.ReLU(), nn.Linear(100, width)]
    return nn.Sequential(*layers)


class ColtReLU(nn.ReLU):
    """A ReLU that also holds the slopes COLT's certifier learned, which inference does not read."""

    def __init__(self, *shape: int):
        super().__init__()
        self.register_buffer("deepz_lambda", torch.zeros(shape))


def colt01() -> nn.Module:
    def named(name: str, layer: nn.Module) -> nn.Module:
        return nn.Sequential(OrderedDict({name: layer}))

    layers = nn.Sequential(
        Normalise(*MNIST),
        named("conv", nn.Conv2d(1, 32, 5, stride=2, padding=2)),
        ColtReLU(32, 14, 14),
        named("conv", nn.Conv2d(32, 64, 4, stride=2, padding=1)),
        ColtReLU(64, 7, 7),
        nn.Flatten(),
        named("linear", nn.Linear(3136, 100)),
        ColtReLU(100),
        named("linear", nn.Linear(100, 10)),
    )
    return nn.Sequential(OrderedDict(blocks=named("layers", layers)))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, with batch normalisation or without."""

    def __init__(self, before: int, after: int, stride: int, shortcut: nn.Module, normalised: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=not normalised)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=not normalised)
        self.bn1 = nn.BatchNorm2d(after) if normalised else nn.Identity()
        self.bn2 = nn.BatchNorm2d(after) if normalised else nn.Identity()
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class Subsample(nn.Module):
    """ResNet's shortcut of option A: every second pixel, the missing channels zero."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.missing = (after - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing, self.missing))


class ResNet2b(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise(*CIFAR_RESNET)
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2))
        self.layer1 = nn.Sequential(Block(8, 16, 2, shortcut, False), Block(16, 16, 1, nn.Identity(), False))
        self.linear1 = nn.Linear(1024, 100)
        self.linear2 = nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(F.relu(self.conv1(self.normalise(x))))
        return self.linear2(F.relu(self.linear1(x.flatten(1))))


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise(*IMAGENET)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1, nn.Identity(), True) for _ in range(3)))
        self.layer2 = self._widen(16, 32)
        self.layer3 = self._widen(32, 64)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _widen(before: int, after: int) -> nn.Module:
        rest = (Block(after, after, 1, nn.Identity(), True) for _ in range(2))
        return nn.Sequential(Block(before, after, 2, Subsample(before, after), True), *rest)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(self.normalise(x))))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class ResNet8(nn.Module):
    """MLPerf Tiny's ResNet-8, with TensorFlow's padding: one row and column, below and to the right, at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        shapes = (3, 16), (16, 16), (16, 16), (16, 32), (32, 32), (16, 32), (32, 64), (64, 64), (32, 64)
        convolutions: list[nn.Module] = []
        for index, (before, after) in enumerate(shapes):
            if index in (5, 8):
                convolutions.append(nn.Conv2d(before, after, 1, stride=2))
            elif index in (3, 6):
                convolutions.append(nn.Conv2d(before, after, 3, stride=2))
            else:
                convolutions.append(nn.Conv2d(before, after, 3, padding=1))
        self.c = nn.ModuleList(convolutions)
        self.b = nn.ModuleList(nn.BatchNorm2d(width, eps=1e-3) for width in (16, 16, 16, 32, 32, 64, 64))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        c, b = self.c, self.b
        x = F.relu(b[0](c[0](x * 255)))
        x = F.relu(b[2](c[2](F.relu(b[1](c[1](x))))) + x)
        inner = F.relu(b[3](c[3](F.pad(x, (0, 1, 0, 1)))))
        x = F.relu(b[4](c[4](inner)) + c[5](x))
        inner = F.relu(b[5](c[6](F.pad(x, (0, 1, 0, 1)))))
        x = F.relu(b[6](c[7](inner)) + c[8](x))
        return self.fc(x.mean((2, 3)))


cifar_resnet2b, cifar_resnet20, cifar_resnet8 = ResNet2b, ResNet20, ResNet8

NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "wong": (wong, "mnist_fgsm_wong"),
    "wk17a": (wong, "mnist_wk17a"),
    "wong01": (wong, "mnist_wong01"),
    "conv_adv03": (wong, "mnist_conv_adv03"),
    "fmnist_wong01": (wong, "fmnist_wong01"),
    "trades": (trades, "mnist_trades"),
    "madry_tiny": (madry_tiny, "mnist_madry_tiny"),
    "conv_ibp": (conv_ibp, "mnist_conv_ibp"),
    "colt01": (colt01, "mnist_colt01"),
    "conv_nat": (conv_nat, "mnist_conv_nat"),
    "mlp3": (mlp3, "mnist_mlp3_nat"),
    "mlp6": (mlp6, "mnist_mlp6x100_nat"),
    "cifar_conv_adv2": (cifar_conv_adv2, "cifar_conv_adv2"),
    "cifar_conv_mix4": (cifar_conv_adv2, "cifar_conv_mix4"),
    "cifar_conv_nat": (cifar_conv_nat, "cifar_conv_nat"),
    "cifar_resnet2b": (cifar_resnet2b, "cifar_resnet2b_adv"),
    "cifar_resnet20": (cifar_resnet20, "cifar_resnet20"),
    "cifar_resnet8": (cifar_resnet8, "cifar_resnet8_mlperf"),
}


def load(name: str) -> nn.Module:
    """The network of that name with its published weights, in eval mode; a name is a factory's or a file's."""
    known = {entry[1]: entry for entry in NETWORKS.values()} | NETWORKS
    if name not in known:
        raise KeyError(f"no network is called {name!r}; there are {', '.join(known)}")
    factory, file = known[name]
    network = factory()
    network.load_state_dict(load_file(WEIGHTS / f"{file}.safetensors"))
    return network.eval()
