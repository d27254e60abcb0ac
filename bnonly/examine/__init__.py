"""Finished runs and full seed+BN files, measured, clamped, shown shifted images; no torch until there is work."""

from bnonly.examine.ablating import ablate
from bnonly.examine.measuring import measure
from bnonly.examine.shifting import shift
from bnonly.examine.subject import Subject, of_file, of_run

__all__ = ["Subject", "ablate", "measure", "of_file", "of_run", "shift"]
