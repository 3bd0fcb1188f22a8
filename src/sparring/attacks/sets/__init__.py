"""One file per named set of attacks."""
