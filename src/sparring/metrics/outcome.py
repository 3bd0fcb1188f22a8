"""The outcome of a case: for every sample whether it held, and which attack broke it first.

Everything here counts rows of `Record.table()` of one case (one model, data set and threat), so
shards add up by putting their rows together.
"""

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric

CLEAN = "clean"
"""The attack that changes nothing; its rows say which samples the model gets right."""

STANDS = frozenset({"held", "infeasible", "out_of_budget", "skipped", "proved", "unknown"})
"""Statuses that leave a sample standing. An error does not: without a verdict nothing is claimed."""


def judged(case: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the samples that every attack in the table has judged.

    Samples that an interrupted run has not attacked yet must not count as robust.
    """
    attacks = case.groupby("id").attack.nunique()
    return case[case.id.isin(attacks.index[attacks == case.attack.nunique()])]


def outcomes(case: pd.DataFrame) -> pd.DataFrame:
    """Return one row per sample, indexed by id, with its outcome.

    The columns are wanted, clean (bool: right without attack), robust (bool: right and not broken by any attack) and fell_to (the
    first attack that broke it, None if none). Samples that some attack has not judged yet, and samples whose
    truth already meets the goal, are excluded.
    """
    case = judged(case)
    clean = case[(case.attack == CLEAN) & (case.status != "skipped")].set_index("id")
    attacked = case[(case.attack != CLEAN) & case.id.isin(clean.index)]
    fallen = attacked[~attacked.status.isin(STANDS)].drop_duplicates("id").set_index("id")
    result = pd.DataFrame({"wanted": clean.wanted, "clean": clean.status == "held"})
    result["robust"] = result.clean & ~result.index.isin(fallen.index)
    result["fell_to"] = fallen.attack.reindex(result.index).astype(object).where(lambda name: name.notna(), None)
    return result


@metric("clean_accuracy")
def clean_accuracy(case: pd.DataFrame) -> Rate:
    """Return the share of samples that the model classifies correctly without attack."""
    found = outcomes(case)
    return Rate.of(int(found.clean.sum()), len(found))


@metric("robust_accuracy")
def robust_accuracy(case: pd.DataFrame) -> Rate:
    """Return the share of samples that the model gets right and no attack broke.

    It is the upper end of the band.
    """
    found = outcomes(case)
    return Rate.of(int(found.robust.sum()), len(found))


def accuracy_under(case: pd.DataFrame, attack: str) -> Rate:
    """Return the share of samples that are right and that this attack alone did not break.

    In a cascade, an attack runs only on samples that earlier attacks did not break, so this is the accuracy after the cascade up to it.
    """
    order = list(dict.fromkeys(case.attack))
    upto = order[: order.index(attack) + 1]
    return robust_accuracy(case[case.attack.isin(upto)])


def accuracy_alone(case: pd.DataFrame, attack: str) -> Rate:
    """Return the share of correct samples that this attack did not break.

    Use it for an attack that ran on every correct sample, as controls do.
    """
    return robust_accuracy(case[case.attack.isin([CLEAN, attack])])


def accuracy_by_class(case: pd.DataFrame) -> pd.DataFrame:
    """Return one row per class, by number, with n, clean and robust (`Rate`s)."""

    def rate(part: "pd.Series[bool]") -> Rate:
        return Rate.of(int(part.sum()), len(part))

    rows = outcomes(case)
    found = rows.groupby(rows.wanted.astype(int).rename("label"))
    return pd.DataFrame({"n": found.size(), "clean": found.clean.agg(rate), "robust": found.robust.agg(rate)})
