"""What a grid can do with a run: tasks by name. Without torch until one is performed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from bnonly.config import RunConfig
from bnonly.runs import RunFolder


@dataclass(frozen=True)
class Task:
    """`function`, "module:name", is called as run(config, folder, **options); `answered` tells from the folder alone
    whether that was done, with these options.
    """

    function: str
    answered: Callable[[RunConfig, RunFolder, Mapping[str, Any]], bool]

    def run(self, config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> None:
        module, _, name = self.function.partition(":")
        getattr(import_module(module), name)(config, folder, **options)


TASKS = {
    "fit": Task("experiments.tasks:fit", lambda config, folder, options: folder.result_of(config) is not None),
}
"""measure and ablate join when their room has them."""


def fit(config: RunConfig, folder: RunFolder) -> None:
    """Train to the end, wandb mirroring if the configuration says so; nothing is printed."""
    from bnonly.training.fit import fit
    from bnonly.training.tracking import mirror

    with mirror(config) as listeners:
        fit(config, listeners)
