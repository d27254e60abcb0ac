"""The verbs that look at a trained network: measure, ablate, shift."""
