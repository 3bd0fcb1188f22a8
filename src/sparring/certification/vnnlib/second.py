"""VNN-LIB 2.0: read by the package `vnnlib` and converted to exact formulas."""

import json
import math
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from sparring.certification.vnnlib.formula import Formula, LinearTerm, add, at_most, junction, multiply, scale, to_property
from sparring.certification.vnnlib.property import Property
from sparring.core.errors import InputError, LoadError, NeedsError

DEPTH = 500
"""Deepest nesting handed to the package, whose parser calls itself."""


def parse_second(text: str, name: str) -> Property:
    """Parse a property of version 2.0.

    The property of one network with one input and one output, numbered in the order of their memory (last index fastest).

    Decimals are taken from their text and comparisons read as for version 1.0. Raises NeedsError without the package, LoadError with its message for
    what it cannot read, InputError for several networks, inputs or outputs, hidden values, != and what version 1.0 refuses too.
    """
    try:
        import vnnlib
    except ImportError as error:
        raise NeedsError(f"{name} is written in VNN-LIB 2.0, which needs the package vnnlib: pip install vnnlib") from error
    if _depth(text) > DEPTH:
        raise LoadError(f"{name} is nested {_depth(text)} levels deep, the limit for VNN-LIB 2.0 is {DEPTH}: flatten it")
    try:
        query = vnnlib.parse_query_string(text)
    except vnnlib.VNNLibException as error:
        raise LoadError(f"{name} cannot be read: {_first(str(error))}") from None
    if len(query.networks) != 1:
        raise InputError(f"{name} declares {len(query.networks)} networks: one is supported")
    (network,) = query.networks
    for kind, things in (("inputs", network.inputs), ("outputs", network.outputs)):
        if len(things) != 1:
            raise InputError(f"{name} declares {len(things)} {kind}: one is supported")
    if network.hidden:
        raise InputError(f"{name} declares the hidden value {network.hidden[0].name}: only inputs and outputs are supported")
    inputs, outputs = math.prod(network.inputs[0].shape), math.prod(network.outputs[0].shape)
    try:
        return to_property(inputs, outputs, [_formula(one.expr, network.inputs[0].name) for one in query.assertions])
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _formula(tree: Any, given: str) -> Any:
    """A tree of the package, whose input is called `given`, as a formula."""
    kind = type(tree).__name__
    if kind == "Var":
        place = 0
        for side, index in zip(tree.shape, tree.indices, strict=True):
            place = place * side + index
        return LinearTerm({place if tree.name == given else -1 - place: Fraction(1)}, Fraction(0))
    if kind in ("Float", "Int"):
        return LinearTerm({}, Fraction(tree.lexeme))
    return _combined(kind, [_formula(child, given) for child in tree.children()])


def _combined(kind: str, parts: list[Any]) -> Formula | LinearTerm:
    match kind:
        case "And" | "Or":
            return junction(kind == "And", tuple(parts))
        case "LessEqual" | "LessThan":
            return at_most(*parts)
        case "GreaterEqual" | "GreaterThan":
            return at_most(*reversed(parts))
        case "Equal":
            return junction(True, (at_most(*parts), at_most(*reversed(parts))))
        case "Plus":
            return add(parts)
        case "Minus":
            return add([parts[0], *_negative(parts[1:])])
        case "Negate":
            return next(iter(_negative(parts)))
        case "Multiply":
            return multiply(parts)
    raise InputError(f"{kind} is not supported: use linear terms and comparisons other than !=")


def _negative(terms: Iterable[LinearTerm]) -> Iterable[LinearTerm]:
    return [scale(term, Fraction(-1)) for term in terms]


def _depth(text: str) -> int:
    deepest = depth = 0
    for found in re.finditer(r";[^\n]*|[()]", text):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _first(message: str) -> str:
    """The first complaint of the package, which comes as one line or as JSON."""
    try:
        (first, *_) = json.loads(message)["errors"]
        return f"line {first['line']}: {first['message']}. {first['hint']}"
    except (ValueError, KeyError, TypeError):
        return message.strip().splitlines()[0] if message.strip() else "no reason given"
