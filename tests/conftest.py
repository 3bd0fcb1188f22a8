"""What all tests share: one thread, so that times and roundings do not depend on the machine's load; which cases of a test are fast."""

import zlib
from collections import defaultdict

import pytest
import torch

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark all but a few cases of tests with `@pytest.mark.few` as slow.

    `few(3)` keeps three cases of the test fast, `few(2, by="name")` two for every value of that parameter. Which ones depends on the names
    of test and case, so that the fast cases of several laws about the same things differ.
    """
    cases = defaultdict(list)
    for item in items:
        if found := item.get_closest_marker("few"):
            value = item.callspec.params[found.kwargs["by"]] if "by" in found.kwargs else None
            cases[item.path, item.originalname, found.args[0], str(value)].append(item)
    for (_, _, kept, _), group in cases.items():
        for item in sorted(group, key=lambda item: zlib.crc32(item.name.encode()))[kept:]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _same_start():
    """Tests may draw from torch's global generator; each begins from the same state."""
    torch.manual_seed(0)
