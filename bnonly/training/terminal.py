"""A run as seen in the terminal: a bar, or one line an epoch where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from torch import Tensor, nn

from bnonly.config import RunConfig
from bnonly.measure.accuracy import score
from bnonly.progress import console
from bnonly.trainable import trained_of

_MANY_CLASSES = ("cifar100", "imagenet")  # whose top-5 accuracy is quoted too
_REFRESH = 0.25  # seconds between two looks at the sums, each of which waits for the device


class Terminal:
    """A listener that draws. Use as a context manager, so that the bar is taken away whatever happens.

    lines: whether there is a line about what trains, and one for each epoch where there is no terminal.
    """

    def __init__(self, config: RunConfig, *, lines: bool = True):
        self._config, self._lines = config, lines
        self._console = console()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._looked = time.monotonic()
        self._rate = 0.0  # images a second
        self._seen = 0  # images, at the last look
        self._last = ""
        self._per_epoch = 1  # images, until begin says

    def __enter__(self) -> Terminal:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
            self._bar = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("starting", total=self._config.training.epochs, facts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, images: int, record: dict[str, Any] | None, sums: Tensor, net: nn.Module) -> None:
        self._per_epoch, self._seen, self._looked = images, score(sums).images, time.monotonic()
        if self._lines:
            trained, total = trained_of(net)
            self._console.print(f"{trained:,} of {total:,} parameters train ({trained / total:.2%})", markup=False)
        if record is not None:
            self._last = self._short(record["test"])
            self._console.print(f"going on after epoch {record['epoch']}", markup=False)

    def step(self, epoch: int, step: int, sums: Tensor) -> None:
        if self._bar is None or self._task is None:
            return
        now = time.monotonic()
        if (elapsed := now - self._looked) < _REFRESH:
            return
        so_far = score(sums)
        if so_far.images > self._seen:
            fresh = (so_far.images - self._seen) / elapsed
            self._rate = 0.9 * self._rate + 0.1 * fresh if self._rate else fresh
        self._looked, self._seen = now, so_far.images
        done = epoch + so_far.images / self._per_epoch
        self._bar.update(
            self._task,
            completed=done,
            description=f"epoch {epoch + 1}/{self._config.training.epochs} step {step}",
            facts=f"train {so_far.top1:6.2%}  {self._last}  {self._rate:,.0f} images/s  {self._left(done)}",
        )

    def epoch(self, record: dict[str, Any], net: nn.Module) -> None:
        epoch, epochs, test = record["epoch"], self._config.training.epochs, record["test"]
        self._last = self._short(test)
        self._seen, self._looked = 0, time.monotonic()
        if record["images_per_second"]:
            self._rate = record["images_per_second"]
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=epoch)
        elif self._lines:
            self._console.print(self._line(record, epoch, epochs), markup=False)

    def _line(self, record: dict[str, Any], epoch: int, epochs: int) -> str:
        train, test, gamma = record["train"], record["test"], record["gamma"]
        parts = [f"epoch {epoch}/{epochs}"]
        if train:
            parts.append(f"train loss {_loss(train)} {self._hits(train)}")
        parts.append(f"test loss {_loss(test)} {self._hits(test)}")
        if gamma:
            parts.append(f"|gamma|<{gamma['thresholds'][1]:g} {gamma['below'][1]:.1%}")
        if train:
            parts.append(f"{record['images_per_second']:,.0f} images/s")
            parts.append(self._left(epoch))
        return "  ".join(parts)

    def _short(self, test: dict[str, Any]) -> str:
        """For the bar, which shares a line with much else."""
        both = f"/{test['top5']:.2%}" if self._config.data.source in _MANY_CLASSES else ""
        return f"test {test['top1']:.2%}{both}"

    def _hits(self, part: dict[str, Any]) -> str:
        top1 = f"top-1 {part['top1']:.2%}"
        return f"{top1} top-5 {part['top5']:.2%}" if self._config.data.source in _MANY_CLASSES else top1

    def _left(self, done: float) -> str:
        if not self._rate:
            return ""
        seconds = round((self._config.training.epochs - done) * self._per_epoch / self._rate)
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"


def _loss(part: dict[str, Any]) -> str:
    return "overflow" if part["loss"] is None else f"{part['loss']:.4f}"
