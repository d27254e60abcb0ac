"""Grids: an experiment's question, and the runs that answer it, expanded to validated configurations. Without torch;
the configuration is imported when a grid is expanded.

An experiment is a module of this folder that holds `EXPERIMENT`; its name is the module's. Layers of a run's fields,
later ones win: the experiment's `fields`, configs/presets/PRESET.yaml, the point of the grid, `--set`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bnonly.config.names import did_you_mean, nearest
from bnonly.errors import BadInput

if TYPE_CHECKING:
    from bnonly.config import RunConfig
    from bnonly.runs import RunFolder

PRESETS = ("smoke", "cpu", "gpu", "paper")
_HERE = Path(__file__).parent
EXPERIMENTS = tuple(
    sorted(path.stem for path in _HERE.glob("*.py") if "\nEXPERIMENT = " in path.read_text(encoding="utf-8"))
)
"""A file of this folder is an experiment if a line of it says so; none is imported to know it."""
_PRESETS = Path(__file__).parents[1] / "configs" / "presets"

Value = TypeVar("Value")


@dataclass(frozen=True)
class By(Generic[Value]):
    """A value that depends on the preset. `gpu` left out is as `paper`."""

    smoke: Value
    cpu: Value
    paper: Value
    gpu: Value | None = None

    def of(self, preset: str) -> Value:
        chosen = getattr(self, preset)
        return self.paper if chosen is None else chosen


Axis = Sequence[Any] | By[Sequence[Any]]


@dataclass(frozen=True)
class Stage:
    """One thing done in a run's folder: a task of `tasks.TASKS` and its options, all plain values."""

    task: str
    options: Mapping[str, Any] = field(default_factory=dict)


FIT = Stage("fit")


@dataclass(frozen=True)
class Trial:
    """A run and what is done with it, stage after stage. `after`: ids of trials that must be done before. `asked`:
    the fields by which the experiment tells it from others, by dotted name."""

    config: RunConfig
    stages: tuple[Stage, ...] = (FIT,)
    after: tuple[str, ...] = ()
    asked: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return self.config.id

    @property
    def folder(self) -> RunFolder:
        from bnonly.runs import RunFolder

        return RunFolder.of(self.config)

    @property
    def plain_stages(self) -> list[dict[str, Any]]:
        """`stages` as plain values, as a job has them."""
        return [{"task": stage.task, "options": dict(stage.options)} for stage in self.stages]


@dataclass(frozen=True)
class Experiment:
    """What is asked, the grid, how it is drawn, and what to expect.

    axes: values by dotted field; a key that names several fields, separated by commas, has tuples as values. The
    grid is the product, `seed` varying slowest, so that a first whole picture comes early.
    more: points that follow from what runs found; called as more(preset, trials) with all so far, until it adds none.
    where: keeps a point of the grid; it is given the point's fields by dotted name.
    stages: what is done with each run. figures: names of analysis.figures.DRAWINGS.
    slots: trials at once, at most; None: as many as fit.
    drawing: for what no figure of runs shows: a name of analysis.neighbours.NEIGHBOURS, which the report shows, too;
    or "module:function", called as function(trials, command), where command is the one that made them, which gives
    files of the experiment's folder by name.
    shares: experiments whose runs serve here too: a point that is theirs under the same preset stays in their folder.
    presets: file of configs/presets that stands in for a preset, where the usual one is for other data.
    located: fields that depend on the preset and the folder of all runs, as the place of data made there.
    decides: fields that --set cannot have, since `more` tells runs apart by them.
    prepare: makes such data, if they are not there; called before the first run.
    """

    question: str
    expect: str
    axes: Mapping[str, Axis]
    figures: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] | By[tuple[Stage, ...]] = (FIT,)
    slots: int | None = None
    drawing: str | None = None
    shares: tuple[str, ...] = ()
    presets: Mapping[str, str] = field(default_factory=dict)
    decides: tuple[str, ...] = ()
    more: Callable[[str, Sequence[Trial]], Iterable[Mapping[str, Any]]] | None = None
    where: Callable[[Mapping[str, Any]], bool] = lambda point: True
    located: Callable[[str, Path], Mapping[str, Any]] = lambda preset, out: {}
    prepare: Callable[[str, Path], None] = lambda preset, out: None

    @property
    def grows(self) -> bool:
        """Whether runs may follow from what others find."""
        return self.more is not None

    def stages_of(self, preset: str) -> tuple[Stage, ...]:
        return self.stages.of(preset) if isinstance(self.stages, By) else self.stages

    def points(self, preset: str) -> Iterator[dict[str, Any]]:
        """The grid's points, fields by dotted name."""
        axes = {key: axis.of(preset) if isinstance(axis, By) else axis for key, axis in self.axes.items()}
        keys = sorted(axes, key=lambda key: key != "seed")
        for values in product(*(axes[key] for key in keys)):
            point: dict[str, Any] = {}
            for key, value in zip(keys, values, strict=True):
                names = [name.strip() for name in key.split(",")]
                point |= dict(zip(names, value if len(names) > 1 else (value,), strict=True))
            if self.where(point):
                yield point


def experiment(name: str) -> Experiment:
    """The experiment of that name, its module imported. Raises BadInput for an unknown one."""
    if name not in EXPERIMENTS:
        near = nearest(name, EXPERIMENTS)
        raise BadInput(f"unknown experiment {name!r}{did_you_mean(near)}: there are {', '.join(EXPERIMENTS)}")
    return import_module(f"experiments.{name}").EXPERIMENT


def trials(name: str, preset: str, out: Path, given: Sequence[str] = ()) -> list[Trial]:
    """The experiment's runs under a preset, each once. given: `field=value` as in --set, for every run.

    Raises BadInput for an unknown experiment, preset or field, and for values that no run can have.
    """
    from bnonly.config.layers import nested, read_yaml, validated

    what, fields = experiment(name), assignments(given)
    if preset not in PRESETS:
        raise BadInput(f"unknown preset {preset!r}: there are {', '.join(PRESETS)}")
    if taken := [name for name in what.decides if name in fields]:
        raise BadInput(f"--set {taken[0]} is not for --set: {name} varies it and tells its runs apart by it")
    below = {
        # Trials share the machine; several threads each, and more of them than cores, would be in each other's way.
        "grids": {"training": {"threads": 1}},
        f"experiment {name}": nested({**what.fields, "experiment": name, "out": out}),
        f"preset {preset}": read_yaml(_PRESETS / f"{what.presets.get(preset, preset)}.yaml"),
        f"data of {name}": nested(what.located(preset, out)),
    }
    homes = {
        trial.id: trial.config.experiment
        for other in what.shares[::-1]
        for trial in trials(other, preset, out, given)
    }
    found: dict[str, Trial] = {}
    asked = frozenset({*what.fields, *fields})
    points, known = what.points(preset), -1
    while len(found) > known:
        known = len(found)
        for point in points:
            config = validated({**below, f"a point of {name}": nested(point), "--set": nested(fields)})
            at_home = config.model_copy(update={"experiment": homes.get(config.id, name)})
            found.setdefault(config.id, Trial(at_home, what.stages_of(preset), asked=asked | point.keys()))
        points = iter(what.more(preset, list(found.values())) if what.more else ())
    return list(found.values())


def assignments(given: Sequence[str]) -> dict[str, Any]:
    """`field=value` texts as fields by dotted name, values read as YAML, sections taken apart. Raises BadInput."""
    from bnonly.config.layers import nested
    from bnonly.config.plain import plain
    from bnonly.config.run import flattened

    fields: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadInput(f"--set {text!r} sets nothing: write it as --set training.epochs=10")
        fields[name.strip()] = plain(value, f"--set {text!r}")
    if odd := {"experiment", "out"} & fields.keys():
        raise BadInput(f"--set {odd.pop()} is not for --set: the experiment's name decides it, and --out")
    return flattened(nested(fields)) if fields else {}
