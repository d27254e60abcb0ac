"""What a grid can do with a run: tasks by name. Without torch until one is performed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from bnonly.config import RunConfig
from bnonly.errors import BadInput
from bnonly.examine.ablating import rows
from bnonly.examine.measuring import VERSION
from bnonly.examine.shifting import asked
from bnonly.examine.subject import Subject, of_run
from bnonly.measure.levels import SHARES, THRESHOLDS
from bnonly.measure.points import points
from bnonly.runs import RunFolder
from experiments.yardstick.answers import answered, pieces_answered


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


def _fitted(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    if config.data.source in ("folder", "imagenet"):  # another path may hold other images
        return folder.result_of(config) is not None
    return folder.result() is not None


def _measured(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    facts = folder.measures() or {}
    wanted = {"thresholds": list(THRESHOLDS), "shares": list(SHARES), **options, "version": VERSION, "run": config.id}
    return all(facts.get(name) == value for name, value in wanted.items())


def _ablated(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    facts = folder.ablation() or {}
    return facts.get("run") == config.id and all(point in rows(facts) for point in points(**options))


def _shifted(config: RunConfig, folder: RunFolder, options: Mapping[str, Any]) -> bool:
    facts = folder.shift() or {}
    return facts.get("run") == config.id and facts.get("asked") == asked(config, **options)


TASKS = {
    "fit": Task("experiments.tasks:fit", _fitted),
    "measure": Task("experiments.tasks:measure", _measured),
    "ablate": Task("experiments.tasks:ablate", _ablated),
    "shift": Task("experiments.tasks:shift", _shifted),
    "speed": Task("experiments.yardstick.task:measure", answered),
    "pieces": Task("experiments.yardstick.task:pieces", pieces_answered),
}


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


def measure(config: RunConfig, folder: RunFolder, **options: Any) -> None:
    """`bnonly measure` of the finished run; options are those of `bnonly.examine.measuring.measure`."""
    from bnonly.examine.measuring import measure

    measure(_subject(config, folder), quiet=True, **options)


def ablate(config: RunConfig, folder: RunFolder, **options: Any) -> None:
    """`bnonly ablate` of the finished run; options are those of `bnonly.measure.points.points`."""
    from bnonly.examine.ablating import ablate

    ablate(_subject(config, folder), quiet=True, **options)


def shift(config: RunConfig, folder: RunFolder, **options: Any) -> None:
    """`bnonly shift` of the finished run; options are those of `bnonly.examine.shifting.asked`."""
    from bnonly.examine.shifting import shift

    shift(_subject(config, folder), quiet=True, **options)


def _subject(config: RunConfig, folder: RunFolder) -> Subject:
    """The finished run, its data where this grid says they lie, its device the grid's."""
    path = config.data.path
    where = {"data.path": str(path)} if path is not None and config.data.source != "digits" else {}
    return of_run(folder, where | {"training.device": config.training.device})
