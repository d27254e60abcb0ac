"""grid.PRESET.json beside an experiment's runs: what the driver last took for the grid, for whoever reads folders."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly.files import read_object, write_object
from experiments.grid import PRESETS, Experiment, Trial, assignments, experiment, trials

_NAMED = 5  # of orphans
_MARKS = {"data.path": "DATA", "data.mirrors": "MIRRORS"}  # what stands for paths and addresses


@dataclass(frozen=True)
class Grid:
    """An experiment under a preset, expanded. given: `field=value` of --set. out: the folder of all runs."""

    name: str
    preset: str
    out: Path
    given: tuple[str, ...]
    what: Experiment
    trials: Sequence[Trial]

    @classmethod
    def of(cls, name: str, preset: str, out: Path, given: Sequence[str] = ()) -> Grid:
        """Raises BadInput as `trials` does."""
        return cls(name, preset, out, tuple(given), experiment(name), trials(name, preset, out, given))

    def grown(self) -> Grid:
        """The same, with the trials that follow from what its runs have found by now."""
        return Grid.of(self.name, self.preset, self.out, self.given)

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def file(self) -> Path:
        return _file(self.folder, self.preset)

    @property
    def command(self) -> str:
        """What makes these runs, without this machine's paths."""
        fields = assignments(self.given)
        shown = fields | {name: mark for name, mark in _MARKS.items() if name in fields}
        return " ".join(
            [
                f"bnonly experiment run {self.name} --preset {self.preset}",
                *(f"--set {shlex.quote(f'{name}={value}')}" for name, value in shown.items()),
            ]
        )

    def write(self) -> None:
        """Raises BadInput where it cannot be written."""
        facts = {
            "version": 1,
            "experiment": self.name,
            "preset": self.preset,
            "question": self.what.question,
            "expect": self.what.expect,
            "figures": list(self.what.figures),
            "set": list(self.given),
            "trials": [
                {
                    "id": trial.id,
                    "network": trial.config.network.name,
                    "group": trial.config.group,
                    "seed": trial.config.seed,
                    "stages": [stage.task for stage in trial.stages],
                    "config": trial.config.plain(),
                }
                for trial in self.trials
            ],
        }
        write_object(self.file, facts)

    def orphans(self) -> list[str]:
        """Ids of runs in the experiment's folder that belong neither to this grid nor to another preset's file."""
        known = {trial.id for trial in self.trials}
        for preset in PRESETS:
            if preset != self.preset:
                known |= {trial["id"] for trial in read(self.folder, preset).get("trials", ())}
        try:
            folders = sorted(path for path in self.folder.iterdir() if (path / "config.yaml").is_file())
        except OSError:
            return []
        return [path.name for path in folders if path.name not in known]

    def orphans_named(self) -> str:
        """A sentence on them; empty where there are none."""
        if not (orphans := self.orphans()):
            return ""
        some = ", ".join(orphans[:_NAMED]) + (" ..." if len(orphans) > _NAMED else "")
        what = "run is" if len(orphans) == 1 else "runs are"
        return f"{len(orphans)} {what} in {self.folder} that no grid there asks for any more, and kept: {some}"


def read(folder: Path, preset: str) -> dict[str, Any]:
    """What grid.PRESET.json says; empty where there is none that can be read."""
    facts = read_object(_file(folder, preset)) or {}
    try:
        sound = all(isinstance(trial["id"], str) for trial in facts.get("trials", ()))
    except (KeyError, TypeError):
        return {}
    return facts if sound else {}


def last_preset(folder: Path) -> str | None:
    """The preset that was run last in an experiment's folder, None where there was none."""
    written = {preset: _file(folder, preset) for preset in PRESETS}
    there = {preset: path.stat().st_mtime for preset, path in written.items() if path.is_file()}
    return max(there, key=lambda preset: there[preset]) if there else None


def _file(folder: Path, preset: str) -> Path:
    return folder / f"grid.{preset}.json"
