"""wandb as a mirror of the run folder. Whatever goes wrong with it is said once and never stops a run."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from torch import Tensor, nn

from bnonly.config import RunConfig
from bnonly.measure.gamma import betas, gammas
from bnonly.progress import console
from bnonly.runs import RunFolder


@contextmanager
def mirror(config: RunConfig) -> Iterator[tuple[Wandb, ...]]:
    """The listeners that `tracking` asks for: none when it is off."""
    if config.tracking == "off":
        yield ()
        return
    tracked = Wandb(config)
    try:
        yield (tracked,)
    finally:
        tracked.close()


class Wandb:
    """A listener that logs every epoch's numbers and histograms; begins at the first epoch it hears of."""

    def __init__(self, config: RunConfig):
        self._config, self._folder, self._run, self._gone = config, RunFolder.of(config), None, False

    def begin(self, images: int, record: dict[str, Any] | None, sums: Tensor, net: nn.Module) -> None:
        # A run killed between its checkpoint and this mirror left an epoch out; said twice does no harm.
        if record is not None and not sums.any():
            self.epoch(record, net)

    def step(self, epoch: int, step: int, sums: Tensor) -> None:
        pass

    def epoch(self, record: dict[str, Any], net: nn.Module) -> None:
        if self._gone:
            return
        try:
            if self._run is None:
                self._run = self._begin()
            self._run.log(_flat(record) | _histograms(net), step=record["epoch"])
        except Exception as error:  # wandb may raise anything; the run folder has the numbers
            self._give_up(error)

    def close(self) -> None:
        if self._run is not None and not self._gone:
            try:
                self._run.finish()
            except Exception as error:
                self._give_up(error)

    def _begin(self) -> Any:
        import wandb

        config = self._config
        online = config.tracking != "offline" and _logged_in()  # without a key wandb would wait for one to be typed
        if config.tracking == "online" and not online:
            console().print(
                "wandb: nobody is logged in, so this run is mirrored offline (`wandb login`)", markup=False
            )
        return wandb.init(
            project=config.project,
            group=config.experiment,
            id=config.id,
            name=f"{config.network.name} {config.group} seed {config.seed} {config.id}",
            config=config.plain(),
            dir=self._folder.path,
            mode="online" if online else "offline",
            resume="allow",
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        )

    def _give_up(self, error: Exception) -> None:
        self._gone = True
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        console().print(f"wandb is left out of this run from here on: {reason}", markup=False)


def _logged_in() -> bool:
    """Whether a key is at hand where wandb keeps it. Not asked of wandb itself, which might prompt for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        path = os.environ.get("NETRC") or Path.home() / ".netrc"
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError, RuntimeError):
        return False


def _flat(record: dict[str, Any]) -> dict[str, float]:
    """The record as wandb shows it best: `test/top1`, `gamma below 0.01/all`, `gamma below 0.01/LAYER`."""
    flat = {"lr": record["lr"], "images_per_second": record["images_per_second"] or 0.0}
    for split in ("train", "test"):
        scores = record[split] or {}
        flat |= {f"{split}/{name}": value for name, value in scores.items() if value is not None}
    if gamma := record["gamma"]:
        for place, threshold in enumerate(gamma["thresholds"]):
            flat[f"gamma below {threshold:g}/all"] = gamma["below"][place]
            flat |= {f"gamma below {threshold:g}/{name}": values[place] for name, values in gamma["layers"].items()}
    return flat


def _histograms(net: nn.Module) -> dict[str, Any]:
    """gamma and beta over all layers and by layer, 64 bins."""
    import wandb

    histograms = {}
    for name, by_layer in (("gamma", gammas(net)), ("beta", betas(net))):
        layers = {layer: values.float().cpu().numpy() for layer, values in by_layer.items()}
        if layers:
            layers = {"all": np.concatenate(list(layers.values())), **layers}
        histograms |= {
            f"{name}/{layer}": wandb.Histogram(values.tolist(), num_bins=64) for layer, values in layers.items()
        }
    return histograms
