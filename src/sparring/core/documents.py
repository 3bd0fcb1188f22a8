"""Parses JSON and YAML from strangers: limits on depth, numbers and repetition, and a sentence for whatever is wrong."""

import json
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from sparring.core.errors import LoadError
from sparring.core.files import decoded

DEPTH = 100
"""Levels that a YAML document may be nested; a plan has five."""

NODES = 30_000
"""Values that a YAML document may come to, repeated ones counted each time; rules for thousands of columns come to that."""

TOO_MANY = f"more than {NODES:,} values"

BYTES = 4 << 20
"""Bytes that a YAML document may have; rules for thousands of columns have a tenth."""

WHOLE = 2**63
"""Beyond it a whole number is none that a plan, a record or a model holds."""


def parse_json(text: str | bytes, where: str) -> Any:
    """Return what a JSON document holds.

    Raises:
        LoadError: For text that is no JSON, is nested too deep, or holds whole numbers beyond 64 bits.
    """
    written = text if isinstance(text, str) else decoded(text, where)
    try:
        return json.loads(written, parse_int=_whole)
    except RecursionError as error:
        raise LoadError(f"{where} is JSON nested too deep: write it again") from error
    except ValueError as error:
        raise LoadError(f"{where} is not valid JSON ({error}): write it again") from error


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -WHOLE <= int(digits) < 2 * WHOLE:
        raise ValueError(f"the whole number {digits[:20]}... is beyond 64 bits")
    return int(digits)


def parse_yaml(text: str | bytes, where: str) -> Any:
    """Return what a YAML document holds; only plain values, no objects.

    Raises:
        LoadError: For text that is no YAML or too long, a key that is given twice, values that are not what their tag says, and for nesting, numbers
            and repetition beyond the limits.
    """
    if len(text) > BYTES:
        raise LoadError(f"{where} has {len(text):,} bytes, the limit is {BYTES:,}: check that it is the right file")
    written = text if isinstance(text, str) else decoded(text, where)
    try:
        return yaml.load(written, _Loader)
    except RecursionError as error:
        raise LoadError(f"{where} is nested more than {DEPTH} levels deep: write it flatter") from error
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # the last five for values that belie their tag
        raise LoadError(f"{where} is not valid YAML: {' '.join(str(error).split())[:300]}: correct it") from error


class _Loader(yaml.SafeLoader):
    """YAML loader that refuses repeated keys, deep nesting and values that grow by repetition."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self.level = 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.level += 1
        if self.level > DEPTH:
            raise ComposerError(None, None, f"nested more than {DEPTH} levels deep", self.peek_event().start_mark)
        if len(self.sizes) > NODES:
            raise ComposerError(None, None, TOO_MANY, self.peek_event().start_mark)
        repeated = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self.level -= 1
        if node is None:
            return None
        if not repeated:
            self.sizes[id(node)] = self._size(node)
        elif id(node) not in self.sizes:
            raise ComposerError(None, None, "a value that contains itself", node.start_mark)
        return node

    def _size(self, node: yaml.Node) -> int:
        """How many values it comes to; its parts were composed before it."""
        if isinstance(node, yaml.ScalarNode):
            return 1
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        total = 1 + sum(self.sizes[id(part)] for part in parts)
        if total > NODES:
            raise ComposerError(None, None, TOO_MANY, node.start_mark)
        return total

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for written, _ in node.value:
            if written.tag == "tag:yaml.org,2002:merge":  # << takes over keys of another mapping, which may be given again
                continue
            key = self.construct_object(written, deep=True)
            if not isinstance(key, Hashable):
                raise ConstructorError(None, None, "a key that is a list or a mapping", written.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"the key {key!r} is given twice", written.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(node.value) > 40 or not -WHOLE <= (number := loader.construct_yaml_int(node)) < WHOLE:
        raise ConstructorError(None, None, f"the whole number {node.value[:20]}... is beyond 64 bits", node.start_mark)
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
