"""What `tests.warm`'s server imports before it forks."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import bnonly.cli
import bnonly.training.command
import bnonly.training.fit
import bnonly.training.terminal
import bnonly.training.tracking  # noqa: F401
