"""A prepared copy answers as the model does, and the model never notices."""

import copy
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.models.layers import BlockedConvolution
from sparring.models.prepare import prepare
from sparring.models.rewrites import _random_states, simplified


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        module = build()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                width = part.num_features
                part.running_mean, part.running_var = torch.randn(width), torch.rand(width) + 0.5
                part.weight.data, part.bias.data = torch.rand(width) + 0.5, torch.randn(width)
    return module


def images(*shape: int, seed: int = 3) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def gradient(module: nn.Module, x: Tensor, pick: Callable[[Any], Tensor] = lambda output: output) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(pick(module(x)), torch.arange(len(x)) % 4, reduction="sum"), x)[0]


def agree(module: nn.Module, quick: nn.Module, x: Tensor, pick: Callable[[Any], Tensor] = lambda output: output) -> None:
    """Outputs and gradients up to rounding, on inputs and a batch size that `prepare` has not seen."""
    criterion = copy.deepcopy(module).eval()
    expected, seen = pick(criterion(x)), pick(quick(x))
    assert seen.dtype == expected.dtype
    torch.testing.assert_close(seen, expected.detach(), rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    wanted, found = gradient(criterion, x, pick), gradient(quick, x, pick)
    error = (wanted - found).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1).clamp_min(1e-12)
    assert error.median() < 1e-4
    assert (wanted.sign() == found.sign()).float().mean() > 0.995


def blocked(module: nn.Module) -> bool:
    """Whether some convolution has the faster input gradient."""
    return any(isinstance(part, BlockedConvolution) for part in module.modules())


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = x + self.bn2(self.conv2(inner))
        return x.relu()


class Shared(nn.Module):
    """One convolution called twice, once before a batch normalisation, whose input is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.bn = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(self.first(x)))
        x = self.bn(self.conv(x))
        before = self.conv(x)
        x = F.relu(self.bn(before)) + before
        return self.linear(self.linear(x.mean((2, 3))))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if x.mean() > 0.1:
            x = 2 * x
        return self.head(x.mean((2, 3)))


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 2.0) -> dict[str, Any]:
        x = self.conv(x) * scale
        if mask is not None:
            x = x * mask
        return {"logits": x.mean((2, 3)), "features": (x, 7)}


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 8).round() / 8

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore
        return g


class Quantised(nn.Module):
    """What tracing loses: a gradient of its own and a part without any."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            shift = x.mean(1, keepdim=True)
        return self.linear(StraightThrough.apply(x) - 3 * shift)  # pyright: ignore


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + torch.rand(1) + random.random() + float(np.random.rand())


def plain_stack() -> nn.Module:
    layers = [nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 36, 64), nn.ReLU(), nn.Linear(64, 4))


def residual() -> nn.Module:
    stem = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    return nn.Sequential(*stem, Residual(8), Residual(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def perceptron() -> nn.Module:
    hidden = [nn.Linear(40, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64), nn.GELU()]
    return nn.Sequential(*hidden, nn.Linear(64, 4))


ARCHITECTURES = {
    "plain stack": (plain_stack, (1, 28, 28)),
    "residual": (residual, (3, 12, 12)),
    "perceptron": (perceptron, (40,)),
    "shared weights": (Shared, (2, 9, 9)),
    "control flow": (Branching, (1, 12, 12)),
    "own gradient": (Quantised, (16,)),
    "one layer": (lambda: nn.Linear(16, 4), (16,)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copy_agrees(name: str, dtype: torch.dtype):
    build, shape = ARCHITECTURES[name]
    module = seeded(build).to(dtype)
    quick = prepare(module, images(32, *shape).to(dtype))
    assert not quick.training
    assert not any(p.requires_grad for p in quick.parameters())
    agree(module, quick, images(19, *shape, seed=4).to(dtype))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("blocks", [1, 2, 4])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 5, "stride": 2, "padding": 2, "bias": False},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": (3, 5), "stride": (1, 2), "padding": (0, 2)},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": 1},
        {"kernel_size": 7, "stride": 4, "padding": 3},
        {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 3},
    ],
)
def test_blocked_gradient_is_the_gradient(settings: dict[str, Any], blocks: int, channels: int):
    layer = seeded(lambda: nn.Conv2d(channels, 6, **settings)).double().requires_grad_(False)
    assert isinstance(layer, nn.Conv2d)
    for size in ((11, 14), (12, 12)):
        blocked = BlockedConvolution(layer, size, blocks)
        x = images(2, channels, *size).double().requires_grad_()
        weights = torch.randn(layer(x).shape, generator=torch.Generator().manual_seed(0)).double()
        (expected,) = torch.autograd.grad(layer(x), x, weights)
        torch.testing.assert_close(torch.autograd.grad(blocked(x), x, weights)[0], expected)


@pytest.mark.parametrize(
    ("first", "faster"),
    [
        (nn.Conv2d(4, 8, 3, groups=2), False),
        (nn.Conv2d(4, 8, 3, padding="same"), False),
        (nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(4, 8, 3, stride=2, dilation=2), True),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), True),
    ],
    ids=str,
)
def test_every_first_convolution(first: nn.Conv2d, faster: bool):
    """Those that the faster input gradient cannot express stay as they are."""
    module = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))
    quick = prepare(module, images(16, 4, 13, 13))
    assert blocked(quick) is faster
    agree(module, quick, images(7, 4, 13, 13, seed=4))


def test_another_size_than_the_example():
    module = seeded(residual)
    quick = prepare(module, images(32, 3, 16, 16))
    agree(module, quick, images(5, 3, 21, 10))
    assert quick(images(1, 3, 16, 16)).shape == (1, 4)


def test_the_same_model_gives_the_same_copy():
    """Not even the last bit may depend on a clock: a resumed run must repeat its verdicts."""
    x = images(16, 1, 28, 28)
    module = seeded(lambda: nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 10)))
    asked = x.clone().requires_grad_(True)
    gradients = [torch.autograd.grad(prepare(module, x)(asked).logsumexp(1).sum(), asked)[0] for _ in range(3)]
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_outputs_keep_their_structure():
    module = Optional()
    x = images(8, 1, 9, 9)
    for precision in ("exact", "bfloat16"):
        output = prepare(module, x, precision=precision)(x)
        assert list(output) == ["logits", "features"]
        assert output["features"][1] == 7
        assert output["logits"].dtype == output["features"][0].dtype == torch.float32
    agree(module, prepare(module, x), x, lambda output: output["logits"])


def test_normalisation_is_folded_and_pooling_comes_first():
    layers = OrderedDict[str, nn.Module](conv=nn.Conv2d(1, 4, 3), bn=nn.BatchNorm2d(4), relu=nn.ReLU(), pool=nn.MaxPool2d(2))
    module = seeded(lambda: nn.Sequential(layers)).eval().requires_grad_(False)
    x = images(3, 1, 10, 10)
    quick = simplified(copy.deepcopy(module), x)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in quick.modules())
    kinds = [str(node.target) for node in quick.graph.nodes]  # pyright: ignore
    assert kinds.index("pool") == len(kinds) - 3
    torch.testing.assert_close(quick(x), module(x), rtol=1e-4, atol=1e-5)


def test_normalisation_in_a_branching_model_is_folded():
    quick = prepare(seeded(Branching), images(16, 1, 12, 12))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in quick.modules())


def test_batch_normalisation_without_statistics_stays():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    quick = prepare(module, images(8, 1, 6, 6))
    assert any(isinstance(part, nn.BatchNorm2d) for part in quick.modules())
    agree(module, quick, images(8, 1, 6, 6, seed=4))


def test_randomness_of_a_model_is_not_frozen():
    quick = prepare(Noisy(), images(8, 16))
    x = images(2, 16)
    assert not torch.equal(quick(x), quick(x))


@pytest.mark.parametrize("name", ["residual", "control flow", "own gradient"])
@pytest.mark.parametrize("precision", ["exact", "bfloat16"])
def test_module_and_random_states_are_untouched(name: str, precision: Any):
    build, shape = ARCHITECTURES[name]
    module = seeded(build).train()
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    gradient(module, images(4, *shape))
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    state = copy.deepcopy(module.state_dict())
    layout = [parameter.stride() for parameter in module.parameters()]
    parts, states, calls_before = list(module.modules()), _random_states(), len(calls)
    prepare(module, images(16, *shape), precision=precision)
    assert _random_states() == states
    assert len(calls) == calls_before
    assert all(part.training for part in module.modules())
    assert list(module.modules()) == parts
    assert layout == [parameter.stride() for parameter in module.parameters()]
    for parameter in module.parameters():
        assert parameter.requires_grad
        assert parameter.grad is not None
        assert bool((parameter.grad == 1).all())
    for key, value in module.state_dict().items():
        assert torch.equal(value, state[key])


def test_random_states_are_untouched_without_hooks():
    noisy, steady = Noisy(), seeded(plain_stack)
    states = _random_states()
    prepare(noisy, images(8, 16))
    prepare(steady, images(16, 1, 28, 28))
    assert _random_states() == states


def test_hooks_still_act():
    module = seeded(plain_stack)
    module.register_forward_hook(lambda _module, _inputs, output: 3 * output)  # pyright: ignore
    x, quick = images(8, 1, 28, 28, seed=4), prepare(module, images(8, 1, 28, 28))
    torch.testing.assert_close(quick(x), 3 * seeded(plain_stack)(x))
    agree(module, quick, x)


def test_prepared_inside_no_grad_and_inference_mode():
    module = seeded(plain_stack)
    with torch.no_grad():
        one = prepare(module, images(8, 1, 28, 28))
    with torch.inference_mode():
        other = prepare(module, images(8, 1, 28, 28))
    for quick in (one, other):
        assert blocked(quick)
        agree(module, quick, images(8, 1, 28, 28, seed=4))


class Uncopyable(nn.Linear):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("there is only one of me")


def test_uncopyable_module_is_returned_with_a_warning(caplog: pytest.LogCaptureFixture):
    module = Uncopyable(3, 2)
    assert prepare(module, images(2, 3)) is module
    assert "cannot be copied" in caplog.text


def test_token_model():
    module = nn.Sequential(nn.Embedding(20, 8), nn.Flatten(), nn.Linear(40, 4))
    tokens = torch.arange(30).reshape(6, 5) % 20
    torch.testing.assert_close(prepare(module, tokens)(tokens), module(tokens))


@pytest.mark.parametrize("name", ["plain stack", "residual", "perceptron"])
def test_bfloat16_is_close(name: str):
    build, shape = ARCHITECTURES[name]
    module = seeded(build).eval()
    x = images(32, *shape)
    quick = prepare(module, x, precision="bfloat16")
    expected, seen = module(x), quick(x)
    assert seen.dtype == torch.float32
    assert (seen - expected).abs().max() < 0.1 * expected.abs().max()
    wanted, found = gradient(module, x), gradient(quick, x)
    assert F.cosine_similarity(wanted.flatten(1), found.flatten(1)).median() > 0.95
