"""Where measures draw their lines unless told otherwise. Without torch."""

THRESHOLDS = (0.001, 0.01, 0.05, 0.1)
"""On |gamma|."""
SHARES = (0.9, 0.99)
"""Of the images, for ReLUs that are mostly off."""
