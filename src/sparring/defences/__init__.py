"""Training of more robust models, and architectures with certificates."""

from typing import TYPE_CHECKING

from sparring.core.group import group

if TYPE_CHECKING:
    from sparring.certification.smoothing.patch_cleanser import patch_cleanser as patch_cleanser
    from sparring.certification.smoothing.patch_smoothing import band_vote as band_vote
    from sparring.certification.smoothing.smoothed import smoothed as smoothed
    from sparring.defences.training.harden import harden as harden
    from sparring.models.bpda import bpda as bpda
    from sparring.models.eot import eot as eot

group(
    __name__,
    {
        "harden": "defences.training.harden",
        "eot": "models.eot",
        "bpda": "models.bpda",
        "smoothed": "certification.smoothing.smoothed",
        "band_vote": "certification.smoothing.patch_smoothing",
        "patch_cleanser": "certification.smoothing.patch_cleanser",
    },
)
