"""What a grid can do with a run: tasks by name. Without torch until one is performed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from bnonly.config import RunConfig
from bnonly.errors import BadInput
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


def task(name: str) -> Task:
    """The task of that name. "module:name" is an experiment's own: its module imports no torch and tells by
    answered(config, folder, options); without one it is never done. Raises BadInput.
    """
    if name in TASKS:
        return TASKS[name]
    if ":" not in name:
        raise BadInput(f"task {name!r} is unknown: there are {', '.join(TASKS)}, and module:function for one's own")
    module = import_module(name.partition(":")[0])
    return Task(name, getattr(module, "answered", lambda config, folder, options: False))


def unanswered(config: RunConfig, stages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of a trial's stages, {"task", "options"} each, those that its folder does not answer yet."""
    folder = RunFolder.of(config)
    return [stage for stage in stages if not task(stage["task"]).answered(config, folder, stage["options"])]


def fit(config: RunConfig, folder: RunFolder) -> None:
    """Train to the end, wandb mirroring if the configuration says so; nothing is printed."""
    from bnonly.training.fit import fit
    from bnonly.training.tracking import mirror

    with mirror(config) as listeners:
        fit(config, listeners)
