"""Deployment: dead channels removed exactly, BatchNorm folded in, networks written for other runtimes."""
