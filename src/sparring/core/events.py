"""Lets long work report its progress as events, which the command line draws."""

from collections.abc import Callable
from typing import Any

Listener = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event and its details."""
