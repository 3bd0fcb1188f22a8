"""One file for each kind of data that people have on disk."""
