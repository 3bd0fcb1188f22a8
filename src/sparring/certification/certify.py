"""`certify` proves samples robust, one by one, and finds the largest certified radius."""

import dataclasses
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict, table
from sparring.certification.certifier import Certifier
from sparring.core.errors import InputError, ModelWarning, NeedsError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.registry import ask_tolerantly, everything, find
from sparring.core.rng import Rng
from sparring.core.space import has_gaps
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.models.wanted import threat_of, victim_of

if TYPE_CHECKING:
    import pandas as pd


class Certificates(list[Certificate]):
    """Hold one certificate per sample, in order."""

    def table(self) -> "pd.DataFrame":
        """Return one row per sample; see `certificate.table`."""
        return table(self)

    @property
    def proved(self) -> Tensor:
        """Return bool [n]: whether each sample is proved."""
        return torch.tensor([one.proved for one in self], dtype=torch.bool)

    def write_proofs(self, path: str) -> int:
        """Write the proofs of all proved samples to a file for `spar check-proof`.

        Samples have a proof if they were certified with proofs=True. Returns how many there are.
        """
        from sparring.certification.networks.proof.sample import SampleProof
        from sparring.certification.proof.file import write_proof
        from sparring.certification.trees.proof import TreeProof

        proofs = [one.proof for one in self if one.proved and isinstance(one.proof, SampleProof | TreeProof)]
        write_proof(path, proofs)
        return len(proofs)

    def __repr__(self) -> str:
        counts = {verdict: sum(one.verdict is verdict for one in self) for verdict in Verdict}
        return f"Certificates({', '.join(f'{count} {verdict}' for verdict, count in counts.items())})"


def fitting(victim: Victim, threat: Threat) -> list[Certifier]:
    """Return the certifiers that fit and run by default, in order."""
    known: list[Certifier] = sorted(everything("certifier").values(), key=lambda one: one.order)
    asked = [one for one in known if one.by_default]
    return [one for one in asked if not ask_tolerantly(one, f"the certifier {one.name}", lambda one=one: one.misfit(victim, threat), "it fails")]


@in_our_words
def certify(
    victim: Victim, x: Any, y: Any, threat: Threat, methods: str | Certifier | Sequence[str | Certifier] | None = None, *,
    seconds: float | None = None, seed: int = 0,
    rng: Rng | None = None, **settings: Any,
) -> Certificates:  # fmt: skip
    """Prove for each sample that nothing within the threat meets its goal, or refute it.

    A refuted sample has a counterexample; an unknown one has the reason.

    Args:
        victim: The model.
        x: A batch of the victim's domain.
        y: int64 [n], true classes.
        threat: What the adversary may change and which answers count.
        methods: Certifiers by name, asked in turn about what is still open; by default all that fit.
        seconds: Limit per sample, None for the limits of the methods, which are counted in steps.
        seed: Seed of `rng` where that is left out.
        rng: Keyed per sample; made from the positions 0 ... n - 1 and `seed` if left out.
        settings: Settings of the only method, or of the one that fits first.

    Returns:
        The `Certificates`, one verdict per sample.

    Raises:
        NeedsError: where no certifier fits.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=4)
        >>> len(certify(victim, data.x, data.y, sp.linf(0.001)))
        4
    """
    victim, threat = victim_of(victim), threat_of(threat)
    if victim.caution:
        warnings.warn(victim.caution, ModelWarning, stacklevel=3)  # through `in_our_words`
    methods = [methods] if isinstance(methods, str | Certifier) else methods
    chosen = [find("certifier", one) if isinstance(one, str) else one for one in methods] if methods is not None else fitting(victim, threat)
    if not chosen:
        reasons = "; ".join(f"{name}: {one.misfit(victim, threat)}" for name, one in everything("certifier").items())
        raise NeedsError(f"no certifier fits {victim.name} under {threat.space.label}: {reasons}")
    for one in chosen:
        one.check(victim, threat)
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0):
        raise PlanError(f"seconds={seconds!r}: give a number above 0, or None for no limit")
    chosen[0] = chosen[0].configure(**settings)
    x = victim.domain.check(x)
    y = victim.task.check(y, len(x))
    if not len(x):
        raise InputError("there are no samples to certify, because x has no rows: give at least one")
    gapped = x.isnan().flatten(1).any(1).tolist() if has_gaps(x) else [False] * len(x)
    whole = [row for row, gaps in enumerate(gapped) if not gaps]
    if whole:
        threat.space.check(x[whole] if len(whole) < len(x) else x, victim.domain)
    rng = Rng.of(seed, range(len(x))) if rng is None else rng
    found = {row: Certificate(Verdict.UNKNOWN, reason="the row has a missing value, about which nothing is proved") for row, gaps in enumerate(gapped) if gaps}
    with victim.session():
        for one in chosen:
            rows = torch.tensor([row for row in whole if row not in found or found[row].verdict is Verdict.UNKNOWN], dtype=torch.int64)
            if len(rows):
                began = time.monotonic()
                answers = one(victim, x[rows], y[rows], threat.take(rows), rng.take(rows), seconds=seconds)
                spent = (time.monotonic() - began) / len(rows)
                named = [dataclasses.replace(each, method=each.method or one.name, seconds=spent) for each in answers]
                for row, each in zip(rows.tolist(), named, strict=True):
                    if row not in found or each.verdict is not Verdict.UNKNOWN or each.radius >= found[row].radius:
                        found[row] = each
    return Certificates(found[row] for row in range(len(x)))


@in_our_words
def certified_radius(
    victim: Victim, x: Any, y: Any, threat: Threat, methods: str | Certifier | Sequence[str | Certifier] | None = None, *,
    steps: int = 8, seconds: float | None = None, seed: int = 0, rng: Rng | None = None, **settings: Any,
) -> Certificates:  # fmt: skip
    """Return the largest radius, up to that of the threat, that can be proved for each sample.

    It is found by bisection of so many steps.

    Args:
        victim: As for `certify`.
        x: As for `certify`.
        y: As for `certify`.
        threat: Its radius is the largest that is tried.
        methods: As for `certify`.
        steps: Steps of the bisection.
        seconds: Limit per sample and step.
        seed: As for `certify`.
        rng: As for `certify`.
        settings: As for `certify`.

    Returns:
        The `Certificates`. A sample is proved where the whole radius of the threat is proved. Else `radius` is what was proved, 0 for
        nothing, and the verdict is that at the whole radius.

    Raises:
        NeedsError: where no certifier fits.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=4)
        >>> len(certified_radius(victim, data.x, data.y, sp.linf(0.001), steps=1))
        4
    """
    victim, threat = victim_of(victim), threat_of(threat)
    x = victim.domain.check(x)
    rng = Rng.of(seed, range(len(x))) if rng is None else rng
    whole = certify(victim, x, y, threat, methods, seconds=seconds, rng=rng, **settings)
    y = victim.task.check(y, len(x))
    full = threat.space.radii(len(x)).double()
    proved, open_ = torch.tensor([one.radius for one in whole], dtype=torch.float64), ~whole.proved
    above = full.clone()
    for _ in range(steps):
        rows = open_.nonzero().squeeze(1)
        if not len(rows):
            break
        middle = (proved + above) / 2
        answers = certify(victim, x[rows], y[rows], threat.take(rows).at(middle[rows]), methods, seconds=seconds, rng=rng.take(rows), **settings)
        hit = rows[answers.proved]
        missed = rows[~answers.proved]
        proved[hit], above[missed] = middle[hit], middle[missed]
    return Certificates(dataclasses.replace(one, radius=float(radius)) for one, radius in zip(whole, proved, strict=True))
