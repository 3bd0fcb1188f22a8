"""Torch text networks as victims: an embedding per word, then a network on the embeddings."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.core.evaluating import evaluating, frozen
from sparring.core.fingerprint import digest, weights
from sparring.core.victim import Victim
from sparring.domains.text import Strings
from sparring.models.adapter import adapter
from sparring.models.state import State
from sparring.tasks.classes import Classes

PADDING, UNKNOWN = 0, 1
"""Rows of the embedding table for padding and for unknown words."""


class EmbeddingText(nn.Module):
    """Compute scores [n, classes] of sentences through word vectors [n, length, dim].

    Sentences are divided by white space as the domain does it.

    vocabulary: words; the vector of word i is row i + 2 of `embedding`. network: from [n, length, dim] to scores. Words beyond `length` are not
    read; behind the last word stands row 0, which begins as zeros and is not trained. lowercase: look words up in lower case.

        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4, 2))
        >>> model = EmbeddingText(["good", "bad"], 4, network, length=3)
        >>> model.numbers(["Good day"]).tolist(), model(["Good day"]).shape
        ([[2, 1, 0]], torch.Size([1, 2]))
    """

    def __init__(self, vocabulary: Sequence[str], dim: int, network: nn.Module, *, length: int, lowercase: bool = True):
        super().__init__()
        if length < 1:
            raise LoadError(f"length={length}: give at least 1")
        self.vocabulary, self.length, self.lowercase = tuple(vocabulary), length, lowercase
        self.number_of = {word: place + 2 for place, word in enumerate(self.vocabulary)}
        self.embedding = nn.Embedding(len(self.vocabulary) + 2, dim, padding_idx=PADDING)
        self.network = network

    def number(self, word: str) -> int:
        """Return the row of a word in the embedding table."""
        return self.number_of.get(word.lower() if self.lowercase else word, UNKNOWN)

    def numbers(self, sentences: Sequence[str] | Strings) -> Tensor:
        """Return the numbers of the words, int64 [n, length]."""
        rows = [[self.number(word) for word in one.split()[: self.length]] for one in sentences]
        return torch.tensor([row + [PADDING] * (self.length - len(row)) for row in rows], dtype=torch.int64, device=self.embedding.weight.device)

    def embed(self, sentences: Sequence[str] | Strings) -> Tensor:
        """Return [n, length, dim]."""
        return self.embedding(self.numbers(sentences))

    def forward(self, sentences: Sequence[str] | Strings) -> Tensor:
        return self.network(self.embed(sentences))


@adapter("embedding-text", lambda model: isinstance(model, EmbeddingText), order=5)
class EmbeddingTextVictim(Victim):
    """Wrap an `EmbeddingText`, queried in evaluation mode; mode and parameters are restored.

    Gradients exist with respect to the vectors of words only, so attacks on strings see scores.
    """

    def __init__(self, model: EmbeddingText, domain: Domain, *, name: str | None = None):
        if domain.kind != "text":
            raise LoadError(f"{type(model).__name__} takes sentences, but the inputs are {domain}: use sp.text()")
        self.model, self.domain = model, domain
        self.name = name or type(model).__name__
        self.exposes = frozenset({"labels", "scores"})
        with self.session():
            self.task = Classes().fitted(self.scores(Strings.of(["a"])), self.name)

    def scores(self, x: Strings) -> Tensor:
        with torch.no_grad(), evaluating(self.model):
            return Classes().scores(self.model(x), self.name).cpu()

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        with frozen(self.model), evaluating(self.model), super().session(seed):
            yield

    @property
    def fingerprint(self) -> str:
        words = "\n".join(self.model.vocabulary)
        return digest(repr(self.model), f"{self.model.length} {self.model.lowercase}", words, *weights(self.model.embedding), *self._own.parts)

    @property
    def complete(self) -> bool:
        return not self._own.missing

    @property
    def _own(self) -> State:
        """Return what the user wrote: the network, and perhaps a class of the model."""
        return State([type(self.model), self.model.network])

    def describe(self) -> dict[str, Any]:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return {**super().describe(), "parameters": count, "vocabulary": len(self.model.vocabulary), "length": self.model.length}
