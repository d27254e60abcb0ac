"""A run's folder: layout, lock, tolerant reading. Without torch, shared by training, experiments and analysis.

out/experiment/id/
  config.yaml     the whole configuration, resolved
  metrics.jsonl   one line an epoch, appended and flushed
  gamma/          gamma and beta by layer, at the epochs kept
  last.ckpt       where training stands; last.ckpt.previous the one before
  final.safetensors, result.json     written at the end, result.json last: a run without it is not done
  measures.json, measures.safetensors, ablation.json, shift.json     what was measured on it afterwards
  speed.json                         what the yardstick measured (experiments/speed.py), in a folder without the rest
  start.safetensors                  of a run that goes on from another one: what it begins with
  failure.json, log.txt              of a grid: why a trial failed, and what its process said
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly.config import RunConfig
from bnonly.config.plain import plain
from bnonly.errors import BadInput, RunRefused
from bnonly.files import read_object, write_atomically, write_object
from bnonly.locking import FolderLock, in_use
from bnonly.progress import console

_TRIAL = "trial-"  # the lock of a grid's trial


@dataclass(frozen=True)
class RunFolder:
    """One run on the disk. Reading does not mind a run that is still going on or was cut off."""

    path: Path

    @classmethod
    def of(cls, config: RunConfig) -> RunFolder:
        return cls(config.out / config.experiment / config.id)

    @property
    def checkpoint(self) -> Path:
        return self.path / "last.ckpt"

    @property
    def final(self) -> Path:
        return self.path / "final.safetensors"

    @property
    def start_values(self) -> Path:
        """What a run that goes on from another one begins with."""
        return self.path / "start.safetensors"

    def gamma(self, epoch: int) -> Path:
        return self.path / "gamma" / f"epoch-{epoch:03d}.safetensors"

    def own_files(self) -> set[Path]:
        """What the run itself reads and writes, gamma's files aside, resolved."""
        names = (
            "config.yaml",
            "metrics.jsonl",
            "last.ckpt",
            "last.ckpt.previous",
            "start.safetensors",
            "final.safetensors",
            "result.json",
            "measures.json",
            "measures.safetensors",
            "ablation.json",
            "shift.json",
            "speed.json",
            "failure.json",
            "log.txt",
        )
        return {(self.path / name).resolve() for name in names}

    def result(self) -> dict[str, Any] | None:
        """What the run ended with, or None while it has not."""
        return read_object(self.path / "result.json")

    def result_of(self, config: RunConfig) -> dict[str, Any] | None:
        """`result`, if it was made from the data path that `config` names; another path may hold other images."""
        result = self.result()
        try:
            same = result is not None and result["config"]["data"]["path"] == config.plain()["data"]["path"]
        except (KeyError, TypeError):  # JSON, and no result
            return None
        return result if same else None

    def finish(self, result: dict[str, Any]) -> None:
        write_object(self.path / "result.json", result)

    def finished(self) -> tuple[RunConfig, dict[str, Any]]:
        """`config` and `result`. Raises BadInput where this is no finished run."""
        config, result = self.config(), self.result()
        if config is None or result is None:
            what = f"{self.path} is no finished run"
            if config is None:
                raise BadInput(f"{what}: name a run's folder, as `bnonly fit` prints it")
            raise BadInput(f"{what}: finish it with `bnonly fit -c {self.path}/config.yaml`")
        return config, result

    def measures(self) -> dict[str, Any] | None:
        """What `bnonly measure` found, or None where there is nothing that can be read."""
        return read_object(self.path / "measures.json")

    def ablation(self) -> dict[str, Any] | None:
        """What `bnonly ablate` found, or None where there is nothing that can be read."""
        return read_object(self.path / "ablation.json")

    def shift(self) -> dict[str, Any] | None:
        """What `bnonly shift` found, or None where there is nothing that can be read."""
        return read_object(self.path / "shift.json")

    def failure(self) -> dict[str, Any] | None:
        """Why the run's last attempt in a grid failed: reason, kind, attempts, last, log; None where it did not."""
        return read_object(self.path / "failure.json")

    @property
    def given_up(self) -> bool:
        """Whether a grid tried it, failed, and will not try again."""
        return bool((self.failure() or {}).get("final"))

    @property
    def log(self) -> Path:
        """What the processes of a grid's attempts said, one after another."""
        return self.path / "log.txt"

    def in_use(self) -> bool:
        """Whether a living process is at this run, asked without disturbing it."""
        return in_use(self.path) or in_use(self.path, _TRIAL)

    def config(self) -> RunConfig | None:
        """The configuration the run was started with, or None where there is none that can be read."""
        try:
            return RunConfig.model_validate(plain(self._read("config.yaml") or b"", "config.yaml"))
        except ValueError:
            return None

    def metrics(self) -> list[dict[str, Any]]:
        """The epochs recorded so far, in order; a torn last line is passed over."""
        records = []
        for line in (self._read("metrics.jsonl") or b"").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def _read(self, name: str) -> bytes | None:
        """A file's content, None where there is none; raises BadInput where there is one that cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise BadInput(f"{self.path / name} cannot be read ({error.strerror})") from error

    def append_metrics(self, record: dict[str, Any]) -> None:
        """One more line, on the disk when this returns."""
        try:
            with (self.path / "metrics.jsonl").open("ab") as file:
                file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BadInput(f"{self.path / 'metrics.jsonl'} cannot be written ({error.strerror})") from error

    def rewrite_metrics(self, records: list[dict[str, Any]]) -> None:
        lines = (json.dumps(record, separators=(",", ":")) + "\n" for record in records)
        write_atomically(self.path / "metrics.jsonl", "".join(lines).encode())

    def set_aside(self) -> None:
        """Keep checkpoints that cannot be read, and the metrics that belong to them, under another name."""
        for path in (self.checkpoint, self.path / "last.ckpt.previous", self.path / "metrics.jsonl"):
            if path.exists():
                path.replace(path.with_name(f"{path.name}.damaged"))

    def start(self, config: RunConfig) -> None:
        """Write config.yaml, or check that the one there is of the same run. Raises RunRefused."""
        path = self.path / "config.yaml"
        if not path.exists():
            write_atomically(path, config.to_yaml().encode())
            return
        if (change := self._changed(config)) is not None:
            raise RunRefused(
                f"{path} is not the configuration this folder was made with ({change}): restore it, or move the "
                "folder away; another configuration has a folder of its own"
            )

    def put_back(self, config: RunConfig) -> None:
        """Write config.yaml as the run has it, where it was edited meanwhile; the edit is kept under another name."""
        path = self.path / "config.yaml"
        if (change := self._changed(config)) is not None:
            if path.exists():
                path.replace(path.with_name("config.yaml.edited"))
            write_atomically(path, config.to_yaml().encode())
            say = f"{path} was edited while the run went on ({change}): it is as trained again, your edit beside it"
            console().print(say, markup=False)

    def _changed(self, config: RunConfig) -> str | None:
        """How config.yaml differs from the run's in what decides numbers; None if it does not."""
        there = self.config()
        if there is None:
            return "it is missing or cannot be read"
        mine, theirs = config.deciding(), there.deciding()
        odd = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        mine, theirs = config.flat(), there.flat()
        values = (f"{name} {theirs.get(name)} there, {mine.get(name)} here" for name in odd[:3])
        return ", ".join(values) if odd else None

    def trial_locked(self) -> AbstractContextManager[FolderLock]:
        """`locked`, for a grid's trial as a whole: training, which locks the run too, and what comes after it."""
        return self.locked(_TRIAL)

    @contextmanager
    def locked(self, what: str = "") -> Iterator[FolderLock]:
        """Keep every other process off this run. Raises InUse, naming who has it; freed when a process dies."""
        lock = FolderLock(self.path, lambda said: console().print(said, markup=False), what)
        lock.acquire()
        try:
            yield lock
        finally:
            lock.release()
