"""`corruption_error`: error rates of a model under the 15 common corruptions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.attacks.attack import BATCH
from sparring.core.dice import Dice
from sparring.core.errors import InputError
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.domains.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from sparring.metrics.corruption_error import CorruptionError
from sparring.models.adapter import victim as as_victim


def corruption_error(
    victim: Any,
    data: Any,
    baseline: Any = None,
    *,
    names: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch: int = BATCH,
) -> CorruptionError:
    """What a model gets wrong under common corruptions (Hendrycks, Dietterich 2019, arXiv:1903.12261).

    victim, data: as for `evaluate`; images. baseline: another model, to which mCE is relative (the paper's is AlexNet). names,
    severities: which corruptions. seed: of their random numbers, which are keyed by sample. Returns a `CorruptionError`: `.table()`,
    `.summary()`, `.clean`, `.mean`, `.mce`. An answer that is not finite counts as wrong. The models see the same images.
    """
    if isinstance(data, Data):
        samples = data
    elif isinstance(victim, Victim) and isinstance(data, tuple | list) and len(data) == 2:
        samples = Data.of(data[0], data[1], victim.domain)
    else:
        raise InputError("corruption_error takes (victim, data): data as sp.Data or (x, y), and with (x, y) the model wrapped by sp.victim(model, domain)")
    if not names or not severities:
        raise InputError("corruption_error: give at least one corruption and one severity")
    models = [as_victim(one, samples.domain) for one in (victim, *([] if baseline is None else [baseline]))]
    for model in models:
        model.domain.check(samples.x)
    wrong = np.zeros((len(models), len(names), len(severities), len(samples)), dtype=bool)
    clean = np.zeros((len(models), len(samples)), dtype=bool)
    dice = Dice.of(seed, samples.ids, samples.y.device)
    for rows in torch.arange(len(samples)).split(batch):
        x, y, here = samples.x[rows], samples.y[rows], rows.numpy()
        clean[:, here] = _wrong(models, x, y)
        for place, name in enumerate(names):
            for turn, severity in enumerate(severities):
                wrong[:, place, turn, here] = _wrong(models, corrupt(x, name, severity, dice.take(rows), samples.domain), y)
    other = CorruptionError(tuple(names), tuple(severities), wrong[1], clean[1]) if len(models) > 1 else None
    return CorruptionError(tuple(names), tuple(severities), wrong[0], clean[0], other)


def _wrong(models: Sequence[Victim], x: Tensor, y: Tensor) -> np.ndarray:
    """bool [models, n]: which answers differ from the label."""
    answers = []
    for model in models:
        with model.session():
            answers.append((model.label(x).to(y.device) != y).cpu().numpy())
    return np.stack(answers)
