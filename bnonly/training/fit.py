"""One run, from its configuration to result.json."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from torch import nn

from bnonly.config import RunConfig
from bnonly.data.images import Dataset
from bnonly.errors import RunRefused
from bnonly.files import write_safetensors
from bnonly.randomness.initialise import frozen_digest
from bnonly.runs import RunFolder
from bnonly.trainable import ScalarTrained
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
    if folder.result() is not None:
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
    with folder.locked():
        if folder.result() is not None:
            return folder
        folder.start(config)
        module = GroupTraining(net, config, *run_batches(config, data, device), folder, digests, listeners)
        _go_on(module, folder)
        started = time.time()
        with _stops_on_signals(module), quiet(), _exact_kernels():
            if module.record is None:
                module.close_epoch(None)
            left = config.training.epochs - module.position_epoch
            if left:
                trainer(device, left).fit(module)
        _finish(module, data, started, device)
    return folder


def _go_on(module: GroupTraining, folder: RunFolder) -> None:
    """Restore the newest whole checkpoint, and cut metrics.jsonl to what belongs to it."""
    state, _ = checkpoint.read(folder.checkpoint)
    if state is None:
        folder.rewrite_metrics([])
        return
    for fact, expected, what in (
        ("run", module.config.id, "another configuration"),
        (
            "frozen_sha256",
            module.digests["frozen_sha256"],
            "other frozen weights (a changed generator or plan?)",
        ),
        ("data_sha256", module.digests["data_sha256"], "other data"),
    ):
        if state.facts.get(fact) != expected:
            raise RunRefused(
                f"{folder.checkpoint} was made with {what} ({fact} {state.facts.get(fact)}, here {expected}): "
                "choose another --experiment or --out, or move the folder away"
            )
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
    )


def _finish(module: GroupTraining, data: Dataset, started: float, device: torch.device) -> None:
    config, net, folder, record = module.config, module.net, module.folder, module.record
    assert record is not None
    state = {name: value.cpu().numpy() for name, value in checkpoint.trained_state(net).items()}
    write_safetensors(folder.final, state, {"run": config.id, "epoch": record["epoch"]})
    trained = [p for p in net.parameters() if p.requires_grad]
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
            "trained_parameters": sum(p.numel() for p in trained),
            "parameters": sum(p.numel() for p in net.parameters()) - _repeated(net),
            "train_seconds": round(seconds, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "session_seconds": round(time.time() - started, 1),
            "environment": environment(device),
            **module.digests,
        }
    )


def _repeated(net: nn.Module) -> int:
    """Scalars that random:K holds a second time."""
    return sum(layer.random_values.numel() for layer in net.modules() if isinstance(layer, ScalarTrained))


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
