"""Converts arrays of images to float32 [n, channels, height, width] in [0, 1]."""

import numpy as np

from sparring.core.errors import InputError

CHANNELS = (1, 3, 4)


def as_images(array: np.ndarray, where: str) -> np.ndarray:
    """Return images as float32 [n, c, h, w].

    The array is uint8 or float [n, h, w], [n, h, w, c] or [n, c, h, w] (c one of 1, 3, 4).
    uint8 is divided by 255; floats must lie in [0, 1] already.

    Raises:
        InputError: Where the channels cannot be told.
    """
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise InputError(f"{where} has shape {array.shape}: images are [n, h, w], [n, h, w, c] or [n, c, h, w]")
    else:
        first, last = array.shape[1] in CHANNELS, array.shape[3] in CHANNELS
        if first == last:
            why = "both ends could be the channel axis" if first else f"no axis has a possible number of channels ({', '.join(map(str, CHANNELS))})"
            raise InputError(f"{where} has shape {array.shape}: {why}; give x as an array, Data.of(x, y, image(channels, height, width))")
        array = array if first else array.transpose(0, 3, 1, 2)
    if array.dtype == np.uint8:
        if array.size and array.max() == 1:
            raise InputError(f"{where} is uint8 with the values 0 and 1 only, which are no levels of 255: save images as floats in [0, 1], or times 255")
        return np.ascontiguousarray(array, dtype=np.float32) / np.float32(255)
    if array.dtype.kind != "f":
        low, high = (array.min(), array.max()) if array.size else (0, 0)
        raise InputError(f"{where} is {array.dtype} with values in [{low}, {high}]: save images as uint8, or as floats in [0, 1]")
    return np.ascontiguousarray(array, dtype=np.float32)
