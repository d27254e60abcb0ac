"""One run, from its configuration to result.json."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from bnonly.config import RunConfig
from bnonly.data.images import Dataset
from bnonly.errors import RunRefused, TrainingFailed
from bnonly.files import write_safetensors
from bnonly.progress import console
from bnonly.randomness.initialise import frozen_digest
from bnonly.runs import RunFolder
from bnonly.trainable import trained_of
from bnonly.training import checkpoint
from bnonly.training.allocator import keep_freed_memory
from bnonly.training.build import run_batches, run_data, run_network
from bnonly.training.environment import environment, pick_device
from bnonly.training.module import GroupTraining, Listener
from bnonly.training.optimizers import optimizer


def fit(config: RunConfig, listeners: tuple[Listener, ...] = ()) -> RunFolder:
    """Train to the end, from where the run's folder stands; a finished run is left as it is.

    Raises BadInput for what cannot be trained, before anything is written; RunRefused where the folder is another
    process's or another run's; TrainingFailed on a loss that is no number; Interrupted on SIGINT or SIGTERM.
    """
    folder = RunFolder.of(config)
    if folder.result_of(config) is not None:
        return folder
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(config.training.threads or before)
    try:
        return _fit(config, folder, listeners)
    finally:
        torch.set_num_threads(before)


def _fit(config: RunConfig, folder: RunFolder, listeners: tuple[Listener, ...]) -> RunFolder:
    device = pick_device(config.training.device)
    data = run_data(config)
    net = run_network(config, len(data.classes))
    optimizer(net, config.training)  # refuses a wrong one before anything is written
    digests = {"frozen_sha256": frozen_digest(net), "data_sha256": data.digest()}
    net.to(device)
    if config.training.memory_format == "channels_last":
        net.to(memory_format=torch.channels_last)
    train, test = run_batches(config, data, device)
    with folder.locked():
        if (result := folder.result()) is not None:
            _refuse_others(folder.path, result, {"data_sha256": digests["data_sha256"]})
            return folder
        folder.start(config)
        module = GroupTraining(net, config, train, test, folder, digests, listeners)
        _go_on(module, folder)
        module.sessions.append(environment(device) | {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        with _stops_on_signals(module), quiet(), _exact_kernels():
            module.begin()
            if left := config.training.epochs - module.position_epoch:
                _train(module, device, left)
        _finish(module, data)
    return folder


def _train(module: GroupTraining, device: torch.device, epochs: int) -> None:
    """Lightning's fit, with its ways of ending turned into ours."""
    try:
        trainer(device, epochs).fit(module)
    except SystemExit:
        # Lightning leaves so on SIGTERM, which may have come too late to matter, and on a second Ctrl-C.
        if module.position_epoch < module.config.training.epochs:
            raise (module.interrupted() if module.stop == "SIGTERM" else KeyboardInterrupt()) from None
    except torch.OutOfMemoryError as error:
        raise TrainingFailed(
            f"the device is out of memory at training.batch_size {module.config.training.batch_size}: halve it"
        ) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingFailed(
            "BatchNorm cannot take statistics of one image of one pixel: choose a training.batch_size that leaves no "
            f"single image for the last step of {module.train_batches.images}"
        ) from error


_MEANS = {
    "run": "another configuration",
    "frozen_sha256": "other frozen weights (a changed generator or plan?)",
    "data_sha256": "other data",
}


def _refuse_others(path: Path, stored: dict[str, Any], expected: dict[str, str]) -> None:
    """Raise RunRefused where what is stored was made with something else."""
    for fact, value in expected.items():
        if stored.get(fact) != value:
            raise RunRefused(
                f"{path} was made with {_MEANS[fact]} ({fact} {stored.get(fact)}, here {value}): "
                "choose another --experiment or --out, or move the folder away"
            )


def _go_on(module: GroupTraining, folder: RunFolder) -> None:
    """Restore the newest whole checkpoint, and cut metrics.jsonl to what belongs to it."""
    state, passed_over = checkpoint.read(folder.checkpoint)
    for fault in passed_over:
        console().print(f"{folder.path}: {fault}, so it is passed over", markup=False)
    if state is None:
        if passed_over:
            folder.set_aside()
        folder.rewrite_metrics([])
        return
    _refuse_others(folder.checkpoint, state.facts, {"run": module.config.id, **module.digests})
    module.restore(state)
    records = [record for record in folder.metrics() if record["epoch"] < module.position_epoch]
    if module.record is not None:
        records.append(module.record)
    folder.rewrite_metrics(records)


def trainer(device: torch.device, epochs: int) -> lightning.Trainer:
    """Lightning's loop and device handling, and nothing that costs time: no logger, bar, summary or checkpoint."""
    return lightning.Trainer(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[LightningEnvironment()],  # a run is one process, also inside a Slurm job of several
    )


def _finish(module: GroupTraining, data: Dataset) -> None:
    config, net, folder, record = module.config, module.net, module.folder, module.record
    assert record is not None
    state = {name: value.cpu().numpy() for name, value in checkpoint.trained_state(net).items()}
    write_safetensors(folder.final, state, {"run": config.id, "epoch": record["epoch"]})
    trained, total = trained_of(net)
    seconds = sum(line["seconds"] for line in folder.metrics())
    folder.finish(
        {
            "id": config.id,
            "experiment": config.experiment,
            "config": config.plain(),
            "evaluated": data.evaluated,
            "classes": list(data.classes),
            "train": record["train"],
            "test": record["test"],
            "gamma": {key: value for key, value in record["gamma"].items() if key != "layers"},
            "trained_parameters": trained,
            "parameters": total,
            "train_seconds": round(seconds, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "storable": config.network.start.storable,
            "environment": module.sessions[-1],
            "sessions": module.sessions,
            **module.digests,
        }
    )


@contextmanager
def _stops_on_signals(module: GroupTraining) -> Iterator[None]:
    """SIGINT and SIGTERM ask the module to stop after the step; a second one ends the process as usual."""
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, frame: Any) -> None:
        module.stop = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        for kind, handler in before.items():
            signal.signal(kind, handler)

    try:
        for kind in (signal.SIGINT, signal.SIGTERM):
            before[kind] = signal.signal(kind, ask)
    except ValueError:  # not the main thread: whoever started the thread handles signals
        yield
        return
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's notices on hardware, loaders and loggers, all of which are as intended here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _exact_kernels() -> Any:
    """On CUDA: float32 is float32 (no tf32), and the same kernels every time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
