"""One file per change of the gradient."""
