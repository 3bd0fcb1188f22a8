"""Victims that answer by a vote over many noisy or masked copies, and their certificates."""

from typing import TYPE_CHECKING

from sparring.core.group import group

if TYPE_CHECKING:
    from sparring.certification.smoothing.noise import ablation as ablation
    from sparring.certification.smoothing.noise import gaussian as gaussian
    from sparring.certification.smoothing.noise import uniform as uniform
    from sparring.certification.smoothing.patch_cleanser import patch_cleanser as patch_cleanser
    from sparring.certification.smoothing.patch_smoothing import band_vote as band_vote
    from sparring.certification.smoothing.smoothed import smoothed as smoothed

group(
    __name__,
    {
        "smoothed": "certification.smoothing.smoothed",
        "gaussian": "certification.smoothing.noise",
        "uniform": "certification.smoothing.noise",
        "ablation": "certification.smoothing.noise",
        "band_vote": "certification.smoothing.patch_smoothing",
        "patch_cleanser": "certification.smoothing.patch_cleanser",
    },
)
