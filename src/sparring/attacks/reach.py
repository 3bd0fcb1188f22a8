"""Selects the samples that are nearly broken, on which further attacks are worthwhile."""

import torch
from torch import Tensor

from sparring.core.problem import Problem


def reachable(problem: Problem, within: float) -> Tensor:
    """Return bool [m]: whether a sample is nearly broken, so that more attacks are worthwhile.

    It is where the margin lacks at most `within` times what the search so far has gained over the clean
    input. This costs one forward per sample, for the clean margin. All rows are reachable where nothing was searched yet, or
    scores are not granted.

    A sample is judged by itself, so the answer does not depend on the batch. A3 (Liu et al. 2022, arXiv:2203.05154) takes a
    share of the samples in order of their margins, which does.
    """
    if "scores" not in problem.victim.exposes & problem.threat.grants:
        return torch.ones(len(problem), dtype=torch.bool, device=problem.rows.device)
    clean = problem.losses(problem.x).double()
    best = problem.ledger.loss[problem.rows]
    fresh = best - clean <= 1e-6 * clean.abs()  # nothing better than the clean input is known
    return fresh | (-best <= within * (best - clean))
