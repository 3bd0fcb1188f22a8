"""Class labels as people give them, checked."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import InputError


def check_labels(y: Any, count: int, classes: int | None) -> Tensor:
    """y as int64 [count] with values in 0 ... classes - 1 (None: no upper end); InputError otherwise."""
    try:
        labels = torch.as_tensor(np.asarray(y) if not isinstance(y, Tensor) else y)
    except (TypeError, ValueError) as error:
        raise InputError(f"labels are no numbers ({str(y)[:60]}): number the classes from 0 on") from error
    if labels.ndim != 1:
        raise InputError(f"labels have shape {tuple(labels.shape)}: give one class a sample, [{count}] (not one-hot)")
    if len(labels) != count:
        raise InputError(f"{len(labels)} labels for {count} samples")
    whole = labels.to(torch.int64)
    if labels.is_complex() or not bool((whole == labels).all()):
        raise InputError(f"labels must be whole numbers, got {labels.dtype} such as {labels[whole != labels][:3].tolist()}")
    if count and int(whole.min()) < 0:
        raise InputError(f"labels must be at least 0, got {int(whole.min())}: number the classes from 0 on")
    if count and classes is not None and int(whole.max()) >= classes:
        raise InputError(f"labels lie in [{int(whole.min())}, {int(whole.max())}] but the classes are 0 to {classes - 1}")
    return whole
