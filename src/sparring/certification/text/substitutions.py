"""The vectors that word substitutions can give to a text network, as an input set.

Interval hull of the allowed vectors: Jia et al. 2019, arXiv:1909.00986; Huang et al. 2019, arXiv:1909.01492. We differ in two things: what is linear in the
vectors is bounded over the allowed words themselves, whose convex hull lies in that box, and over the most words that may change instead of all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.certification.networks.bounds.inputs import ROUNDING, InputSet
from sparring.models.embedding_text import EmbeddingText
from sparring.threats.words import WordsRegion


@dataclass(frozen=True, eq=False, kw_only=True)
class Substitutions(InputSet):
    """Hold the allowed sentences as word vectors.

    low, high: the interval hull, float64 [n, length, dim]. center: the sentences as they are. options: float64 [n, length, m, dim], what may stand at each
    place, the first being the word itself, with which short lists are filled up. most: int64 [n], how many places may differ from `center`.
    """

    options: Tensor
    most: Tensor

    def take(self, rows: Tensor) -> "Substitutions":
        center = self.middle[rows]
        return Substitutions(low=self.low[rows], high=self.high[rows], center=center, options=self.options[rows], most=self.most[rows])

    def contains(self, x: Tensor) -> Tensor:
        """Return whether x is made of allowed words with few enough changes, bool [n].

        x: [n, length, dim].
        """
        listed = (x[:, :, None] == self.options).all(3).any(2).all(1)
        return listed & ((x != self.middle).any(2).sum(1) <= self.most)

    def minimum(self, slope: Tensor, constant: Tensor) -> Tensor:
        """Return the least of slope . x + constant over all allowed sentences, [n, r].

        It is exact but for rounding, from below.
        """
        center = self.middle
        change = self._changes(slope).amin(3)
        least = change.sort(dim=1).values
        counted = torch.arange(least.shape[1], device=least.device)[None, :] < self.most[:, None]
        start = (slope * center[:, None]).flatten(2).sum(2)
        size = (slope.abs() * torch.maximum(self.low.abs(), self.high.abs())[:, None]).flatten(2).sum(2)
        return start + (least * counted[:, :, None]).sum(1) + constant - (4 * size + constant.abs()) * ROUNDING

    def minimizer(self, slope: Tensor) -> Tensor:
        """Return allowed sentences at which slope . x is least, [n, r, length, dim]."""
        change, chosen = self._changes(slope).min(3)
        rank = change.argsort(dim=1).argsort(dim=1)
        chosen = torch.where((rank < self.most[:, None, None]) & (change < 0), chosen, 0).transpose(1, 2)
        options = self.options[:, None].expand(-1, chosen.shape[1], -1, -1, -1)
        return options.gather(3, chosen[..., None, None].expand(*chosen.shape, 1, options.shape[-1])).squeeze(3)

    def _changes(self, slope: Tensor) -> Tensor:
        """[n, length, r, m]: by how much slope . x changes when each option is put at each place; 0 for the first."""
        moves = self.options - self.options[:, :, :1]
        return slope.to(moves.dtype).transpose(1, 2) @ moves.transpose(2, 3)

    def split(self, axis: Tensor) -> InputSet:
        raise ValueError("only boxes are cut")


def substitutions(model: EmbeddingText, region: WordsRegion) -> Substitutions:
    """Return the sentences of a region as a network reads them.

    What the sentences of a region become in front of the network. Places behind the last word, and words that are not read, do not count.
    """
    lists: list[list[list[int]]] = []
    for sentence in region.origin:
        words = sentence.split()[: model.length]
        lists.append([[model.number(word), *(model.number(one) for one in single_words(region.listed(word)))] for word in words])
    widest = max([1, *(len(options) for row in lists for options in row)])
    origin = model.numbers(region.origin)
    numbers = origin[:, :, None].repeat(1, 1, widest)
    for row, places in enumerate(lists):
        for place, options in enumerate(places):
            numbers[row, place, : len(options)] = torch.tensor(options)
    vectors = model.embedding.weight.detach().double()[numbers]
    most, center = region.most().to(vectors.device), vectors[:, :, 0]
    still = (most == 0)[:, None, None]
    low, high = torch.where(still, center, vectors.amin(2)), torch.where(still, center, vectors.amax(2))
    return Substitutions(low=low, high=high, center=center, options=vectors, most=most)


def single_words(substitutes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the substitutes that are single words.

    Without those that white space divides: they would change the number of words, which the threat does not allow.
    """
    return tuple(one for one in substitutes if one.split() == [one])
