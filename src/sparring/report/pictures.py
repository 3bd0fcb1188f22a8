"""Pictures of inputs and masks as data URIs, for sections that draw them."""

import base64
import colorsys
import io
from typing import TYPE_CHECKING

import numpy as np

from sparring.report.markup import Markup, join, markup

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256
"""Longest side of a picture in pixels; larger ones are scaled down, masks without mixing classes."""

CLASS_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7a5195")
"""Of the first classes, after Okabe and Ito: people who do not see all colours can tell them apart, on light and dark paper."""


def colour_of(number: int) -> str:
    """Return the colour of a class, as "#rrggbb"; from the ninth on, hues that are far apart."""
    if number < len(CLASS_COLOURS):
        return CLASS_COLOURS[number]
    turn = (number * 0.618034) % 1
    levels = colorsys.hls_to_rgb(turn, 0.4 + 0.2 * (number % 3) / 2, 0.65)
    return "#" + "".join(f"{round(255 * one):02x}" for one in levels)


def image_uri(pixels: np.ndarray) -> str:
    """Return an image as a PNG.

    Args:
        pixels: [channels, height, width], values in [0, 1]; the first three channels, or the first, are shown.
    """
    from PIL import Image

    levels = (np.nan_to_num(pixels).clip(0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(levels[:3].transpose(1, 2, 0)) if len(levels) >= 3 else levels[0])
    return _uri(picture.resize(_scaled(picture.size), Image.Resampling.BOX) if max(picture.size) > SIDE else picture)


def mask_uri(classes: np.ndarray, colours: dict[int, str]) -> str:
    """Return whole numbers [height, width] as a PNG; numbers without a colour are transparent."""
    from PIL import Image

    levels = np.zeros((*classes.shape, 4), dtype=np.uint8)
    for number, colour in colours.items():
        levels[classes == number] = [*bytes.fromhex(colour[1:]), 255]
    picture = Image.fromarray(levels)
    return _uri(picture.resize(_scaled(picture.size), Image.Resampling.NEAREST) if max(picture.size) > SIDE else picture)


def picture(uri: str, title: str, alternative: str) -> Markup:
    """Return a picture with its title below, and words for those who do not see it."""
    return markup('<figure><img src="{uri}" alt="{words}"><figcaption>{title}</figcaption></figure>', uri=uri, words=alternative, title=title)


def legend(entries: list[tuple[str, str]]) -> Markup:
    """Return colours, "#rrggbb" or empty for transparent, and what they mean."""
    items = (
        markup('<li><span class="swatch" style="background:{colour}"></span>{text}</li>', colour=colour or "transparent;border:1px solid", text=text)
        for colour, text in entries
    )
    return markup('<ul class="key">{items}</ul>', items=join(items))


def _scaled(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    share = SIDE / max(size)
    return max(1, round(width * share)), max(1, round(height * share))


def _uri(drawn: "Image.Image") -> str:
    written = io.BytesIO()
    drawn.save(written, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
