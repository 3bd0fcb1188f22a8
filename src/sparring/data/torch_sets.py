"""Torch `Dataset` and `DataLoader` as arrays: items (x, y), in their order, read once and held in memory."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, IterableDataset, SequentialSampler

from sparring.core.domain import Domain
from sparring.core.errors import InputError, SparringError

DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of PIL images with more than bytes, which a conversion to RGB would cut off."""

MOST_BYTES = 4 * 2**30
"""Inputs that are read without `take`; all of them are held in memory."""


def collected(source: Any, domain: Domain, take: int | None = None, name: str = "data") -> tuple[Any, Any]:
    """Return (x, y) of a torch `Dataset` or of a `DataLoader` that does not shuffle.

    PIL images and arrays of whole bytes become float images [channels, height, width]: divided by 255 where the bounds of the domain
    are 0 and 1, as they are where the bounds are 0 and 255.

    Args:
        source: Items, or batches of a loader, are pairs (x, y).
        domain: What the inputs are.
        take: The number of samples read, the first ones; None for all.
        name: The name of the set, for errors.

    Raises:
        InputError: For a loader that shuffles or drops samples, items of another form, and sets that are too large for the memory.
    """
    if take is not None and (isinstance(take, bool) or not isinstance(take, int) or take < 1):
        raise InputError(f"{name}: take={take!r}: give a whole number of at least 1")
    if isinstance(source, DataLoader):
        _refuse_order(source, name)
        _refuse_copies(source, name)
    _refuse_chance(source.dataset if isinstance(source, DataLoader) else source, name)
    pairs = _of_batches(source, name) if isinstance(source, DataLoader) else _of_items(source, domain, take, name)
    inputs, truths, held = [], [], 0
    for one, truth in islice(pairs, take):
        inputs.append(_input(one, domain, f"{name}, sample {len(inputs)}"))
        truths.append(truth)
        held += _bytes(inputs[-1])
        if take is None and held > MOST_BYTES:
            raise InputError(f"{name}: the first {len(inputs)} samples fill {held / 2**30:.1f} GiB of memory: read fewer with take=1000")
    if not inputs:
        raise InputError(f"{name}: there are no samples: give at least one")
    return _stacked(inputs, name), _truth(truths)


def _refuse_order(loader: "DataLoader[Any]", name: str) -> None:
    """Refuse a loader that shuffles or skips samples, which are identified by position."""
    inner = getattr(loader.batch_sampler, "sampler", loader.sampler) if type(loader.batch_sampler) is BatchSampler else loader.batch_sampler or loader.sampler
    if not isinstance(loader.dataset, IterableDataset) and type(inner) is not SequentialSampler:
        raise InputError(
            f"{name}: the loader orders samples with a {type(inner).__name__}, but samples are identified by their position: "
            "give DataLoader(dataset, shuffle=False), or the dataset itself"
        )
    if loader.drop_last:
        raise InputError(f"{name}: the loader skips samples because of drop_last=True: use drop_last=False, or give the dataset itself")


def _refuse_copies(loader: "DataLoader[Any]", name: str) -> None:
    """Refuse loaders without batches, and workers of which each may yield every sample."""
    if loader.batch_size is None and loader.batch_sampler is None:
        raise InputError(f"{name}: the loader makes no batches because of batch_size=None: give the dataset itself, or a batch_size")
    if isinstance(loader.dataset, IterableDataset) and loader.num_workers > 1:
        raise InputError(
            f"{name}: each of the num_workers={loader.num_workers} of the loader has its own copy of the {type(loader.dataset).__name__}, which may yield "
            "every sample: use num_workers=0, or give the dataset itself"
        )


def names_in(source: Any) -> list[str]:
    """Return the names of the classes that a torch set knows, in the order of their numbers.

    None where it knows none.

    They are those of `class_to_idx` or `classes`, as torchvision calls them, of the set itself or of the one that it is a part of.

    Args:
        source: A `Dataset` or `DataLoader`.
    """
    numbered, listed = getattr(source, "class_to_idx", None), getattr(source, "classes", None)
    if isinstance(numbered, Mapping) and sorted(numbered.values(), key=str) == sorted(range(len(numbered)), key=str):
        return [str(name) for name in sorted(numbered, key=numbered.__getitem__)]
    if isinstance(listed, list | tuple) and listed and all(isinstance(one, str) for one in listed):
        return list(listed)
    inner = [*([source.dataset] if hasattr(source, "dataset") else []), *(source.datasets if isinstance(source, ConcatDataset) else [])]
    found = [names_in(one) for one in inner]
    return found[0] if found and all(one == found[0] for one in found) else []


def _refuse_chance(dataset: Any, name: str) -> None:
    """Refuse random transforms, by reading the first item twice."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__") or not len(dataset):
        return
    with torch.random.fork_rng(devices=[]):
        first, again = (_pair(dataset[0], f"{name}, sample 0")[0] for _ in range(2))
        first, again = (one if isinstance(one, str) else _tensor(one, f"{name}, sample 0") for one in (first, again))
    if isinstance(first, Tensor) and isinstance(again, Tensor) and not _same(first, again):
        raise InputError(f"{name}: sample 0 differs when it is read twice: remove random transforms")


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two inputs are equal, missing values included."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _of_batches(loader: Iterable[Any], name: str) -> Iterator[tuple[Any, Any]]:
    """Yield the samples of each batch, one by one."""
    with torch.random.fork_rng(devices=[]):  # a loader draws a seed for its workers
        for number, batch in enumerate(loader):
            x, y = _pair(batch, f"{name}, batch {number}")
            if len(x) != len(y):
                raise InputError(f"{name}, batch {number}: {len(y)} labels for {len(x)} samples: give one label per sample")
            yield from zip(x, y, strict=True)


def _of_items(dataset: Any, domain: Domain, take: int | None, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield the items of a dataset, by position if it has a length."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        if not hasattr(dataset, "__iter__"):
            raise InputError(f"{name}: {type(dataset).__name__} has neither a length nor an iterator: give a Dataset with __len__ and __getitem__")
        items: Iterable[Any] = dataset
    else:
        count = len(dataset)
        items = (dataset[place] for place in range(count if take is None else min(count, take)))
        first = _bytes(_input(_pair(dataset[0], f"{name}, sample 0")[0], domain, f"{name}, sample 0")) if take is None and count else 0
        if first * count > MOST_BYTES:
            raise InputError(f"{name}: {count} samples of {first} bytes need {first * count / 2**30:.1f} GiB of memory: read fewer with take=1000")
    for place, item in enumerate(items):
        yield _pair(item, f"{name}, sample {place}")


def _pair(item: Any, where: str) -> tuple[Any, Any]:
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    held = f"a dict of {', '.join(map(str, item))}" if isinstance(item, dict) else f"a {type(item).__name__}"
    held += f" of {len(item)}" if isinstance(item, tuple | list) else ""
    raise InputError(f"{where} is {held}, not a pair (x, y): wrap the dataset in one that returns pairs")


def _input(given: Any, domain: Domain, where: str) -> Any:
    """Return one input: text unchanged, numbers as a tensor, images as floats with the channels first."""
    if isinstance(given, str):
        return given
    made = _tensor(given, where)
    if domain.kind != "image":
        return made
    shape: tuple[int, int, int] = domain.shape  # type: ignore[attr-defined]
    if made.dtype == torch.uint8:
        made = _levels(_channels_first(made, shape, _is_picture(given)), domain, where)
    return made


def _is_picture(given: Any) -> bool:
    """Whether an input is a PIL image."""
    return hasattr(given, "getbands") and hasattr(given, "convert")


def _tensor(given: Any, where: str) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach()
    if _is_picture(given):
        if given.mode in DEEP:
            raise InputError(f"{where} is a picture of mode {given.mode!r}, not of bytes: use a transform that returns floats in the bounds of the domain")
        if given.mode not in ("L", "RGB", "RGBA"):
            given = given.convert("L" if given.mode == "1" else "RGB")
    try:
        return torch.as_tensor(np.array(given))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} is a {type(given).__name__}: give a tensor, an array, a PIL image or a string ({error})") from error


def _channels_first(levels: Tensor, shape: tuple[int, int, int], last: bool) -> Tensor:
    """Bytes [h, w] or [h, w, c] as [c, h, w]: pictures, whose channels come `last`, and arrays where the domain says that this is their shape."""
    if levels.ndim == 2:
        return levels[None]
    channels, height, width = shape
    if tuple(levels.shape) == (height, width, channels) and (last or levels.shape != shape):
        levels = levels.permute(2, 0, 1)
    return levels


def _levels(levels: Tensor, domain: Any, where: str) -> Tensor:
    """Return bytes as floats of the domain."""
    if (domain.low, domain.high) == (0, 1):
        return levels.float() / 255
    if domain.low <= 0 and domain.high >= 255:
        return levels.float()
    raise InputError(
        f"{where} holds bytes from 0 to 255, but the domain is [{domain.low:g}, {domain.high:g}]: "
        "use a transform that returns floats, or move the normalisation into the model and give sp.image(...) with bounds 0 and 1"
    )


def _bytes(one: Any) -> int:
    if isinstance(one, Tensor | np.ndarray):
        return int(one.nbytes)
    return len(one) if isinstance(one, str) else 0


def _stacked(inputs: list[Any], name: str) -> Any:
    if isinstance(inputs[0], str):
        return inputs
    for place, one in enumerate(inputs):
        if not isinstance(one, Tensor) or one.shape != inputs[0].shape:
            shape = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
            raise InputError(f"{name}: sample {place} is {shape}, the first one is {tuple(inputs[0].shape)}: use a transform that resizes all alike")
    return torch.stack(inputs)


def _truth(truths: list[Any]) -> Any:
    """Labels as one tensor where they are numbers or tensors of one shape; else the list, for the task to check."""
    try:
        return torch.stack([torch.as_tensor(one) for one in truths])
    except (TypeError, ValueError, RuntimeError, SparringError):
        return truths
