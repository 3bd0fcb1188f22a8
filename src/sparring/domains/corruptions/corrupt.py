"""The 15 common corruptions of images in five severities."""

from collections.abc import Callable

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import InputError, NeedsError, UnknownName
from sparring.core.rng import Rng
from sparring.domains.corruptions import blurs, digital, noises, weather
from sparring.domains.image import Image

CORRUPTIONS: dict[str, Callable[[Tensor, int, Rng], Tensor]] = {
    "gaussian_noise": noises.gaussian_noise,
    "shot_noise": noises.shot_noise,
    "impulse_noise": noises.impulse_noise,
    "defocus_blur": blurs.defocus_blur,
    "glass_blur": blurs.glass_blur,
    "motion_blur": blurs.motion_blur,
    "zoom_blur": blurs.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg": digital.jpeg,
}
"""By name, in the order of the paper: noise, blur, weather, digital."""

SEVERITIES = (1, 2, 3, 4, 5)

NUMBERS_AT_ONCE = 2**23
"""Numbers per slice of a batch, to limit memory. Slices do not change results, because images are independent."""


def corrupt(x: Tensor, name: str, severity: int, rng: Rng, domain: Domain) -> Tensor:
    """Return images under a common corruption.

    x: float [n, channels, height, width] in the bounds of the domain. name: one of `CORRUPTIONS`. severity: 1 to 5; 0 gives x
    itself. rng: one a sample; the same rng give the same image in any batch, and the same noise in every severity. Returns images
    like x, with 256 levels between the bounds, as the published sets have. Raises UnknownName, InputError or NeedsError.

    Source: Hendrycks, Dietterich 2019, arXiv:1903.12261; strengths from the published code of ImageNet-C (used for images whose
    shorter side is at least 112 pixels) and CIFAR-10-C (used below), github.com/hendrycks/robustness. Lengths are scaled with the
    shorter side, so at 224 and at 32 pixels they are the published ones.

    Where we differ: frost is drawn, not six photographs; fog is a sum of smooth fields, not a diamond-square fractal; glass lets
    every pixel look at a neighbour instead of swapping them one after the other; elastic resamples once, not twice; blurs end at
    the edge by repeating it. Where a published severity changes images less than the one before, its strength is ours: all of glass
    and elastic, the upper severities of frost and of fog, one of motion, two of snow. The random numbers are ours, so
    single images differ from the published ones, and error rates are near theirs but not the same.
    """
    if not isinstance(domain, Image):
        raise NeedsError(f"common corruptions apply to images only, the inputs are {domain}")
    if name not in CORRUPTIONS:
        raise UnknownName("corruption", name, CORRUPTIONS)
    if severity not in (0, *SEVERITIES):
        raise InputError(f"severity {severity!r}: choose 0 (no change), 1, 2, 3, 4 or 5")
    if len(rng) != len(x):
        raise InputError(f"rng for {len(rng)} samples, {len(x)} images: give one stream per image")
    if severity == 0 or not len(x):
        return x.clone()
    span, made = domain.high - domain.low, rng.draw(name)
    done = []
    for rows in torch.arange(len(x), device=x.device).split(max(1, NUMBERS_AT_ONCE // x[0].numel())):
        shares = ((x[rows].double() - domain.low) / span).clamp(0, 1)
        changed = CORRUPTIONS[name](shares, int(severity), made.take(rows)).clamp(0, 1)
        done.append(((changed * 255).round() / 255 * span + domain.low).to(x.dtype))
    return torch.cat(done).clamp(domain.low, domain.high)
