"""Self-checks of an evaluation, and adaptive attacks to try if one fails."""
