"""Certify word substitutions: bags of words exactly, text networks by bounds over vectors."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Limit, certifier
from sparring.certification.networks.decide import WORK, decide
from sparring.certification.networks.portfolio import at_effort
from sparring.certification.networks.query import Query
from sparring.certification.text import linear
from sparring.certification.text.substitutions import substitutions
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.domains.text import Strings
from sparring.graph.builder import Unsupported
from sparring.graph.from_torch import from_torch
from sparring.graph.network import Network
from sparring.models.embedding_text import EmbeddingTextVictim
from sparring.models.estimator import EstimatorVictim
from sparring.tasks.classes import ClassCriterion, of_classes
from sparring.threats.words import Words, WordsRegion

_known: "WeakKeyDictionary[Victim, tuple[str, Network]]" = WeakKeyDictionary()


def _misfit(victim: Victim, threat: Threat) -> str:
    return linear.misfit(victim.model) if isinstance(victim, EstimatorVictim) else ""


@certifier(
    "words",
    _misfit,
    spaces=Limit((Words,), "it certifies word substitutions only"),
    victims=Limit((EstimatorVictim, EmbeddingTextVictim), "it needs a white-box model: give a scikit-learn pipeline or an EmbeddingText"),
    cites="Jia et al. 2019, arXiv:1909.00986; Huang et al. 2019, arXiv:1909.01492",
    order=20,
    renamed={"rungs": "verifiers"},
)
def words(
    victim: Victim, x: Strings, y: Tensor, threat: Threat, rng: Rng, *, seconds: float | None = None,
    effort: str = "bounds", verifiers: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None, batch: int = 20,
) -> list[Certificate]:  # fmt: skip
    """Certify that no sentence of the threat changes the class.

    Args:
        effort: Of text networks: "bounds", "quick" or "thorough", as in `network`.
        verifiers: Of text networks, as in `network`.
        batch: Sentences decided together.
    """
    chosen, work = at_effort(effort), None if effort == "thorough" else WORK
    criterion = of_classes(threat.goal.freeze(y, victim.task, rng))
    region = threat.space.around(x, victim.domain)
    radii = threat.space.radii(len(x)).tolist()
    if isinstance(victim, EstimatorVictim):
        return _of_linear(victim, x, region, criterion, radii)  # type: ignore[arg-type]
    assert isinstance(victim, EmbeddingTextVictim)
    try:
        network = _network(victim)
    except Unsupported as error:
        return [Certificate(Verdict.UNKNOWN, reason=f"operator: {error}") for _ in range(len(x))]
    found: list[Certificate] = []
    for rows in torch.arange(len(x)).split(batch):
        own = criterion.take(rows)
        ask = Query.robustness if bool((own.sign > 0).all()) else Query.reaching
        query = ask(network, substitutions(victim.model, region.take(rows)), own.reference_class)  # type: ignore[arg-type]
        limit = None if seconds is None else seconds * len(rows)
        for row, answer in zip(rows.tolist(), decide(query, seconds=limit, verifiers=chosen if verifiers is None else verifiers, work=work), strict=True):
            if answer.verdict is Verdict.REFUTED:  # by vectors, not by a sentence
                found.append(Certificate(Verdict.UNKNOWN, answer.verifier, margin=answer.margin, reason="broken: an allowed sentence changes the class"))
                continue
            proved = answer.verdict is Verdict.PROVED
            found.append(Certificate(answer.verdict, answer.verifier, radii[row] if proved else 0.0, answer.margin, answer.reason))
    return found


def _network(victim: EmbeddingTextVictim) -> Network:
    """From vectors to scores, in float64; read again when weights have changed."""
    stamp, known = victim.fingerprint, _known.get(victim)
    if known is not None and known[0] == stamp:
        return known[1]
    model = victim.model
    with victim.session():
        network = from_torch(model.network, (model.length, model.embedding.embedding_dim))
    if network.outputs != victim.classes:
        raise Unsupported(f"the network gives {network.outputs} number for {victim.classes} classes: give one score per class")
    _known[victim] = (stamp, network)
    return network


def _of_linear(victim: EstimatorVictim, x: Strings, region: WordsRegion, criterion: ClassCriterion, radii: Sequence[float]) -> list[Certificate]:
    model = linear.read(victim.model)
    if not all(np.isfinite(part).all() for part in (model.weight, model.intercept, model.size)):
        return [Certificate(Verdict.UNKNOWN, reason="numerics: the model has weights that are NaN or infinite") for _ in range(len(x))]
    labels, found = victim.label(x).tolist(), []
    unmoved = dataclasses.replace(region, radius=torch.zeros_like(region.radius))
    for row, (label, reference_class, sign) in enumerate(zip(labels, criterion.reference_class.tolist(), criterion.sign.tolist(), strict=True)):
        before = linear.worst(model, unmoved, row, label).margin
        if before.min() < -1e-6 * max(1.0, float(np.abs(before[np.isfinite(before)]).max())):
            found.append(Certificate(Verdict.UNKNOWN, "words", reason="agreement: the prediction of the pipeline differs from the prediction of its weights"))
            continue
        if sign > 0:
            margin, exact = linear.worst(model, region, row, reference_class)
            least = float(margin.min())
        else:  # the target is out of reach if some class stays ahead of it on every sentence
            leads = [linear.worst(model, region, row, other) for other in range(victim.classes) if other != reference_class]
            least, exact = max(float(one.margin[reference_class]) for one in leads), all(one.exact for one in leads) and victim.classes == 2
        if least > 0:
            found.append(Certificate(Verdict.PROVED, "words", radii[row], least))
        else:
            reason = "broken: an allowed sentence changes the class" if exact else "bounds: words that share columns, and l2 norms, are only bounded"
            found.append(Certificate(Verdict.UNKNOWN, "words", margin=least, reason=reason))
    return found
