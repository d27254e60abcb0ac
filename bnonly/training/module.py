"""The LightningModule that trains one group of a random network, and leaves a run folder behind."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

import lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bnonly.config import RunConfig
from bnonly.data.batches import Batches
from bnonly.errors import Interrupted, TrainingFailed
from bnonly.files import write_safetensors
from bnonly.measure.accuracy import Score, autocast, evaluate, score, tally
from bnonly.measure.gamma import betas, gammas, sparsity
from bnonly.runs import RunFolder
from bnonly.training import checkpoint
from bnonly.training.optimizers import optimizer
from bnonly.training.schedule import rate

_STEPS_A_TURN = 16  # steps to one turn of Lightning's loop


class Listener(Protocol):
    """Whoever watches a run: the terminal, wandb, a sweep's table.

    begin: once, with the images of an epoch and where the run stands, the last epoch's record if there is one.
    step: after each step, with the epochs done, the steps of this one and its sums. epoch: after each epoch.
    """

    def begin(self, images: int, record: dict[str, Any] | None, sums: Tensor, net: nn.Module) -> None: ...

    def step(self, epoch: int, step: int, sums: Tensor) -> None: ...

    def epoch(self, record: dict[str, Any], net: nn.Module) -> None: ...


class GroupTraining(lightning.LightningModule):
    """Trains what `freeze_all_but` left trainable in `net`; everything else keeps its random values.

    The position (epoch, step) is the module's own, and the data's order follows from it, so training goes on from a
    checkpoint to the bit. An epoch ends with an evaluation, a line in metrics.jsonl and a new checkpoint, in that
    order. BatchNorm stays in train mode while training, whatever trains.
    """

    def __init__(
        self,
        net: nn.Module,
        config: RunConfig,
        train: Batches,
        test: Batches,
        folder: RunFolder,
        digests: dict[str, str],
        listeners: tuple[Listener, ...] = (),
    ):
        super().__init__()
        self.automatic_optimization = False
        self.net, self.config, self.train_batches, self.test_batches = net, config, train, test
        self.folder, self.digests, self.listeners = folder, digests, listeners
        self.position_epoch, self.position_step = 0, 0  # epochs done, steps done of the next one
        self.sums = torch.zeros(4, dtype=torch.float64, device=train.labels.device)
        self.bad_step = torch.full((), -1, device=train.labels.device)
        self.seconds = 0.0  # of the epoch under way, in earlier sessions too
        self.stop: str | None = None  # set by a signal: why to stop after this step
        self.record: dict[str, Any] | None = None
        self.sessions: list[dict[str, Any]] = []  # what each stretch of training ran on
        self.optimizer = optimizer(net, config.training)

    # What Lightning asks for.

    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        return self.optimizer

    def train_dataloader(self) -> Iterable[Iterator[tuple[Tensor, Tensor]]]:
        return _FromPosition(self)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # made there

    def on_train_epoch_start(self) -> None:
        self._started = time.perf_counter()
        self.net.train()

    def training_step(self, batch: Iterator[tuple[Tensor, Tensor]], batch_idx: int) -> None:
        """A run of steps: what Lightning calls a batch is a few of ours, since each of its turns has a price."""
        for images, labels in batch:
            self.step(images, labels)
            for listener in self.listeners:
                listener.step(self.position_epoch, self.position_step, self.sums)
            if self.stop is not None and self.position_step < self.train_batches.steps:
                self._check_finite()
                self._pause()

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step: images [B, 3, H, W], labels [B]."""
        with autocast(images.device, self.config.training.precision):
            logits = self.net(images)
        logits = logits.float()
        loss = cross_entropy(logits, labels, label_smoothing=self.config.training.label_smoothing)
        if self.optimizer is not None:
            lr = rate(self.config.training, self.position_epoch + self.position_step / self.train_batches.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.zero_grad()
            self.manual_backward(loss)
            self.optimizer.step()
        self.sums += tally(logits, labels, loss)
        self._note_bad_loss(loss.detach())
        self.position_step += 1

    def on_train_epoch_end(self) -> None:
        self._check_finite()
        self.position_epoch, self.position_step = self.position_epoch + 1, 0
        self.close_epoch(score(self.sums))
        self.sums.zero_()
        if self.stop is not None and self.position_epoch < self.config.training.epochs:
            self._pause()

    # An epoch's end.

    def close_epoch(self, train: Score | None) -> None:
        """Evaluate, record, keep gamma, save. Without a training score: the state before the first step."""
        trained = self.seconds + time.perf_counter() - self._started if train else 0.0
        if not all(torch.isfinite(value).all() for value in self._trained()):
            raise TrainingFailed(self._not_a_number(f"epoch {self.position_epoch}, its last step"))
        test = evaluate(self.net, self.test_batches.in_order(), self.config.training.precision)
        self.record = {
            "epoch": self.position_epoch,
            "step": self.position_epoch * self.train_batches.steps,
            "lr": rate(self.config.training, max(0.0, self.position_epoch - 1 / self.train_batches.steps)),
            "train": _plain(train),
            "test": _plain(test),
            "gamma": sparsity(self.net),
            "seconds": round(trained, 3),
            "images_per_second": round(train.images / trained, 1) if train else None,
        }
        if self._keeps_gamma():
            values = {f"{name}.weight": gamma.cpu().numpy() for name, gamma in gammas(self.net).items()}
            values |= {f"{name}.bias": beta.cpu().numpy() for name, beta in betas(self.net).items()}
            write_safetensors(
                self.folder.gamma(self.position_epoch),
                values,
                {"run": self.config.id, "epoch": self.position_epoch},
            )
        self.folder.append_metrics(self.record)
        self.seconds = 0.0
        self.save()
        for listener in self.listeners:
            listener.epoch(self.record, self.net)

    def _trained(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self.net.parameters() if parameter.requires_grad]

    def _keeps_gamma(self) -> bool:
        epochs, every = self.config.training.epochs, self.config.training.keep_gamma_every
        return bool(gammas(self.net)) and (self.position_epoch % every == 0 or self.position_epoch == epochs)

    # Saving and going on.

    def save(self) -> None:
        """Replace last.ckpt by where training stands now."""
        tensors, options = checkpoint.optimizer_state(self.optimizer)
        facts = {
            "run": self.config.id,
            **self.digests,
            "epoch": self.position_epoch,
            "step": self.position_step,
            "seconds": self.seconds,
            "record": self.record,
            "sessions": self.sessions,
            "optimizer": options,
        }
        state = checkpoint.trained_state(self.net) | tensors
        # The sums belong to an unfinished epoch; at an epoch's end they are in its record.
        state["sums"] = self.sums if self.position_step else torch.zeros_like(self.sums)
        checkpoint.write(self.folder.checkpoint, checkpoint.State(state, facts))

    def restore(self, state: checkpoint.State) -> None:
        """Stand where the checkpoint stands."""
        checkpoint.restore_trained(self.net, state.tensors)
        checkpoint.restore_optimizer(self.optimizer, state)
        self.sums.copy_(state.tensors["sums"])
        self.position_epoch, self.position_step = state.facts["epoch"], state.facts["step"]
        self.seconds, self.record = state.facts["seconds"], state.facts["record"]
        self.sessions = state.facts["sessions"]

    def begin(self) -> None:
        """Tell the listeners where the run stands; before the first step, evaluate and record that."""
        for listener in self.listeners:
            listener.begin(self.train_batches.images, self.record, self.sums, self.net)
        if self.record is None:
            self.close_epoch(None)

    def _pause(self) -> None:
        if self.position_step:
            self.seconds += time.perf_counter() - self._started
            self.save()
        raise self.interrupted()

    def interrupted(self) -> Interrupted:
        return Interrupted(
            f"stopped by {self.stop} in epoch {self.position_epoch + 1} of {self.config.training.epochs}, after step "
            f"{self.position_step}, and saved: give the same command again to go on"
        )

    # A loss that is no number.

    def _note_bad_loss(self, loss: Tensor) -> None:
        """Remember the first bad step without waiting for a GPU; on a CPU, where looking costs nothing, stop now."""
        if loss.device.type == "cpu":
            if not torch.isfinite(loss):
                raise TrainingFailed(self._not_a_number(self._place(self.position_step)))
        else:
            first = ~torch.isfinite(loss) & (self.bad_step < 0)
            self.bad_step = torch.where(first, self.position_step, self.bad_step)

    def _check_finite(self) -> None:
        if (step := int(self.bad_step)) >= 0:
            raise TrainingFailed(self._not_a_number(self._place(step)))

    def _place(self, step: int) -> str:
        return f"epoch {self.position_epoch + 1}, step {step + 1} of {self.train_batches.steps}"

    def _not_a_number(self, where: str) -> str:
        kept = (
            "the last good state is kept in last.ckpt" if self.folder.checkpoint.exists() else "nothing was trained"
        )
        return f"the loss is no finite number in {where}; {kept}: lower training.lr or add training.warmup"


class _FromPosition:
    """The training batches from the module's position on, in runs of a few; Lightning iterates over it once an epoch.

    It has no length, since the first epoch after a resume may be a part of one.
    """

    def __init__(self, module: GroupTraining):
        self._module = module

    def __iter__(self) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
        first, batches = self._module.position_step, self._module.train_batches
        steps = batches.epoch(self._module.position_epoch, first)
        for _ in range(first, batches.steps, _STEPS_A_TURN):
            yield islice(steps, _STEPS_A_TURN)


def _plain(values: Score | None) -> dict[str, float | None] | None:
    """For JSON. A loss may overflow to no number while training is sound: a deep network is evaluated with running
    statistics that its first steps have barely moved."""
    if values is None:
        return None
    loss = values.loss if math.isfinite(values.loss) else None
    return {"loss": loss, "top1": values.top1, "top5": values.top5}
