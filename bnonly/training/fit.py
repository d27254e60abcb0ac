"""One run, from its configuration to result.json."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from bnonly.config import RunConfig
from bnonly.data.images import Dataset
from bnonly.errors import BadInput, BnonlyError, Interrupted, RunRefused, TrainingFailed
from bnonly.files import now, write_safetensors
from bnonly.progress import console
from bnonly.randomness.initialise import frozen_digest
from bnonly.runs import RunFolder
from bnonly.trainable import trained_of
from bnonly.training import begun, checkpoint
from bnonly.training.allocator import keep_freed_memory
from bnonly.training.build import engaged, image_shape, placed, run_batches, run_data, run_network
from bnonly.training.environment import (
    engine_facts,
    environment,
    exact_kernels,
    pick_device,
    threads,
    warn_of_emulation,
)
from bnonly.training.faults import as_sentence
from bnonly.training.fitting import fitting_batch
from bnonly.training.listener import Listener
from bnonly.training.module import GroupTraining
from bnonly.training.optimizers import optimizer
from bnonly.training.rescue import Signals, leave
from bnonly.training.synced_norm import synchronise
from bnonly.training.team import ALONE, Environment, Team


def fit(config: RunConfig, listeners: tuple[Listener, ...] = (), team: Team | None = None) -> RunFolder:
    """Train to the end, from where the run's folder stands; a finished run is left as it is.

    team: this process's place among those of the run, worked out unless given. Raises BadInput for what cannot be
    trained, before anything is written; RunRefused where the folder is another process's or another run's;
    TrainingFailed on a loss that is no number, for want of memory, or where a device or another process fails;
    Interrupted on SIGINT or SIGTERM.
    """
    folder, team = RunFolder.of(config), team or Team.of(config)
    if folder.result_of(config) is not None:
        return folder
    keep_freed_memory()
    with threads(config.training.threads or max(1, torch.get_num_threads() // team.local_count)):
        return _fit(config, folder, listeners, team)


def _fit(config: RunConfig, folder: RunFolder, listeners: tuple[Listener, ...], team: Team) -> RunFolder:
    device = pick_device(config.training.device, team.local_rank, team.local_count)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    data = run_data(config)
    net = run_network(config, len(data.classes))
    stepper = optimizer(net, config.training)  # refuses a wrong one before anything is written
    if stepper is None and team.count > 1:
        raise BadInput(f"group {config.group} trains nothing that devices could share: set training.devices to 1")
    digests = {"frozen_sha256": frozen_digest(net), "data_sha256": data.digest()}
    placed(net, config, device)
    if config.training.sync_bn and team.count > 1:
        net = synchronise(net, device)
    engaged(net, config)
    train, test = run_batches(config, data, device, team.share)
    with folder.locked() if team.first else nullcontext() as lock:
        if (result := folder.result()) is not None:
            _refuse_others(folder.path, result, {"data_sha256": digests["data_sha256"]})
            return folder
        still_ours = lock.check if lock else lambda: None
        module = GroupTraining(net, config, train, test, folder, digests, listeners, team, still_ours)
        if team.first:
            warn_of_emulation(config, device)
            folder.start(config)
            begun.keep(net, config, folder)
        _go_on(module, folder)
        facts = environment(device) | ({"devices": team.count} if team.count > 1 else {})
        facts |= engine_facts(config, device)
        module.sessions.append(facts | {"began": now()})
        signals = Signals(
            lambda name: setattr(module, "stop", name), partial(_rescue, module) if team.first else None
        )
        try:
            with signals.handled(), quiet(), exact_kernels(), team.assembled(config, device):
                module.before_training = signals.take
                _check_together(module)
                _train(module, device, len(data.classes))
        except Interrupted:
            if team.first:
                folder.put_back(config)
            raise
        if team.first:
            folder.put_back(config)
            _finish(module, data)
    return folder


def _check_together(module: GroupTraining) -> None:
    """Raise TrainingFailed, in all processes, unless all stand at the same place with the same network and data."""
    digests = [int(digest[:15], 16) for digest in module.digests.values()]
    if not module.team.agrees([module.position_epoch, module.position_step, *digests], module.sums.device):
        raise TrainingFailed(
            f"the processes of this run do not see the same: process {module.team.rank + 1} of {module.team.count} "
            f"stands at epoch {module.position_epoch}, step {module.position_step}, with data "
            f"{module.digests['data_sha256'][:8]} (--out and the data must be on a disk that all of them share)"
        )


def _rescue(module: GroupTraining) -> None:
    """In another thread, with the step under way too slow to wait for."""
    module.stop = "SIGTERM"
    try:
        saved = module.rescue()
        module.folder.put_back(module.config)
    except BnonlyError as error:
        leave(str(error), error.status)
    except Exception as error:
        leave(f"stopped by SIGTERM and not saved ({error}); {module.kept()}", Interrupted.status)
    else:
        sentence = str(module.interrupted())
        if not saved:
            sentence = (
                f"stopped by SIGTERM in the middle of a step; {module.kept()}: give the same command again to go on"
            )
        leave(sentence, Interrupted.status)


def _train(module: GroupTraining, device: torch.device, classes: int) -> None:
    """Evaluate and train what is left, with the ways in which that may end turned into ours."""
    training = module.config.training
    try:
        module.begin()
        if left := training.epochs - module.position_epoch:
            trainer(device, left, module.team).fit(module)
    except SystemExit:
        # So Lightning leaves on a second Ctrl-C.
        if module.position_epoch < training.epochs:
            raise KeyboardInterrupt from None
    except Exception as error:

        def advice() -> str:
            if module.last_shape is None or module.shown or module.team.count > 1:
                return "halve it"
            return fitting_batch(module.config, classes, list(module.last_shape), device)

        sentence = as_sentence(error, training.batch_size, advice, module.kept())
        if sentence is None:
            raise
        raise sentence from error
    finally:
        if isinstance(module.batches, Generator):
            module.batches.close()  # ends the processes that decode images


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
    if not module.team.first:
        if state is not None:
            module.restore(state)
        return
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


def trainer(device: torch.device, epochs: int, team: Team = ALONE) -> lightning.Trainer:
    """Lightning's loop and device handling, and nothing that costs time: no logger, bar, summary or checkpoint."""
    alone = team.count == 1
    return lightning.Trainer(
        accelerator=device.type,
        devices=([device.index or 0] if device.type == "cuda" else 1) if alone else team.local_count,
        num_nodes=team.count // team.local_count,
        # Running statistics are each process's own until the first one's are taken for an evaluation.
        strategy="auto" if alone else DDPStrategy(broadcast_buffers=False),
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[LightningEnvironment() if alone else Environment(team)],  # never Slurm's, which would take over
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
            "image_shape": image_shape(config, data),
            "train": record["train"],
            "test": record["test"],
            "gamma": {key: value for key, value in record["gamma"].items() if key != "layers"},
            **begun.facts(net, config),
            "trained_parameters": trained,
            "parameters": total,
            "train_seconds": round(seconds, 1),
            "finished": now(),
            "storable": config.network.start.storable,
            "environment": module.sessions[-1],
            "sessions": module.sessions,
            **module.digests,
        },
    )


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
