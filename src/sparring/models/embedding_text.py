"""Text networks of torch as victims: one vector a word, then a network on the vectors side by side."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.core.victim import Graded, Objective, Victim
from sparring.domains.text import Strings
from sparring.models.adapter import adapter, as_scores, digest
from sparring.models.differentiate import graded
from sparring.models.evaluating import evaluating

PADDING, UNKNOWN = 0, 1
"""Rows of the table of vectors: what stands behind the last word, and for words that are not in the vocabulary."""


class EmbeddingText(nn.Module):
    """Sentences, divided by white space as the domain does it, to vectors [n, length, dim], to scores [n, classes].

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
            raise LoadError(f"length={length}: at least one word is read")
        self.vocabulary, self.length, self.lowercase = tuple(vocabulary), length, lowercase
        self.number_of = {word: place + 2 for place, word in enumerate(self.vocabulary)}
        self.embedding = nn.Embedding(len(self.vocabulary) + 2, dim, padding_idx=PADDING)
        self.network = network

    def number(self, word: str) -> int:
        """The row of a word."""
        return self.number_of.get(word.lower() if self.lowercase else word, UNKNOWN)

    def numbers(self, sentences: Sequence[str] | Strings) -> Tensor:
        """int64 [n, length]."""
        rows = [[self.number(word) for word in one.split()[: self.length]] for one in sentences]
        return torch.tensor([row + [PADDING] * (self.length - len(row)) for row in rows], dtype=torch.int64, device=self.embedding.weight.device)

    def embed(self, sentences: Sequence[str] | Strings) -> Tensor:
        """[n, length, dim]."""
        return self.embedding(self.numbers(sentences))

    def forward(self, sentences: Sequence[str] | Strings) -> Tensor:
        return self.network(self.embed(sentences))


@adapter("embedding-text", lambda model: isinstance(model, EmbeddingText), order=5)
class EmbeddingTextVictim(Victim):
    """An `EmbeddingText`, asked in evaluation mode; mode and parameters are as before afterwards. Gradients exist with respect
    to the vectors of words only, so attacks on strings see scores."""

    def __init__(self, model: EmbeddingText, domain: Domain, *, name: str | None = None):
        if domain.kind != "text":
            raise LoadError(f"{type(model).__name__} reads sentences but the inputs are {domain.say()}: use sp.text()")
        self.model, self.domain = model, domain
        self.name = name or type(model).__name__
        self.exposes = frozenset({"labels", "scores"})
        with self.session():
            self.classes = self.scores(Strings.of(["a"])).shape[1]

    def scores(self, x: Strings) -> Tensor:
        with torch.no_grad():
            return as_scores(self.model(x), self.name).cpu()

    def embedding_gradient(self, x: Strings, objective: Objective) -> Graded:
        """As `gradient`, with respect to the vectors: grad [n, length, dim]."""
        return graded(lambda point: as_scores(self.model.network(point), self.name), self.model.embed(x), objective)

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        frozen = [(parameter, parameter.requires_grad) for parameter in self.model.parameters()]
        try:
            for parameter, _ in frozen:
                parameter.requires_grad_(False)
            with evaluating(self.model), super().session(seed):
                yield
        finally:
            for parameter, needed in frozen:
                parameter.requires_grad_(needed)

    @property
    def fingerprint(self) -> str:
        parts: list[bytes | str] = [repr(self.model), f"{self.model.length} {self.model.lowercase}", "\n".join(self.model.vocabulary)]
        for name, value in self.model.state_dict().items():
            parts += [f"{name} {value.dtype} {tuple(value.shape)}", value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()]
        return digest(*parts)

    def describe(self) -> dict[str, Any]:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return {**super().describe(), "parameters": count, "vocabulary": len(self.model.vocabulary), "length": self.model.length}
