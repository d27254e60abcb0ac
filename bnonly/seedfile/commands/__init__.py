"""The verbs of a seed+BN file: export, inspect, verify, inflate."""
