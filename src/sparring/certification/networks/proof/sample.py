"""A proof together with the query that it answers."""

from dataclasses import dataclass

import torch

from sparring.certification.networks.proof.form import InputProof, ReluProof
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import QueryAnswer


@dataclass(frozen=True, eq=False)
class SampleProof:
    """Hold the proof that one query about a network has no unsafe input."""

    query: Query
    leaves: ReluProof | InputProof


def kept(query: Query, place: int, answer: QueryAnswer) -> QueryAnswer:
    """Return the answer with its query added to the proof."""
    return answer if answer.proof is None else answer._replace(proof=SampleProof(query.take(torch.tensor([place])), answer.proof))
