"""Reads the answer of an endpoint; whatever is no list of scores or classes is refused with a sentence."""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sparring.core.errors import EndpointError
from sparring.models.http.endpoint import Endpoint

LARGEST = float(np.finfo(np.float32).max)
"""The largest score: beyond it, models that compute in float32 have none, and differences overflow."""

Hide = Callable[[str], str]
"""Takes secrets out of a text from the server, and shortens it."""


class Answer(NamedTuple):
    """Represent one request's answer.

    scores: float64 [n, classes], or None. labels: n whole numbers, or None. version: as declared.
    """

    scores: np.ndarray | None
    labels: list[int] | None
    version: str


def parsed(content: bytes) -> Any:
    """Return JSON as Python objects.

    Raises:
        ValueError: For what is no JSON, nested too deeply, or names a field twice.
    """
    try:
        return json.loads(content, object_pairs_hook=_fields)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_answer(endpoint: Endpoint, content: Any, count: int, declared: str, hide: Hide) -> Answer:
    """Return the answer to `count` inputs.

    Args:
        endpoint: Says which fields hold what.
        content: The JSON of the answer.
        count: How many inputs were asked about.
        declared: The version that the header declares.
        hide: For what is quoted in messages.

    Raises:
        EndpointError: For an answer that cannot be used; the message quotes the part that is wrong.
    """
    scores, labels = _inner(content, endpoint.scores_field), _inner(content, endpoint.labels_field)
    if scores is None and labels is None:
        held = f"the fields {', '.join(map(str, content))}" if isinstance(content, dict) else f"a {type(content).__name__}"
        wanted = f"{endpoint.scores_field!r} nor {endpoint.labels_field!r}"
        raise EndpointError(f"{endpoint} answered {hide(held)}, neither {wanted}: name the right one with scores_field= or labels_field=")
    if endpoint.single:
        scores, labels = None if scores is None else [scores], None if labels is None else [labels]
    version = _inner(content, endpoint.version_field)
    return Answer(
        None if scores is None else _scores(endpoint, scores, count, hide),
        None if labels is None else _labels(endpoint, labels, count, hide),
        hide(str(version if version is not None else declared)),
    )


def _scores(endpoint: Endpoint, scores: Any, count: int, hide: Hide) -> np.ndarray:
    name = f"{endpoint} gave {endpoint.scores_field}"
    if not isinstance(scores, list) or len(scores) != count:
        found = f"{len(scores)} rows" if isinstance(scores, list) else f"a {type(scores).__name__}"
        raise EndpointError(f"{name} with {found} for {count} inputs: it must answer one list of scores per input, in the same order")
    for place, row in enumerate(scores):
        if not isinstance(row, list) or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in row):
            raise EndpointError(f"{name} {hide(repr(row))} for input {place}: return a list of numbers per input, one per class")
        if len(row) != len(scores[0]) or len(row) < 2:
            cure = "give a score for every class" if len(row) < 2 else "the classes must be the same for every input"
            raise EndpointError(f"{name} with {len(row)} classes for input {place} and {len(scores[0])} for input 0: {cure}")
        if not all(-LARGEST <= one <= LARGEST for one in row):
            wrong = "NaN or infinity" if any(isinstance(one, float) and not math.isfinite(one) for one in row) else f"numbers beyond {LARGEST:.2g}"
            raise EndpointError(f"{name} {hide(repr(row))} for input {place}: the model returns {wrong} and must be fixed first")
    return np.asarray(scores, dtype=np.float64)


def _labels(endpoint: Endpoint, labels: Any, count: int, hide: Hide) -> list[int]:
    name = f"{endpoint} gave {endpoint.labels_field}"
    if not isinstance(labels, list) or len(labels) != count:
        held = f"{len(labels)} entries" if isinstance(labels, list) else f"a {type(labels).__name__}"
        raise EndpointError(f"{name} with {held} for {count} inputs: it must answer one class per input, in the same order")
    known = {name: number for number, name in enumerate(endpoint.names)}
    found: list[int] = []
    for place, said in enumerate(labels):
        one = known.get(said, said) if isinstance(said, str) else said
        if isinstance(one, bool) or not isinstance(one, int) or one < 0:
            cure = f"known are {', '.join(known)}" if known else "give Endpoint(names=...) if these are names of classes"
            raise EndpointError(f"{name} {hide(repr(one))} for input {place}: classes are numbers from 0; {cure}")
        found.append(one)
    return found


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has the field {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _inner(content: Any, path: str) -> Any:
    """The field at a path such as result.scores; None where there is none."""
    for name in path.split(".") if path else [""]:
        content = content.get(name) if isinstance(content, dict) else None
    return content
