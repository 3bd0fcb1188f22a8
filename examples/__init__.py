"""Single-file examples; each runs as `python examples/NAME.py` and some are factories for `spar run`."""
