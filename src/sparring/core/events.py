"""Lets long computations report progress as events, which the command line displays."""

from collections.abc import Callable
from typing import Any

Listener = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event and its details."""
