"""Sets that come with scikit-learn: nothing is downloaded."""
