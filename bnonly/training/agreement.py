"""What the processes of a run must all know at the same step: to stop, or that a loss is no number."""

from __future__ import annotations

import torch
from torch import Tensor

from bnonly.training.team import Team


class Agreement:
    """Each step's flags, added up with the step's sums in one message.

    They are read one step late, so that a GPU need not be waited for; being the same in all processes, they stop all
    of them after the same step.
    """

    def __init__(self, team: Team):
        self._team = team
        self._newest: Tensor | None = None
        self._before: Tensor | None = None

    def share(self, sums: Tensor, stop: bool, loss: Tensor) -> Tensor:
        """sums: float64 [n], of this process's images; they come back summed over all. loss: a scalar, its own."""
        flags = torch.stack([torch.full_like(loss, stop), ~torch.isfinite(loss)]).double()
        self._before, self._newest = self._newest, self._team.sum(torch.cat([sums, flags]))
        return self._newest[:-2]

    def known(self, last: bool) -> tuple[bool, bool]:
        """Whether some process wants to stop, and whether one has met a bad loss; last: wait for the newest step."""
        news = self._newest if last else self._before
        if news is None:
            return False, False
        stop, bad = news[-2:].tolist()
        return bool(stop), bool(bad)
