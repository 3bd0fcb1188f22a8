"""Which samples are worth an attack's while: those nearly there."""

import torch
from torch import Tensor

from sparring.core.bout import Bout


def reachable(bout: Bout, within: float) -> Tensor:
    """bool [m]: is what the margin still lacks at most `within` times what the search so far has gained over the clean
    input? A forward each, for the clean margin. All rows where nothing was searched yet, or scores are not granted.

    A sample is judged by itself, so the answer does not hang on the batch. A3 (Liu et al. 2022, arXiv:2203.05154) takes a
    share of the samples in order of their margins, which does.
    """
    if "scores" not in bout.victim.exposes & bout.threat.grants:
        return torch.ones(len(bout), dtype=torch.bool, device=bout.rows.device)
    clean = bout.margins(bout.x).double()
    best = bout.ledger.margin[bout.rows]
    fresh = best - clean <= 1e-6 * clean.abs()  # nothing better than the clean input is known
    return fresh | (-best <= within * (best - clean))
