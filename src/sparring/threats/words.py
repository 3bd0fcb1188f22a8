"""Word edits: replace words by listed substitutes, at most a given share of the sentence."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from sparring.core.documents import parse_json
from sparring.core.domain import Domain
from sparring.core.errors import LoadError, NeedsError, PlanError
from sparring.core.files import read_file, unpacked
from sparring.core.registry import register
from sparring.core.rng import Rng, number_of
from sparring.core.space import Region, Space, check_radius
from sparring.domains.text import Strings, spaces, with_word


@register("space", "words")
@dataclass(frozen=True)
class Words(Space):
    """Allow listed substitutes to replace at most a share of the words of a sentence.

    Args:
        share: The share of the words that may change, 0 to 1.
        table: A JSON file that maps each word in lower case to its substitutes.

    A sentence is divided by white space, which stays as it is; a word that begins with a
    capital keeps it. Words that are not listed stay.
    """

    radius: float | Tensor
    neighbours: Mapping[str, tuple[str, ...]]

    kind: ClassVar[str] = "words"
    region: ClassVar[type[Region]]

    def __post_init__(self) -> None:
        check_radius(self.radius)
        if not self.neighbours:
            raise PlanError("words needs neighbours: give a table word -> substitutes")

    @classmethod
    def parse(cls, share: float, table: str) -> "Words":
        """Return the space as a plan writes it: the share of words, and the table of neighbours."""
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise PlanError(f"words {share!r}: give the share of words that may change, between 0 and 1, then the neighbour table")
        return cls(float(share), read_neighbours(table))

    def around(self, origin: Strings, domain: Domain) -> "WordsRegion":
        if domain.kind != "text":
            raise NeedsError(f"words applies to text, the inputs are {domain}: try linf, l2 or rules")
        return WordsRegion(origin, domain, self.radii(len(origin)), self.neighbours)

    def describe(self) -> dict[str, Any]:
        table = number_of(json.dumps(sorted((word, list(others)) for word, others in self.neighbours.items())))
        return {**super().describe(), "words": len(self.neighbours), "table": f"{table:016x}"}

    def __str__(self) -> str:
        radius = "a share per sample" if isinstance(self.radius, Tensor) else f"{self.radius:.0%}"
        return f"at most {radius} of the words of a sentence are replaced by listed substitutes ({len(self.neighbours):,} words have some)"


@dataclass(frozen=True, eq=False)
class WordsRegion(Region):
    """Represent the sentences that listed substitutions allow around each origin (strings [n])."""

    origin: Strings
    domain: Domain
    radius: Tensor
    neighbours: Mapping[str, tuple[str, ...]]

    def take(self, rows: Tensor) -> Self:
        return type(self)(self.origin[rows], self.domain, self.radius[rows], self.neighbours)

    def size(self, x: Strings) -> Tensor:
        """Return the share of words that differ, [n]; 1 where their number or the white space does."""
        return torch.tensor([_share(old, new) for old, new in zip(self.origin, x, strict=True)], dtype=torch.float64)

    def inside(self, x: Strings) -> Tensor:
        pairs = zip(self.origin, x, self.most().tolist(), strict=True)
        return torch.tensor([spaces(old) == spaces(new) and self._fits(old.split(), new.split(), most) for old, new, most in pairs], dtype=torch.bool)

    def _fits(self, old: list[str], new: list[str], most: int) -> bool:
        changed = [place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
        listed = all(new[place] in self.listed(old[place]) for place in changed)
        return len(old) == len(new) and len(changed) <= most and listed

    def most(self) -> Tensor:
        """Return how many words of each sentence may be replaced, int64 [n]."""
        lengths = torch.tensor([len(one.split()) for one in self.origin], dtype=torch.float64)
        return (self.radius.clamp(max=1.0) * lengths + 1e-9).floor().long()

    def listed(self, word: str) -> tuple[str, ...]:
        """Return the substitutes of one word of an origin, with its capital."""
        found = self.neighbours.get(word.lower(), ())
        return tuple(one.capitalize() for one in found) if word[:1].isupper() else tuple(found)

    def substitutes(self, row: int, place: int) -> tuple[str, ...]:
        """Return the words that may replace the word at a position of a row."""
        return self.listed(self.origin[row].split()[place])

    def places(self, row: int) -> list[int]:
        """Return the positions of a row whose word has substitutes."""
        return [place for place, word in enumerate(self.origin[row].split()) if self.listed(word)]

    def sample(self, rng: Rng) -> Strings:
        """Return a random number of random substitutions, up to all that are allowed."""
        share = rng.draw("count").uniform(1, dtype=torch.float64).squeeze(1)
        return self._random((share * (self.most() + 1)).long(), rng)

    def corner(self, rng: Rng) -> Strings:
        """Draw as many random substitutions as are allowed."""
        return self._random(self.most(), rng)

    def _random(self, counts: Tensor, rng: Rng) -> Strings:
        x = self.origin.copy()
        longest = max([1, *(len(one.split()) for one in x)])
        rank, pick = (rng.draw(name).uniform(longest, dtype=torch.float64) for name in ("rank", "pick"))
        for row, count in enumerate(counts.tolist()):
            words = x[row].split()
            order = sorted(self.places(row), key=lambda place: float(rank[row, place]))
            for place in order[:count]:
                options = self.listed(words[place])
                x[row] = with_word(x[row], place, options[int(float(pick[row, place]) * len(options))])
        return x


Words.region = cast(Any, WordsRegion)


def _share(old: str, new: str) -> float:
    if spaces(old) != spaces(new):
        return 1.0
    words = old.split()
    return sum(a != b for a, b in zip(words, new.split(), strict=True)) / max(1, len(words))


def read_neighbours(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Return a neighbour table from JSON (word -> list of words), plain or gzipped."""
    file = Path(path)
    where = f"neighbour table {file}"
    table = parse_json(unpacked(read_file(file, where), where), where)
    if not isinstance(table, dict) or not all(isinstance(others, list) for others in table.values()):
        raise LoadError(f'neighbour table {file} is no JSON object from words to lists of words: write it like {{"good": ["fine", "nice"]}}')
    return {str(word).lower(): tuple(str(one) for one in others if one) for word, others in table.items() if others}
