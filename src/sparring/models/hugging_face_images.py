"""Processors of images that Hugging Face keeps beside a model: their normalisation in the units of a domain, or a refusal."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import LoadError
from sparring.domains.image import Image

PREPARED = "preprocessor_config.json"
"""The file in which processors of images keep their settings."""

SIDE = 8
"""Height and width of the images of one colour about which a processor is asked."""

CLOSE = 1e-4
"""By how much, against the largest number, what a processor returns may differ from its normalisation."""

SPATIAL = ("do_resize", "do_center_crop", "do_pad", "do_crop_margin", "do_thumbnail", "do_align_long_axis")
"""Settings that change the size of images, but no image of one colour."""

CURE = "give mean= and std= to feed the network with the images as they are"


def normalisation_in(path: Path, domain: Image) -> dict[str, Any]:
    """Return the settings mean, std and scale that do what a processor does with images.

    The processor is asked about images of one colour, so that defaults of its class and steps that are no normalisation do not go unnoticed.

    Args:
        path: The folder of the model; without a processor in it there is nothing to do.
        domain: The images. Their lowest value is level 0 of a picture, their highest one level 255.

    Raises:
        LoadError: Where the processor cannot be read, does more to the colours than a normalisation, or makes images of another size.
    """
    file = path / PREPARED
    if not file.is_file():
        return {}
    try:
        processor = _read(path)
        factor, mean, std = _settings(processor)
        made = _made(processor, probes := _probes(domain.shape[0]))
    except Exception as error:  # a foreign processor may raise anything
        said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise LoadError(f"{file} does not say how images are normalised ({type(error).__name__}: {said}): {CURE}, or mend the file") from error
    if not _explains(factor, mean, std, probes, made):  # EfficientNet has further steps, which are a normalisation together
        factor, mean, std = _measured(made)
    if not _explains(factor, mean, std, probes, made):
        raise LoadError(f"{file}: {type(processor).__name__} does more than normalise, such as reversing the channels: {CURE}, or bring the model in a factory")
    _refuse_other_size(processor, domain, file)
    scale = factor * 255 / (domain.high - domain.low)
    shifted = np.asarray(mean) + domain.low * scale
    settings = {"mean": shifted.tolist() if domain.low else mean, "std": std, "scale": scale}
    idle = {"mean": 0, "std": 1, "scale": 1}
    return {name: value for name, value in settings.items() if not bool(np.all(np.asarray(value) == idle[name]))}


def _read(path: Path) -> Any:
    """The processor in a folder, which is read without code of the folder and without asking elsewhere."""
    import transformers

    logs = transformers.utils.logging
    before = logs.get_verbosity()
    logs.set_verbosity_error()  # which backend it takes is of no interest here
    try:
        return transformers.AutoImageProcessor.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    finally:
        logs.set_verbosity(before)


def _settings(processor: Any) -> tuple[float, Any, Any]:
    """Factor, mean and standard deviation: levels from 0 to 255 become (level * factor - mean) / std."""
    rescaled, normalised = bool(getattr(processor, "do_rescale", False)), bool(getattr(processor, "do_normalize", False))
    mean, std = (list(map(float, np.ravel(getattr(processor, name)))) if normalised else plain for name, plain in (("image_mean", 0.0), ("image_std", 1.0)))
    return float(processor.rescale_factor) if rescaled else 1.0, mean, std


def _measured(made: Tensor) -> tuple[float, list[float], list[float]]:
    """The same, from what became of black and white."""
    black, white = made[0].flatten(), made[1].flatten()
    return 1.0, (-black * 255 / (white - black)).tolist(), (255 / (white - black)).tolist()


def _explains(factor: float, mean: Any, std: Any, probes: Tensor, made: Tensor) -> bool:
    """Whether levels became (level * factor - mean) / std."""
    expected = (probes * factor - _shaped(mean)) / _shaped(std)
    return made.shape == expected.shape and bool(((made - expected).abs() <= CLOSE * max(1.0, float(made.abs().max()))).all() and (_shaped(std) > 0).all())


def _probes(channels: int) -> Tensor:
    """Levels of images of one colour, float64 [3, channels, 1, 1]: black, white, and one whose channels differ."""
    mixed = 30 + torch.arange(channels, dtype=torch.float64) * 180 / max(channels - 1, 1)
    return torch.stack([torch.zeros(channels, dtype=torch.float64), torch.full((channels,), 255.0, dtype=torch.float64), mixed.round()])[..., None, None]


def _made(processor: Any, probes: Tensor) -> Tensor:
    """What a processor makes of images of one colour when it leaves their size alone, float64 [3, channels, height, width]."""
    still = {name: False for name in SPATIAL if hasattr(processor, name)}
    levels = [level.expand(-1, SIDE, SIDE).to(torch.uint8).contiguous().numpy() for level in probes]
    found = processor(levels, return_tensors="np", input_data_format="channels_first", **still)["pixel_values"]
    return torch.from_numpy(np.asarray(found, dtype=np.float64))[..., :1, :1]


def _shaped(numbers: Any) -> Tensor:
    return torch.as_tensor(numbers, dtype=torch.float64).reshape(-1, 1, 1)


def _refuse_other_size(processor: Any, domain: Image, file: Path) -> None:
    """Refuse images whose size the processor would change: the network was made for the size that comes out."""
    held = dict(getattr(processor, "size", None) or {}) if getattr(processor, "do_resize", False) else {}
    if getattr(processor, "do_center_crop", False):
        held = dict(getattr(processor, "crop_size", None) or held)
    given = domain.shape[1:]
    if {"height", "width"} <= set(held):
        wanted, fits = f"{held['height']} x {held['width']}", given == (held["height"], held["width"])
    elif "shortest_edge" in held:
        wanted, fits = f"with a shorter side of {held['shortest_edge']}", min(given) == held["shortest_edge"]
    else:
        return
    if not fits:
        raise LoadError(f"{file} makes images {wanted}, the data are {given[0]} x {given[1]}: resize the data, or {CURE}")
