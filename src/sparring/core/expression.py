"""Reads the small language of plans: `pgd(steps=50, loss="dlr")`, `linf 8/255`, `targeted next`."""

import ast
import re
from typing import Any, NamedTuple

from sparring.core.errors import PlanError

QUOTED = r"""(?<!\w)(?:"[^"]*"|'[^']*')"""
"""A string in quotes; a quotation mark inside a word is a letter like others."""

WORDS = re.compile(rf"{QUOTED}|\S+")
PIECES = re.compile(rf"{QUOTED}|.", re.DOTALL)


class Expression(NamedTuple):
    """Hold a name with positional and named arguments, all plain values."""

    name: str
    arguments: list[Any]
    settings: dict[str, Any]


def parse(text: str) -> Expression:
    """Read `name`, `name(value, key=value)` or `name value value`.

    Values are numbers, fractions such as 8/255, true and false, lists such as [64, 32], and strings. In the last form, strings need
    quotes only if they contain blanks.

    Raises:
        PlanError: Quotes the text and says what is wrong with it.
    """
    text = text.strip()
    if not re.match(r"[\w-]*\s*\(", text):
        name, *rest = WORDS.findall(text) or [""]
        if not name.replace("-", "_").isidentifier():
            wrong = "it must start with a name" if text else "it is empty"
            raise PlanError(f"cannot read {text!r}: {wrong}; write a name and its settings, such as pgd(steps=50) or linf 8/255")
        return Expression(name, [_word(part) for part in rest], {})
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise PlanError(f"cannot read {text!r}: {error.msg}") from error
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise PlanError(f"cannot read {text!r}: write name(key=value, ...)")
    settings = {}
    for keyword in tree.keywords:
        if keyword.arg is None:
            raise PlanError(f"cannot read {text!r}: write name(key=value, ...)")
        if keyword.arg in settings:
            raise PlanError(f"cannot read {text!r}: {keyword.arg} is given twice")
        settings[keyword.arg] = _value(keyword.value, text)
    return Expression(tree.func.id, [_value(argument, text) for argument in tree.args], settings)


def split_list(text: str, separator: str = ",") -> list[str]:
    """Split at separators that stand outside brackets and quotes.

    >>> split_list("pgd(steps=5, restarts=2), apgd")
    ['pgd(steps=5, restarts=2)', 'apgd']
    """
    parts, depth = [""], 0
    for piece in PIECES.findall(text):
        depth += (piece in "([") - (piece in ")]")
        if piece == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]


def numbers_of(written: Any) -> Any:
    """Return the numbers in a setting: one, a list, or text with commas and fractions.

    What is no number is left as it is.

    >>> numbers_of("0.5, 1/4"), numbers_of(255), numbers_of("some")
    ([0.5, 0.25], [255], ['some'])
    """
    parts = split_list(written.strip().strip("[]")) if isinstance(written, str) else written if isinstance(written, list) else [written]
    return [_word(part) if isinstance(part, str) else part for part in parts]


def unquoted(text: str) -> str:
    """Return a text without the quotes around it, if there are any."""
    return text[1:-1] if len(text) > 1 and re.fullmatch(QUOTED, text) else text


def _word(part: str) -> Any:
    if "#" in part:  # which would begin a comment
        return unquoted(part)
    try:
        return _value(ast.parse(part, mode="eval").body, part)
    except (SyntaxError, PlanError):
        return part


def _value(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            return value
        case ast.Name(id=name):
            return {"true": True, "false": False, "none": None}.get(name, name)
        case ast.List(elts=elements):
            return [_value(element, text) for element in elements]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_value(operand, text), text)
        case ast.BinOp(op=ast.Div(), left=left, right=right):
            below = _number(_value(right, text), text)
            if below == 0:
                raise PlanError(f"cannot read {text!r}: division by zero")
            return _number(_value(left, text), text) / below
    raise PlanError(f"cannot read {text!r}: values are numbers, fractions, true, false, strings and lists of them")


def _number(value: Any, text: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PlanError(f"cannot read {text!r}: {value!r} is not a number")
    return value
