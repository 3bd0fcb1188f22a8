"""Small networks with every part that importers know, as (name, module, shape of one input)."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Do(nn.Module):
    """A function as a module, with layers of its own."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, nn.Buffer(layer) if isinstance(layer, Tensor) else layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def head():
    return (nn.Flatten(), nn.LazyLinear(3))


def settled(norm):
    """A batch norm with statistics and weights that matter."""
    rng = torch.Generator().manual_seed(7)
    norm.running_mean = torch.randn(norm.num_features, generator=rng)
    norm.running_var = torch.rand(norm.num_features, generator=rng) + 0.3
    with torch.no_grad():
        norm.weight.copy_(torch.randn(norm.num_features, generator=rng))
        norm.bias.copy_(torch.randn(norm.num_features, generator=rng))
    return norm


def pooled(pool):
    return nn.Sequential(nn.Conv2d(2, 3, 2), pool, nn.Flatten(), nn.LazyLinear(4))


def after(function, width=6):
    """linear, the function, linear: for what acts number by number."""
    return Do(lambda self, x: self.last(function(self.first(x) * 3)), first=nn.Linear(5, width), last=nn.Linear(width, 3))


def residual(self, x):
    inner = F.relu(self.norm(self.conv(x)))
    return self.last((F.relu(self.second(inner) + x) + self.short(x)).mean((2, 3)))


def gated(self, x):
    return self.last(torch.sigmoid(self.a(x)) * torch.tanh(self.b(x)) + self.a(x) ** 2)


def sequence(self, x):  # [n, time, features]
    early, late = x[:, :2], x[:, -2:].flip(1)
    both = torch.cat([early, late, x[:, ::2] * 2], 1)
    return self.last(self.each(both.transpose(1, 2)).relu().permute(0, 2, 1).flatten(1))


def frozen(layer, x):
    with torch.no_grad():
        return layer(x) + 1


def in_place(self, y):
    before = y - 1
    z = y.relu_()
    return self.last(z * 2 + y + before)


def rows(self, x):  # each time step as a row of its own
    n, time, width = x.shape
    return self.last(self.each(x.reshape(n * time, width)).relu().view(n, time * 4))


_before = torch.random.get_rng_state()
torch.manual_seed(0)  # so that the weights do not depend on what was imported before
ZOO = [
    ("plain", nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)), (3, 4)),
    (
        "convolutions",
        nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.ReLU(True), nn.Conv2d(4, 4, 2, groups=2, dilation=2, padding=1), nn.ReLU(), *head()),
        (2, 6, 7),
    ),
    ("convolution 1d", nn.Sequential(nn.Conv1d(2, 3, 3, padding="same"), nn.ReLU(), nn.MaxPool1d(2), *head()), (2, 8)),
    ("padding same of even kernels", nn.Sequential(nn.Conv2d(2, 3, (2, 4), padding="same"), nn.ReLU(), *head()), (2, 5, 5)),
    ("one channel of numbers", nn.Sequential(nn.Linear(4, 1)), (4,)),
    (
        "normalised",
        Do(
            lambda self, x: self.last((x - self.mean) / self.deviation),
            mean=torch.tensor([[[0.4]], [[0.5]]]),
            deviation=torch.tensor([[[0.2]], [[0.3]]]),
            last=nn.Sequential(nn.Conv2d(2, 2, 2, padding=1), nn.ReLU(), *head()),
        ),
        (2, 3, 3),
    ),
    (
        "batch norm",
        nn.Sequential(
            nn.Conv2d(2, 4, 2, bias=False),
            settled(nn.BatchNorm2d(4)),
            nn.ReLU(),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(36, 5),
            settled(nn.BatchNorm1d(5)),
            nn.ReLU(),
            nn.Linear(5, 2),
        ),
        (2, 4, 4),
    ),
    ("batch norm without weights first", nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Conv2d(2, 3, 2, padding=1), nn.ReLU(), *head()), (2, 4, 4)),
    (
        "batch norm after transposed convolution",
        nn.Sequential(nn.ConvTranspose2d(2, 3, 3, 2, 1, output_padding=1), settled(nn.BatchNorm2d(3)), nn.ReLU(), *head()),
        (2, 3, 3),
    ),
    ("transposed convolution in groups", nn.Sequential(nn.ConvTranspose1d(4, 6, 3, 2, groups=2), settled(nn.BatchNorm1d(6)), nn.ReLU(), *head()), (4, 4)),
    (
        "residual",
        Do(
            residual,
            conv=nn.Conv2d(3, 3, 3, padding=1, bias=False),
            norm=settled(nn.BatchNorm2d(3)),
            second=nn.Conv2d(3, 3, 3, padding=1),
            short=nn.Conv2d(3, 3, 1),
            last=nn.Linear(3, 4),
        ),
        (3, 5, 5),
    ),
    ("max pool", pooled(nn.MaxPool2d(2)), (2, 7, 7)),
    ("max pool 3 stride 2 padding 1", pooled(nn.MaxPool2d(3, 2, 1)), (2, 8, 7)),
    ("max pool ceil", pooled(nn.MaxPool2d(3, 2, ceil_mode=True)), (2, 9, 7)),
    ("max pool ceil and padding", pooled(nn.MaxPool2d((2, 3), (3, 2), (1, 1), ceil_mode=True)), (2, 7, 8)),
    ("max pool dilated", pooled(nn.MaxPool2d(2, 1, dilation=2)), (2, 6, 6)),
    ("adaptive max pool", pooled(nn.AdaptiveMaxPool2d((2, 3))), (2, 5, 7)),
    ("max over an axis", Do(lambda self, x: self.last(x.amax(2)), last=nn.Linear(3, 2)), (3, 5)),
    ("average pool", pooled(nn.AvgPool2d(2)), (2, 7, 7)),
    ("average pool with padding", pooled(nn.AvgPool2d(3, 2, 1)), (2, 7, 8)),
    ("average pool without padding's zeros", pooled(nn.AvgPool2d(3, 2, 1, count_include_pad=False)), (2, 7, 8)),
    ("average pool ceil", pooled(nn.AvgPool2d(3, 2, 1, ceil_mode=True)), (2, 7, 9)),
    ("average pool ceil, zeros not counted", pooled(nn.AvgPool2d(2, 2, 0, ceil_mode=True, count_include_pad=False)), (2, 6, 8)),
    ("average pool with a divisor", pooled(nn.AvgPool2d(2, divisor_override=3)), (2, 6, 8)),
    ("average pool 1d", nn.Sequential(nn.AvgPool1d(3, 2, 1), *head()), (2, 7)),
    ("adaptive average pool", pooled(nn.AdaptiveAvgPool2d((3, 2))), (2, 7, 5)),
    ("global average pool", pooled(nn.AdaptiveAvgPool2d(1)), (2, 7, 5)),
    ("even adaptive average pool", pooled(nn.AdaptiveAvgPool2d(2)), (2, 7, 5)),
    ("leaky", after(nn.LeakyReLU(0.1)), (5,)),
    ("steep leaky", after(nn.LeakyReLU(1.7)), (5,)),
    ("prelu", nn.Sequential(nn.Conv1d(2, 3, 2), nn.PReLU(3), *head()), (2, 5)),
    ("absolute", after(torch.abs), (5,)),
    ("clip", after(lambda x: x.clamp(-0.5, 1.5)), (5,)),
    ("clip below", after(lambda x: x.clamp(min=-0.3)), (5,)),
    ("clip above", after(lambda x: x.clamp(max=0.3)), (5,)),
    ("hardtanh", after(nn.Hardtanh(-2, 0.5)), (5,)),
    ("relu6", after(nn.ReLU6()), (5,)),
    ("hard sigmoid", after(nn.Hardsigmoid()), (5,)),
    ("hard swish", after(nn.Hardswish()), (5,)),
    ("silu", after(nn.SiLU()), (5,)),
    ("sigmoid and tanh", after(lambda x: torch.sigmoid(x) - x.tanh() / 2), (5,)),
    ("softmax", nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.Softmax(1)), (5,)),
    ("log softmax", nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.LogSoftmax(-1)), (5,)),
    ("gated", Do(gated, a=nn.Linear(4, 6), b=nn.Linear(4, 6), last=nn.Linear(6, 3)), (4,)),
    ("sequence", Do(sequence, each=nn.Conv1d(3, 4, 2), last=nn.Linear(24, 3)), (5, 3)),
    ("rows", Do(rows, each=nn.Linear(3, 4), last=nn.Linear(20, 2)), (5, 3)),
    (
        "concatenated channels",
        Do(
            lambda self, x: self.last(torch.cat([self.a(x).relu(), x, torch.ones_like(x[:, :1])], 1)),
            a=nn.Conv2d(2, 2, 3, padding=1),
            last=nn.Sequential(nn.Conv2d(5, 2, 1), *head()),
        ),
        (2, 3, 3),
    ),
    (
        "padded shortcut",
        Do(
            lambda self, x: self.last(F.relu(F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)) + self.a(x))), a=nn.Conv2d(2, 4, 3, 2, 1), last=nn.Sequential(*head())
        ),
        (2, 5, 5),
    ),
    (
        "padding with ones",
        Do(lambda self, x: self.last(F.pad(x, (1, 0, 0, 2), value=1.0)), last=nn.Sequential(nn.Conv2d(2, 2, 2), nn.ReLU(), *head())),
        (2, 3, 3),
    ),
    ("mirrored padding", nn.Sequential(nn.ReflectionPad2d((1, 2, 0, 1)), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.ReplicationPad2d(1), *head()), (1, 4, 5)),
    (
        "constant matrix from the left",
        Do(lambda self, x: self.last((self.m @ x).relu().flatten(1)), m=torch.arange(6.0).reshape(2, 3) / 6, last=nn.Linear(8, 3)),
        (3, 4),
    ),
    ("gathered", Do(lambda self, x: self.last(x[:, [3, 0, 0, 2]].relu()), last=nn.Linear(4, 2)), (4,)),
    ("split", Do(lambda self, x: self.last(sum(part.relu() for part in x.chunk(3, 1))), last=nn.Linear(2, 2)), (6,)),
    (
        "maximum",
        Do(lambda self, x: self.last(torch.maximum(self.a(x), x) - torch.minimum(self.a(x), torch.zeros(()))), a=nn.Linear(4, 4), last=nn.Linear(4, 2)),
        (4,),
    ),
    ("spread out", Do(lambda self, x: self.last((x[:, :, None] - x[:, None, :]).abs().flatten(1)), last=nn.Linear(9, 2)), (3,)),
    ("enlarged", nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Upsample(scale_factor=2), *head()), (1, 4, 4)),
    ("shuffled pixels", nn.Sequential(nn.Conv2d(1, 4, 2), nn.PixelShuffle(2), nn.ReLU(), *head()), (1, 4, 4)),
    ("weight norm", nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 2)), (4,)),
    ("squeezed", Do(lambda self, x: self.last(x.squeeze(1).unsqueeze(2)).squeeze(2).relu(), last=nn.Linear(1, 1)), (1, 4)),
    ("dropout of channels", nn.Sequential(nn.Conv2d(1, 2, 2), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout(), *head()), (1, 3, 3)),
    ("randomised relu", nn.Sequential(nn.Linear(5, 4), nn.RReLU(), nn.Linear(4, 3)), (5,)),
    ("part without gradients", Do(lambda self, x: self.last(frozen(self.first, x).relu()), first=nn.Linear(4, 4), last=nn.Linear(4, 2)), (4,)),
    ("written in place and read again", Do(lambda self, x: in_place(self, self.a(x)), a=nn.Linear(4, 4), last=nn.Linear(4, 2)), (4,)),
    ("written in place", Do(lambda self, x: self.last(self.a(x).mul_(2).add_(1).relu_()), a=nn.Linear(4, 4), last=nn.Linear(4, 2)), (4,)),
]


def entries():
    """The zoo with weights from a fixed seed, lazy layers settled, some of it in training mode."""
    for place, (name, module, shape) in enumerate(ZOO):
        with warnings.catch_warnings(action="ignore"):  # even kernels with padding="same"
            module.eval()(torch.zeros(2, *shape))
        rng = torch.Generator().manual_seed(place)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
        yield name, module.train(place % 2 == 0), shape


NETWORKS = {name: (module, shape) for name, module, shape in entries()}
torch.random.set_rng_state(_before)
