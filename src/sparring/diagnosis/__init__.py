"""Self-checks of an evaluation: what would fool it, and what an adaptive adversary would try."""
