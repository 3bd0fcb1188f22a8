"""`corruption_error`: error rates of a model under the 15 common corruptions."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sparring.aims.case import Settings
from sparring.aims.corruption import CorruptionCase, written
from sparring.attacks.attack import BATCH
from sparring.bench.evaluate import carry_out
from sparring.core.errors import InputError
from sparring.core.foreign import in_our_words
from sparring.data.dataset import Data
from sparring.data.wanted import data_of
from sparring.domains.corruptions.corrupt import CORRUPTIONS, SEVERITIES
from sparring.metrics.corruption_error import CorruptionError
from sparring.metrics.outcome import CLEAN
from sparring.models.wanted import victim_of


@in_our_words
def corruption_error(
    victim: Any,
    data: Any,
    baseline: Any = None,
    *,
    names: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch: int = BATCH,
    out: str | os.PathLike[str] | None = None,
) -> CorruptionError:
    """Return the error rates of a model under the 15 common corruptions of images.

    Args:
        victim: A victim, or a model where the data tell the domain.
        data: Images with their classes, as for `evaluate`.
        baseline: Another model, to which mCE is relative (the paper's is AlexNet). Both models see the same images.
        names: Which corruptions.
        severities: Which severities, 1 to 5.
        seed: Of the random numbers, which are keyed by sample.
        batch: Images handled together.
        out: Folder or URL for a record of the aim "corruption", which an interrupted call continues; none is kept without it.

    Returns:
        A `CorruptionError`: `.table()`, `.summary()`, `.clean`, `.mean`, `.mce`. An answer that is not finite counts as wrong.

    Raises:
        InputError: For data that does not fit, and for no corruption or severity.
        NeedsError: For inputs that are no images.

    Example:
        >>> import sparring as sp
        >>> found = corruption_error(sp.load_model("zoo:digits-plain"), sp.load("digits", take=20), names=("fog",), severities=(1, 5))
        >>> found.wrong.shape
        (1, 2, 20)

    Source: Hendrycks, Dietterich 2019, arXiv:1903.12261.
    """
    first = victim_of(victim, data.domain if isinstance(data, Data) else None)
    samples = data_of(data, first.domain, first.task)
    if not names or not severities:
        raise InputError("corruption_error got an empty list: give at least one corruption and one severity")
    models = [first, *([] if baseline is None else [victim_of(baseline, samples.domain, "the baseline")])]
    cases = [CorruptionCase(f"{model.name} · corruptions", model, samples, tuple(names), tuple(severities)) for model in models]
    if len(cases) > 1 and cases[0].name == cases[1].name:
        cases[1] = replace(cases[1], name=f"{cases[1].name} (baseline)")
    with tempfile.TemporaryDirectory() as nowhere:
        run = carry_out(cases, nowhere if out is None else out, {"aim": "corruption", "seed": seed, "batch": batch}, Settings(seed, batch))
        tables = run.cases()
    found = [_errors(tables[case.name], case) for case in cases]
    return replace(found[0], baseline=found[1]) if len(found) > 1 else found[0]


def _errors(rows: pd.DataFrame, case: CorruptionCase) -> CorruptionError:
    """Return which rows of a case are wrong; a failed answer counts as wrong."""
    wrong = {said: (part.sort_values("position").status != "held").to_numpy() for said, part in rows.groupby("attack")}
    found = np.array([[wrong[written(name, severity)] for severity in case.severities] for name in case.names])
    return CorruptionError(case.names, case.severities, found, wrong[CLEAN])
