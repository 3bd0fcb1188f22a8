"""Parses VNN-LIB files: properties of networks in the syntax of SMT-LIB."""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from sparring.certification.vnnlib.formula import (
    INPUT,
    ONE,
    Atom,
    Formula,
    Junction,
    LinearTerm,
    Unanswerable,
    add,
    at_most,
    junction,
    multiply,
    opposite,
    scale,
    to_property,
)
from sparring.certification.vnnlib.property import Case, Clause, Property
from sparring.core.errors import InputError, LoadError, UsageError
from sparring.core.files import decoded, read_file, unpacked

__all__ = ["Case", "Clause", "Property", "parse_property", "read_property", "read_text"]

TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE]([-+]?\d+))?")
VARIABLE = re.compile(r"([XY])_(\d+)")
SECOND = re.compile(r"(?:\s|;[^\n]*\n)*\(\s*(?:vnnlib-version|declare-network)\b")
DIGITS, EXPONENT = 1000, 400
"""What is longer or larger is no number of a network, and could keep exact arithmetic busy for hours."""
TIMES_MINUS_ONE = Fraction(-1)


def read_property(path: str | Path) -> Property:
    """Read a .vnnlib or .vnnlib.gz file of version 1.0, or of 2.0 with the package `vnnlib`.

    The decimals are taken as they are written: boxes are rounded outward and thresholds so that the unsafe set can only grow.
    < and > are read as <= and >=, which only adds the border to the unsafe set. Several assertions hold together.

    Raises LoadError for files that are missing, empty or cannot be read, with line and column; InputError for what can be read
    and not be used: variables without bounds, constraints that are not linear or about several inputs, too many alternatives,
    and for an input set that is empty or constraints that contradict each other. Nothing would be unsafe then, and a proof would be worth nothing.
    """
    return parse_property(read_text(path), str(path))


def read_text(path: str | Path) -> str:
    """Return the text of a file that may be packed by gzip."""
    return decoded(unpacked(read_file(Path(path)), str(path)), str(path))


def parse_property(text: str, name: str = "property") -> Property:
    """Return the property in a text; error messages use `name`.

    As `read_property` otherwise.

    >>> said = "(declare-const X_0 Real) (declare-const Y_0 Real) (assert (<= X_0 0.1)) (assert (>= X_0 0)) (assert (>= Y_0 1))"
    >>> case = parse_property(said).cases[0]
    >>> case.low, case.high > 0.1, case.clauses[0].rows, case.clauses[0].bounds
    (array([0.]), array([False]), array([[-1.]]), array([-1.]))
    """
    if SECOND.match(text):
        from sparring.certification.vnnlib.second import parse_second

        return parse_second(text, name)
    reading = _Reading(name, text)
    reading.commands()
    return reading.property()


class _Misread(Exception):
    """Text that cannot be read. kind: the error it becomes once line and column are known."""

    def __init__(self, message: str, kind: type[UsageError] = LoadError):
        super().__init__(message)
        self.kind = kind


class _Reading:
    """The state of reading one text: what was declared and asserted."""

    def __init__(self, name: str, text: str):
        self.name = name
        self.text = text
        self.variables: dict[str, int] = {}
        self.places: dict[int, int] = {}
        self.assertions: list[Formula] = []

    def commands(self) -> None:
        """Read all commands: a list is worked out when it closes, so that depth costs nothing."""
        open_lists: list[list[Any]] = []
        items: list[Any] = []
        tokens = TOKEN.findall(self.text)
        for place, token in enumerate(tokens):
            if token == "(":
                open_lists.append(items)
                items = [place]
            elif token == ")":
                if not open_lists:
                    raise self.error(place, "unmatched closing parenthesis")
                outer = open_lists.pop()
                try:
                    value = self.command(items) if not open_lists else _value(items, self.variables)
                except (_Misread, InputError) as error:
                    raise self.error(items[0], str(error), error.kind if isinstance(error, _Misread) else type(error)) from None
                if open_lists:
                    outer.append(value)
                items = outer
            elif token[0] != ";":
                if not open_lists:
                    raise self.error(place, f"{_short(token)} is outside all parentheses")
                items.append(token)
        if open_lists:
            raise self.error((*open_lists, items)[1][0], "unmatched opening parenthesis")
        if not self.variables and not self.assertions:
            raise LoadError(f"{self.name} is empty: no declarations and no assertions")

    def command(self, items: list[Any]) -> None:
        """A list at the top: a declaration or an assertion."""
        place, word, *rest = items if len(items) > 1 else [*items, ""]
        if word == "declare-const":
            self.declare(place, rest)
        elif word == "assert":
            if len(rest) != 1 or not isinstance(rest[0], Atom | Junction):
                raise _Misread("assert needs one comparison, and, or, not")
            self.assertions.append(rest[0])
        else:
            raise _Misread(f"{_short(word)} is not a command: use declare-const or assert")

    def declare(self, place: int, rest: list[Any]) -> None:
        if len(rest) != 2 or rest[1] != "Real" or not isinstance(rest[0], str):
            raise _Misread("write a declaration as (declare-const X_0 Real)")
        read = VARIABLE.fullmatch(rest[0])
        if not read or len(read[2]) > 9:
            raise _Misread(f"{_short(rest[0])} is neither an input X_0, X_1, ... nor an output Y_0, Y_1, ...", InputError)
        variable = int(read[2]) if read[1] == "X" else -1 - int(read[2])
        if variable in self.places:
            raise _Misread(f"{rest[0]} is declared twice")
        self.variables[rest[0]] = variable
        self.places[variable] = place

    def property(self) -> Property:
        inputs, outputs = self.count("X", 0), self.count("Y", -1)
        try:
            return to_property(inputs, outputs, self.assertions)
        except Unanswerable as error:
            if error.variable is None:
                raise InputError(f"{self.name}: {error}") from None
            raise self.error(self.places[error.variable], str(error), InputError) from None
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None

    def count(self, letter: str, first: int) -> int:
        """How many inputs or outputs there are; they have to be numbered from 0 without gaps."""
        numbers = {abs(variable - first) for variable in self.places if (variable < 0) == (first < 0)}
        if not numbers:
            raise LoadError(f"{self.name} declares no {letter}_0: a property needs inputs X_ and outputs Y_")
        if max(numbers) + 1 != len(numbers):
            missing = next(number for number in range(len(numbers) + 1) if number not in numbers)
            raise LoadError(f"{self.name} declares {letter}_{max(numbers)} but not {letter}_{missing}: number them from 0 without gaps")
        return len(numbers)

    def error(self, place: int, message: str, kind: type[UsageError] = LoadError) -> UsageError:
        """An error at the token with this number. Places are looked for only now: keeping them would double the time of reading."""
        start = next(found.start() for number, found in enumerate(TOKEN.finditer(self.text)) if number == place)
        line = self.text.count("\n", 0, start) + 1
        column = start - self.text.rfind("\n", 0, start)
        return (InputError if issubclass(kind, InputError) else LoadError)(f"{self.name}, line {line}, column {column}: {message}")


def _value(items: list[Any], variables: dict[str, int]) -> Any:
    """What a list of an operator and its operands comes to: a linear term or a formula."""
    word = items[1] if len(items) > 1 else ""
    meaning = OPERATORS.get(word) if isinstance(word, str) else None
    if meaning is None:
        known = ", ".join(OPERATORS)
        if word in ("declare-const", "assert"):
            raise _Misread(f"{word} is inside another list: a parenthesis is missing or superfluous before it")
        raise _Misread(f"{_short(word)} is not an operator: use {known}", InputError)
    if len(items) < 3:
        raise _Misread(f"{word} has no operands")
    return meaning(word, items[2:], variables)


def _compared(word: str, operands: list[Any], variables: dict[str, int]) -> Formula:
    if len(operands) != 2:
        raise _Misread(f"{word} takes 2 terms, got {len(operands)}")
    one, two = operands
    if isinstance(one, str) and isinstance(two, str):  # nearly all comparisons of a long file: X_7 with a number
        variable = variables.get(one, -1)
        if variable >= 0 and two not in variables and word in ("<=", ">="):
            limit = _number(two)
            return Atom(((variable, ONE),), limit, INPUT) if word == "<=" else Atom(((variable, TIMES_MINUS_ONE),), -limit, INPUT)
    left, right = _term(one, variables), _term(two, variables)
    if word == "=":
        return junction(True, (at_most(left, right), at_most(right, left)))
    return at_most(left, right) if word in ("<=", "<") else at_most(right, left)


def _joined(word: str, operands: list[Any], variables: dict[str, int]) -> Formula:
    for operand in operands:
        if not isinstance(operand, Atom | Junction):
            raise _Misread(f"{word} takes comparisons, got {_short(operand)}")
    return junction(word == "and", tuple(operands))


def _denied(word: str, operands: list[Any], variables: dict[str, int]) -> Formula:
    if len(operands) != 1:
        raise _Misread(f"'not' takes 1 comparison, got {len(operands)}")
    if not isinstance(operands[0], Atom):
        raise _Misread("'not' is supported only before a single comparison, not before and, or, =: rewrite the formula without it", InputError)
    return opposite(operands[0])


def _sum(word: str, operands: list[Any], variables: dict[str, int]) -> LinearTerm:
    return add([_term(operand, variables) for operand in operands])


def _difference(word: str, operands: list[Any], variables: dict[str, int]) -> LinearTerm:
    terms = [_term(operand, variables) for operand in operands]
    less = [scale(term, TIMES_MINUS_ONE) for term in terms[1:]]
    return add([terms[0], *less]) if less else scale(terms[0], TIMES_MINUS_ONE)


def _product(word: str, operands: list[Any], variables: dict[str, int]) -> LinearTerm:
    return multiply([_term(operand, variables) for operand in operands])


OPERATORS: dict[str, Callable[[str, list[Any], dict[str, int]], Any]] = {
    "<=": _compared,
    ">=": _compared,
    "<": _compared,
    ">": _compared,
    "=": _compared,
    "and": _joined,
    "or": _joined,
    "not": _denied,
    "+": _sum,
    "-": _difference,
    "*": _product,
}


def _term(operand: Any, variables: dict[str, int]) -> LinearTerm:
    """A number, a variable or a term that was read already."""
    if isinstance(operand, LinearTerm):
        return operand
    if not isinstance(operand, str):
        raise _Misread("found a comparison where a number, a variable or a sum was expected")
    if operand in variables:
        return LinearTerm({variables[operand]: ONE}, Fraction(0))
    return LinearTerm({}, _number(operand))


@lru_cache(65536)
def _number(text: str) -> Fraction:
    """A decimal, exactly."""
    read = NUMBER.fullmatch(text)
    if read is None:
        if VARIABLE.fullmatch(text):
            raise _Misread(f"{text} is not declared")
        if text.lstrip("+-").lower() in ("nan", "inf", "infinity", "oo"):
            raise _Misread(f"{text} is not a finite number", InputError)
        raise _Misread(f"{_short(text)} is neither a number nor a declared variable")
    if len(read[1]) > DIGITS or (read[3] and (len(read[3]) > 9 or abs(int(read[3])) > EXPONENT)):
        raise _Misread(f"{_short(text)} is beyond the range of float64", InputError)
    return Fraction(text)


def _short(value: Any) -> str:
    said = value if isinstance(value, str) else "a list"
    return repr(said if len(said) < 40 else said[:37] + "...") if isinstance(value, str) else said
