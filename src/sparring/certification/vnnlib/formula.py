"""Formulas over inputs and outputs in exact arithmetic, expanded to a union of cases."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import chain, product
from typing import NamedTuple

import numpy as np

from sparring.certification.vnnlib.property import Case, Clause, Property
from sparring.core.errors import InputError

INPUT, OUTPUT = 1, 2
LIMIT = 100_000
"""Most alternatives that a specification may come to; each is a query of its own."""
NUMBERS = 20_000_000
"""Most atoms in the alternatives, and most numbers in all boxes: some hundred megabytes."""
UNCOUNTED = 10**18
"""Where counting stops; (2, 3, ...) disjunctions of thousands of assertions would make numbers of thousands of digits."""


class LinearTerm(NamedTuple):
    """Hold a linear term.

    weights: variable -> factor, none of them 0; plus a constant. Input i is the variable i, output i the variable -1 - i.
    """

    weights: dict[int, Fraction]
    constant: Fraction


class Atom(NamedTuple):
    """Hold one linear inequality.

    The sum of the weights times their variables is at most `limit`. kinds: INPUT or OUTPUT.
    """

    weights: tuple[tuple[int, Fraction], ...]
    limit: Fraction
    kinds: int


class Junction(NamedTuple):
    """Represent all of the parts (every) or any of them.

    alternatives: of its disjunctive normal form; size: atoms in all of these.
    """

    every: bool
    parts: tuple["Atom | Junction", ...]
    kinds: int
    alternatives: int
    size: int


Formula = Atom | Junction
Conjunction = tuple[Atom, ...]
ONE = Fraction(1)


class Unanswerable(InputError):
    """Report a specification with nothing to prove, or with too much.

    variable: the input that is to blame, if it is one.
    """

    def __init__(self, message: str, variable: int | None = None):
        super().__init__(message)
        self.variable = variable


def add(terms: Iterable[LinearTerm]) -> LinearTerm:
    """Return their sum."""
    weights: dict[int, Fraction] = {}
    constant = Fraction(0)
    for term in terms:
        constant += term.constant
        for variable, factor in term.weights.items():
            weights[variable] = weights.get(variable, 0) + factor
    return LinearTerm({variable: factor for variable, factor in weights.items() if factor}, constant)


def scale(term: LinearTerm, factor: Fraction) -> LinearTerm:
    """Return every weight and the constant times `factor`."""
    return LinearTerm({variable: weight * factor for variable, weight in term.weights.items()} if factor else {}, term.constant * factor)


def multiply(terms: Sequence[LinearTerm]) -> LinearTerm:
    """Return their product; InputError if more than one of them has variables."""
    if sum(bool(term.weights) for term in terms) > 1:
        raise InputError("a product of variables is not linear: multiply variables by numbers only")
    return reduce(lambda one, two: scale(one, two.constant) if one.weights else scale(two, one.constant), terms)


def at_most(left: LinearTerm, right: LinearTerm) -> Formula:
    """Return left <= right as a formula.

    Raises:
        InputError: If it is about inputs and outputs at once, or about several inputs.
    """
    weights, constant = add((left, scale(right, Fraction(-1))))
    if not weights:
        return junction(constant <= 0, ())
    inputs = sum(variable >= 0 for variable in weights)
    if inputs and inputs < len(weights):
        raise InputError("a constraint mixes inputs and outputs: use X alone or Y alone in each constraint")
    if inputs > 1:
        raise InputError(f"a constraint involves {inputs} inputs at once: give bounds on each input (a box)")
    if inputs:
        ((variable, factor),) = weights.items()
        return Atom(((variable, Fraction(1 if factor > 0 else -1)),), -constant / abs(factor), INPUT)
    return Atom(tuple(sorted(weights.items(), reverse=True)), -constant, OUTPUT)


def opposite(atom: Atom) -> Atom:
    """Return the negation of an atom, with its border.

    Strict comparisons are read as closed ones.
    """
    return Atom(tuple((variable, -factor) for variable, factor in atom.weights), -atom.limit, atom.kinds)


def junction(every: bool, parts: tuple[Formula, ...]) -> Formula:
    """Return all of the parts, or any of them.

    Of no parts: true, and false.
    """
    if len(parts) == 1:
        return parts[0]
    counts = [(1, 1) if isinstance(part, Atom) else (part.alternatives, part.size) for part in parts]
    alternatives = size = 0
    if every:
        alternatives = 1
        for count, atoms in counts:
            alternatives, size = min(alternatives * count, UNCOUNTED), min(size * count + atoms * alternatives, UNCOUNTED)
    else:
        alternatives, size = min(sum(count for count, _ in counts), UNCOUNTED), min(sum(atoms for _, atoms in counts), UNCOUNTED)
    return Junction(every, parts, reduce(int.__or__, (part.kinds for part in parts), 0), alternatives, size)


def alternatives(formula: Formula) -> list[Conjunction]:
    """Return the disjunctive normal form of a formula.

    There is no recursion, so that no depth of nesting is too much.
    """
    waiting: list[tuple[Formula, int]] = [(formula, -1)]
    found: list[list[Conjunction]] = []
    while waiting:
        here, parts = waiting.pop()
        if isinstance(here, Atom):
            found.append([(here,)])
        elif parts < 0:
            flat = _flat(here.parts, here.every)
            waiting.append((here, len(flat)))
            waiting.extend((part, -1) for part in reversed(flat))
        else:
            taken = found[len(found) - parts :]
            del found[len(found) - parts :]
            found.append(_distribute(taken) if here.every else list(chain.from_iterable(taken)))
    return found[0]


def _flat(parts: Iterable[Formula], every: bool) -> list[Formula]:
    """The parts, with those of the same kind replaced by their own parts at whatever depth."""
    waiting = list(parts)[::-1]
    found: list[Formula] = []
    while waiting:
        here = waiting.pop()
        if isinstance(here, Junction) and here.every == every:
            waiting.extend(reversed(here.parts))
        else:
            found.append(here)
    return found


def _distribute(choices: list[list[Conjunction]]) -> list[Conjunction]:
    """One conjunction for every way to take one of each of the choices."""
    common = tuple(chain.from_iterable(choice[0] for choice in choices if len(choice) == 1))
    several = [choice for choice in choices if len(choice) != 1]
    return [common + tuple(chain.from_iterable(taken)) for taken in product(*several)]


def to_property(inputs: int, outputs: int, assertions: Iterable[Formula]) -> Property:
    """Return the cases of all assertions together, one for each different box.

    Raises InputError for inputs without bounds, specifications that come to too many alternatives, those that say nothing of the
    outputs and coefficients too long to be exact; Unanswerable where no input or no output is unsafe, whatever the network.
    """
    parts = _flat(assertions, True)
    everywhere = [part for part in parts if isinstance(part, Atom) and part.kinds == INPUT]
    rest = [part for part in parts if not (isinstance(part, Atom) and part.kinds == INPUT)]
    about = ({0, INPUT}, {OUTPUT}, {INPUT | OUTPUT})
    boxed, ruled, mixed = (_small(junction(True, tuple(part for part in rest if part.kinds in kinds)), inputs) for kinds in about)
    most = max(len(boxed), len(ruled)) * len(mixed)
    if most > LIMIT or len(boxed) * len(mixed) * inputs > NUMBERS:
        raise InputError(_too_many(most, len(boxed) * len(mixed) * inputs))
    if not (boxed and mixed and ruled):
        raise Unanswerable("its constraints contradict each other, so no output is unsafe: correct them")
    if not all(ruled) and any(all(atom.kinds == INPUT for atom in one) for one in mixed):
        raise InputError("it has no constraint on the outputs: add an assertion on Y")
    box = _Box(inputs, everywhere)
    polytopes = [_clause(outputs, rows) for rows in ruled] if len(mixed) == 1 and not mixed[0] else []
    grouped: dict[bytes, tuple[_Sides, list[Clause]]] = {}
    for first, second in product(boxed, mixed):
        sides = box.narrowed(chain(first, (atom for atom in second if atom.kinds == INPUT)))
        if sides is not None:
            own = tuple(atom for atom in second if atom.kinds == OUTPUT)
            clauses = grouped.setdefault(sides.key(), (sides, []))[1]
            clauses.extend(polytopes or (_clause(outputs, own + rows) for rows in ruled))
    if not grouped:
        raise Unanswerable(box.emptiness, box.empty)
    return Property(inputs, outputs, tuple(Case(low, high, tuple(clauses), *inner) for (low, high, *inner), clauses in grouped.values()))


def _small(formula: Formula, inputs: int) -> list[Conjunction]:
    """Its alternatives, refused before they are made if there are too many."""
    if isinstance(formula, Junction):
        boxes = formula.alternatives * inputs if formula.kinds & INPUT else 0
        if formula.alternatives > LIMIT or formula.size > NUMBERS or boxes > NUMBERS:
            raise InputError(_too_many(formula.alternatives, formula.size))
    return alternatives(formula)


def _too_many(count: int, size: int = 0) -> str:
    said = f"{count:,}" if count < UNCOUNTED else f"more than {UNCOUNTED:,}"
    more = f" of {size:,} numbers together" if count <= LIMIT else ""
    return f"its and/or expand to {said} alternatives{more}; the limit is {LIMIT:,} with {NUMBERS:,} numbers in total: split the file"


class _Sides(NamedTuple):
    """Of one box: rounded outward, and inward."""

    low: np.ndarray
    high: np.ndarray
    inner_low: np.ndarray
    inner_high: np.ndarray

    def key(self) -> bytes:
        return b"".join(side.tobytes() for side in self)


class _Box:
    """The bounds that hold in every case, and boxes narrowed from them."""

    def __init__(self, inputs: int, atoms: Iterable[Atom]):
        self.low: dict[int, Fraction] = {}
        self.high: dict[int, Fraction] = {}
        self.empty: int | None = None
        self.emptiness = ""
        _tighten(self.low, self.high, atoms)
        self.sides = _Sides(*(np.full(inputs, math.nan) for _ in range(4)))
        _write(self.sides, self.low, self.high)
        self._is_empty(self.low, self.high)

    def narrowed(self, atoms: Iterable[Atom]) -> _Sides | None:
        """The box within these bounds too, None if nothing is left of it; InputError if a bound is missing."""
        if self.empty is not None and self._is_empty(self.low, self.high):
            return None
        changes: tuple[dict[int, Fraction], dict[int, Fraction]] = ({}, {})
        for atom in atoms:
            variable = atom.weights[0][0]
            for side, own in zip(changes, (self.low, self.high), strict=True):
                if variable in own:
                    side.setdefault(variable, own[variable])
            _tighten(*changes, (atom,))
        if self._is_empty(*changes):
            return None
        sides = self.sides
        if changes[0] or changes[1]:
            sides = _Sides(*(side.copy() for side in sides))
            _write(sides, *changes)
        for side, words in ((sides.low, "lower"), (sides.high, "upper")):
            missing = np.flatnonzero(np.isnan(side))
            if len(missing):
                several = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
                raise Unanswerable(f"X_{missing[0]}{several} has no {words} bound: every input needs both", int(missing[0]))
        return sides

    def _is_empty(self, low: dict[int, Fraction], high: dict[int, Fraction]) -> bool:
        for variable, least in low.items():
            if variable in high and least > high[variable]:
                self.empty = variable
                self.emptiness = (
                    f"the input set is empty: X_{variable} would be at least {float(least)!r} and at most {float(high[variable])!r}; correct the bounds"
                )
                return True
        return False


def _tighten(low: dict[int, Fraction], high: dict[int, Fraction], atoms: Iterable[Atom]) -> None:
    for atom in atoms:
        variable, sign = atom.weights[0]
        if sign > 0:
            if variable not in high or atom.limit < high[variable]:
                high[variable] = atom.limit
        elif variable not in low or -atom.limit > low[variable]:
            low[variable] = -atom.limit


def _write(sides: _Sides, low: dict[int, Fraction], high: dict[int, Fraction]) -> None:
    for variable, value in low.items():
        sides.low[variable], sides.inner_low[variable] = around(value)
    for variable, value in high.items():
        sides.inner_high[variable], sides.high[variable] = around(value)


@lru_cache(65536)
def around(value: Fraction) -> tuple[float, float]:
    """Return the floats next below and above, equal if the value is a float.

    Raises:
        InputError: Beyond the range of float64.
    """
    try:
        near = value.numerator / value.denominator
    except OverflowError as error:
        raise InputError("a number is beyond the range of float64 (1.8e308)") from error
    above, below = near.as_integer_ratio()
    difference = above * value.denominator - value.numerator * below
    if difference == 0:
        return near, near
    return (near, math.nextafter(near, math.inf)) if difference < 0 else (math.nextafter(near, -math.inf), near)


def _clause(outputs: int, atoms: Conjunction) -> Clause:
    rows = np.zeros((len(atoms), outputs))
    limits = []
    for row, atom in zip(rows, atoms, strict=True):
        factor = _exact(tuple(weight for _, weight in atom.weights))
        for variable, weight in atom.weights:
            row[-1 - variable] = float(weight * factor)
        limits.append(around(atom.limit * factor))
    inner, bounds = np.array(limits, np.float64).reshape(-1, 2).T
    return Clause(rows, np.ascontiguousarray(bounds), np.ascontiguousarray(inner))


@lru_cache(4096)
def _exact(weights: tuple[Fraction, ...]) -> Fraction:
    """A positive factor that makes all of them floats exactly: 1, or their common denominator over a power of two."""
    if all(len(set(around(weight))) == 1 for weight in weights):
        return ONE
    whole = math.lcm(*(weight.denominator for weight in weights))
    largest = max(abs(weight * whole) for weight in weights)
    factor = Fraction(whole, 2 ** max(0, int(largest).bit_length() - 1))
    if any(len(set(around(weight * factor))) != 1 for weight in weights):
        raise InputError("the factors of a constraint on Y have too many digits for exact arithmetic: write fewer digits")
    return factor
