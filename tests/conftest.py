"""What all tests share: one thread, so that times and roundings do not depend on the machine's load."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_start():
    """Tests may draw from torch's global generator; each begins from the same state."""
    torch.manual_seed(0)
