"""A model behind a web address as a victim, queried by POST; every answer is stored."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.arguments import shown
from sparring.core.domain import Batch, Domain
from sparring.core.errors import AccessError, EndpointError, LoadError
from sparring.core.fingerprint import digest
from sparring.core.victim import Victim
from sparring.models.adapter import adapter
from sparring.models.http.answer import Answer
from sparring.models.http.endpoint import Endpoint
from sparring.models.http.form import example_of, outside, written
from sparring.models.http.ledger import QueryLedger, Reply
from sparring.models.http.wire import Refused, Wire
from sparring.tasks.classes import Classes, label_of

SLACK = 2e-3
"""Largest difference between two answers to the same query that rounding explains, as a share of the largest score."""


def is_address(model: Any) -> bool:
    """Return whether this is a model behind a web address."""
    return isinstance(model, Endpoint) or (isinstance(model, str) and model.lower().startswith(("http://", "https://")))


@adapter("http", is_address, order=13)
class HttpVictim(Victim):
    """Represent a model behind an address or an `Endpoint` with settings.

    The contract is in docs/http.md.

    classes: their number, for endpoints that answer labels only; otherwise the scores tell. example: an input for the first
    question (a batch of one). Making the victim asks it: the first time twice, to see whether answers are random; later
    once, to see whether the remembered answer still holds.
    """

    remembers = True
    """Asking twice gives the remembered answer, so checks for random answers see none; the opening has looked."""

    def __init__(self, model: str | Endpoint, domain: Domain, *, name: str | None = None, classes: int | None = None, example: Batch | None = None):
        self.endpoint = Endpoint.read(model) if isinstance(model, str) else model
        self.domain = domain
        self.name = name or str(self.endpoint)
        self.ledger: QueryLedger | None = None
        self.remembers = self.endpoint.ledger != "none"
        self._wire = Wire(self.endpoint)
        self._depth = 0
        self._trouble: EndpointError | None = None
        shown: Batch = example_of(domain) if example is None else example
        (row,) = written(domain, shown[:1], named_columns=self.endpoint.named_columns)
        with self._wire.line():
            try:
                first = self._wire.ask([row])
                self.exposes, count = self._learn(first, classes)
                self.task = Classes(count)
                self.names_both = first.scores is not None and first.labels is not None
                self.version = first.version
                self._check(first)
            except BaseException:
                self._bill_opening()
                raise
            self.identity = self._identity()
            if self.remembers:
                self.ledger = QueryLedger(self.endpoint.ledger, self.identity, str(self.endpoint), self.version)
                self._compare(self.ledger, row, _replies(first)[0])

    def _bill_opening(self) -> None:
        """Count the queries of an opening that failed; what the endpoint is was not learned, so they have a line of their own in the ledger."""
        if self.remembers and self._wire.sent:
            unknown = QueryLedger(self.endpoint.ledger, digest(self.endpoint.url, "not opened"), str(self.endpoint), "")
            with unknown.line():
                unknown.count(sent=self._wire.sent)

    def _learn(self, first: Answer, classes: int | None) -> tuple[frozenset[str], int]:
        """What is exposed, and how many classes there are."""
        if first.scores is not None:
            return frozenset({"labels", "scores"}), int(first.scores.shape[1])
        count = len(self.endpoint.names) or classes
        if count is None:
            raise LoadError(f"{self.name} answers labels only: give the number of classes, victim(..., classes=10)")
        return frozenset({"labels"}), int(count)

    def _identity(self) -> str:
        """What decides the answers, as far as can be seen from here."""
        one = self.endpoint
        form = [one.inputs_field, one.scores_field, one.labels_field, one.single, one.named_columns, list(one.names), dict(one.constants)]
        return digest(one.url, self.version, json.dumps(form, sort_keys=True), json.dumps(self.domain.describe(), sort_keys=True), *sorted(self.exposes))

    def _compare(self, ledger: QueryLedger, row: bytes, live: Reply) -> None:
        """The canary: an answer that differs from the remembered one, or from a second one, ends it here."""
        key = ledger.key(row)
        with ledger.line():
            known = ledger.recall([key]).get(key)
            if known is None:
                try:
                    again = self._live([row])[0]
                except BaseException:
                    ledger.count(paid=1, sent=self._wire.sent)
                    raise
                if not _alike(live, again):
                    ledger.count(paid=2, sent=self._wire.sent)
                    raise EndpointError(
                        f"{self.name} answered the same query in two ways ({_shown(live)}, then {_shown(again)}): its answers are random and "
                        "cannot be stored; average them on the server, or give ledger=none"
                    )
                ledger.add({key: live}, sent=self._wire.sent)
                ledger.count(paid=1)
            else:
                ledger.count(paid=1, sent=self._wire.sent)
                if not _alike(live, known):
                    raise EndpointError(
                        f"the model behind {self.name} has changed: it answers {_shown(live)}, but the answer {_shown(known)} is stored in "
                        f"{ledger.path}: give another file, ledger=..., and a new folder, out=..., or let the endpoint declare its version"
                    )

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        """Open one connection that serves all queries inside.

        An endpoint that failed inside is an error on
        leaving, even where it was caught on the way, so that no verdict rests on missing answers.
        """
        with super().session(seed), self._line():
            yield
            if self._trouble is not None:
                raise self._trouble

    def scores(self, x: Batch) -> Tensor:
        if "scores" not in self.exposes:
            raise AccessError(f"{self.name} answers labels only")
        nothing = np.full(self.classes, np.nan)
        rows = [nothing if one is None or one.scores is None else one.scores for one in self._answers(x)]
        return _beside(x, np.stack(rows) if rows else np.zeros((0, self.classes)))

    def answer(self, x: Batch) -> Tensor:
        if "scores" in self.exposes and not self.names_both:
            return super().answer(x)
        return _beside(x, np.array([-1 if one is None or one.label is None else one.label for one in self._answers(x)], dtype=np.int64))

    def decide(self, x: Batch, scores: Tensor) -> Tensor:
        """Return the class that the endpoint returns with its scores, if it does."""
        return self.answer(x).where(torch.isfinite(scores).all(1), -1) if self.names_both else label_of(scores)

    def _answers(self, x: Batch) -> list[Reply | None]:
        """One reply an input; None for inputs outside the domain that the endpoint does not take."""
        strange = outside(self.domain, x)
        found: list[Reply | None] = [None] * len(x)
        with self._line():
            for rows in (np.flatnonzero(~strange), np.flatnonzero(strange)):
                if not len(rows) or (strange[rows[0]] and getattr(self.domain, "deployed", "") == "8bit"):
                    continue  # whole numbers outside 0 ... 255 cannot be sent at all
                some = x if len(rows) == len(x) else x[torch.as_tensor(rows)]
                try:
                    replies = self._ask(written(self.domain, some, named_columns=self.endpoint.named_columns))
                except Refused as error:
                    if strange[rows[0]]:
                        continue
                    self._trouble = error
                    raise
                for place, reply in zip(rows, replies, strict=True):
                    found[place] = reply
        return found

    def _ask(self, rows: list[bytes]) -> list[Reply]:
        """Replies from the ledger where it knows them, else live, each kept as soon as it is there."""
        if self._trouble is not None:
            raise self._trouble
        ledger = self.ledger
        if ledger is None:
            return [reply for start in range(0, len(rows), self._size) for reply in self._live(rows[start : start + self._size])]
        keys = [ledger.key(row) for row in rows]
        known = ledger.recall(list(dict.fromkeys(keys)))
        ledger.note_recalled(sum(key in known for key in keys))
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        todo = list(missing)
        ledger.note_recalled(len(keys) - sum(key in known for key in keys) - len(todo))
        for start in range(0, len(todo), self._size):
            some, before = todo[start : start + self._size], self._wire.sent
            try:
                replies = dict(zip(some, self._live([missing[key] for key in some]), strict=True))
            except BaseException:
                ledger.count(sent=self._wire.sent - before)
                raise
            ledger.add(replies, sent=self._wire.sent - before)
            known.update(replies)
        return [known[key] for key in keys]

    @property
    def _size(self) -> int:
        return 1 if self.endpoint.single else self.endpoint.batch

    def _live(self, rows: list[bytes]) -> list[Reply]:
        try:
            answer = self._wire.ask(rows)
            self._check(answer)
        except Refused:
            raise
        except EndpointError as error:
            self._trouble = error
            raise
        return _replies(answer)

    def _check(self, answer: Answer) -> None:
        """The answer is of the kind that the first one was."""
        if answer.version != self.version:
            raise EndpointError(
                f"the model behind {self.name} has changed during the run, from version {self.version!r} to {answer.version!r}: run the same command again"
            )
        if "scores" in self.exposes and (answer.scores is None or answer.scores.shape[1] != self.classes):
            found = "labels only" if answer.scores is None else f"{answer.scores.shape[1]} scores per input"
            raise EndpointError(f"{self.name} returned {found}, at first it returned {self.classes} scores: the model behind the address has changed")
        if (answer.labels is not None) != (self.names_both or answer.scores is None):
            raise EndpointError(f"{self.name} returns classes with its scores in some answers only: return them always, or ignore them with labels_field=")
        if answer.labels and max(answer.labels) >= self.classes:
            raise EndpointError(f"{self.name} returned the class {shown(max(answer.labels))}, but the classes are 0 to {self.classes - 1}: give classes=")

    @contextlib.contextmanager
    def _line(self) -> Iterator[None]:
        """Connection and ledger are open inside; sessions may be nested."""
        if self._depth:
            yield
            return
        self._trouble = None
        self._depth = 1
        try:
            with self._wire.line(), self.ledger.line() if self.ledger else contextlib.nullcontext():
                yield
        finally:
            self._depth = 0

    @property
    def fingerprint(self) -> str:
        """Return a hash of address, form of query and answer, and the endpoint's declared version.

        A model that changes behind the same address without saying so has the same fingerprint.
        """
        return self.identity

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "address": str(self.endpoint), "version": self.version}


def _replies(answer: Answer) -> list[Reply]:
    count = len(answer.labels or []) if answer.scores is None else len(answer.scores)
    return [Reply(None if answer.scores is None else answer.scores[place], answer.labels[place] if answer.labels else None) for place in range(count)]


def _alike(one: Reply, two: Reply) -> bool:
    if one.scores is None or two.scores is None:
        return one.label == two.label and one.scores is two.scores
    size = max(float(np.abs(one.scores).max()), float(np.abs(two.scores).max()), 1e-30)
    return one.scores.shape == two.scores.shape and float(np.abs(one.scores - two.scores).max()) <= SLACK * size


def _shown(reply: Reply) -> str:
    return f"class {reply.label}" if reply.scores is None else "scores " + ", ".join(f"{one:.4g}" for one in reply.scores[:4])


def _beside(x: Batch, values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).to(x.device if isinstance(x, Tensor) else "cpu")
