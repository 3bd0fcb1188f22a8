"""Expressions about sizes in exported programs, which torch compiles as Python: only arithmetic passes."""

import ast
import re

FUNCTIONS = re.compile(
    r"Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|CeilToInt|FloorToInt|IntTrueDiv|FloatTrueDiv|TruncToInt|TruncToFloat|RoundToInt|ToFloat|Identity"
    r"|ModularIndexing|Where|Eq|Ne|Le|Lt|Ge|Gt|Equality|Unequality|LessThan|StrictLessThan|GreaterThan|StrictGreaterThan|And|Or|Not"
)
NUMBERS = frozenset({"Integer", "Float", "Rational"})
POWERS = frozenset({"Pow", "PowByNatural", "FloatPow"})
NAMES = re.compile(r"[a-z]{1,3}\d{1,5}|oo|int_oo|true|false|L")
MEASURES = frozenset({"size", "stride", "storage_offset"})
PARTS = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Load)
LONGEST, MOST_POWERS, HIGHEST = 2000, 3, 9
"""Characters of an expression, powers in it, and the largest exponent: more could make numbers that fill the memory."""


def is_arithmetic(text: str) -> bool:
    """Return whether an expression is about sizes and nothing else.

    >>> is_arithmetic("Mul(Integer(3), Symbol('s77', positive=True, integer=True))"), is_arithmetic("L['x'].size()[0] <= 16"), is_arithmetic("exec('1')")
    (True, True, False)
    """
    if len(text) > LONGEST:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    nodes = list(ast.walk(tree))
    powers = [node for node in nodes if _is_power(node)]
    return len(powers) <= MOST_POWERS and all(map(_low, powers)) and all(map(_plain, nodes))


def _is_power(node: ast.AST) -> bool:
    return (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)) or (isinstance(node, ast.Call) and getattr(node.func, "id", "") in POWERS)


def _low(node: ast.AST) -> bool:
    """Whether the exponent of a power is a small number."""
    exponent = node.right if isinstance(node, ast.BinOp) else node.args[1] if isinstance(node, ast.Call) and len(node.args) == 2 else None
    if isinstance(exponent, ast.Call) and getattr(exponent.func, "id", "") in NUMBERS and exponent.args:
        exponent = exponent.args[0]
    if isinstance(exponent, ast.UnaryOp):
        exponent = exponent.operand
    return isinstance(exponent, ast.Constant) and isinstance(exponent.value, int | float) and exponent.value <= HIGHEST


def _plain(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))], keywords=words):
            return NAMES.fullmatch(name) is not None and all(isinstance(word.value, ast.Constant) and isinstance(word.value.value, bool) for word in words)
        case ast.Call(func=ast.Name(id=name), keywords=words):
            if name in NUMBERS:
                return all(isinstance(one, ast.Constant | ast.UnaryOp) for one in node.args)
            return (FUNCTIONS.fullmatch(name) is not None or name in POWERS) and not words
        case ast.Call(func=ast.Attribute(attr=name), args=[], keywords=[]):
            return name in MEASURES
        case ast.Attribute(attr=name):
            return name in MEASURES
        case ast.Name(id=name):
            return any(known.fullmatch(name) for known in (FUNCTIONS, NAMES)) or name in NUMBERS or name in POWERS or name == "Symbol"
        case ast.Constant(value=bool() | int() | float() as value):
            return abs(value) < 2**64
        case ast.Constant(value=str(name)):  # of a symbol or an argument, or a decimal
            return re.fullmatch(r"[\w.+-]{1,100}", name) is not None
        case ast.Subscript() | ast.keyword():
            return True
    return isinstance(node, PARTS) and not isinstance(node, ast.LShift | ast.RShift | ast.MatMult)
