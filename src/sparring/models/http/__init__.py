"""Models behind a web address."""
