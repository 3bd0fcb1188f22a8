"""Folders of images, with one sub-folder per class."""

from pathlib import Path

import numpy as np

from sparring.core.errors import InputError, LoadError, PlanError
from sparring.data.dataset import Data
from sparring.data.readers.content import pick_split
from sparring.data.readers.pixels import as_images
from sparring.data.readers.reader import Options, reader
from sparring.domains.image import image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
SPLITS = {"train", "test", "val", "valid", "validation"}


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def _accepts(path: Path) -> bool:
    return path.is_dir() and bool(_folders(path))


@reader("images", _accepts, files="folders of images, one sub-folder per class", takes={"split", "size", "deployed"}, order=60)
def image_folder(path: Path, options: Options) -> Data:
    """Return images of one size, or scaled to `size`.

    Grey where all are grey, RGB otherwise (transparency is dropped).

    Sub-folders that are called train, test, val are splits. Files of other kinds are passed over. Ids are
    name/class/file, so they stay when images come or go.
    """
    root, folders = path, _folders(path)
    if {one.name for one in folders} <= SPLITS:
        root = path / pick_split(options.split, [one.name for one in folders], path)
        folders = _folders(root)
    elif options.split:
        raise InputError(f"split={options.split!r}: {path} has no folders train, test or val, only {', '.join(one.name for one in folders[:5])}")
    files = [(number, file) for number, folder in enumerate(folders) for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise LoadError(f"{root} has no images in its sub-folders: expected {root}/CLASS/IMAGE with a suffix of {', '.join(sorted(SUFFIXES))}")
    pictures = [_picture(file, _size(options.size)) for _, file in files]
    coloured = any(picture.ndim == 3 for picture in pictures)
    sizes = {picture.shape[:2]: file for picture, (_, file) in zip(pictures, files, strict=True)}
    if len(sizes) > 1:
        (one, first), (two, second) = list(sizes.items())[:2]
        raise InputError(f"{root} has images of {len(sizes)} sizes, {one} in {first.name} and {two} in {second.name}: give size=(height, width) to scale them")
    stack = np.stack([np.repeat(picture[..., None], 3, 2) if coloured and picture.ndim == 2 else picture for picture in pictures])
    x = as_images(stack, str(root)) if not coloured else as_images(np.ascontiguousarray(stack.transpose(0, 3, 1, 2)), str(root))
    ids = [f"{path.resolve().name}/{file.relative_to(path).as_posix()}" for _, file in files]
    return Data.of(
        x,
        [number for number, _ in files],
        image(*x.shape[1:], deployed=options.deployed or "float"),
        name=path.resolve().name,
        classes=[folder.name for folder in folders],
        ids=ids,
        source=str(root),
    )


def _size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    sides = (size, size) if isinstance(size, int) else size
    if sides is not None and (len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides)):
        raise PlanError(f"size={size!r}: give a side in pixels, or (height, width)")
    return sides


def _picture(file: Path, size: tuple[int, int] | None) -> np.ndarray:
    """uint8 [h, w] where it is grey, [h, w, 3] otherwise."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise InputError(f"{file} has more than 8 bits per pixel (mode {opened.mode}): save it with 8 bits, or give arrays of floats in [0, 1]")
            picture = opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB")
            if size:
                picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise LoadError(f"{file} cannot be read as an image ({error}): fix or remove it") from error
