"""The LightningModule that trains one group of a random network, and leaves a run folder behind."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bnonly.config import RunConfig
from bnonly.data.batches import Loader
from bnonly.errors import Interrupted, TrainingFailed
from bnonly.files import write_safetensors
from bnonly.measure.accuracy import autocast, evaluate, score, tally
from bnonly.measure.gamma import betas, gammas, sparsity
from bnonly.runs import RunFolder
from bnonly.training import checkpoint, frozen, graphs
from bnonly.training.agreement import Agreement
from bnonly.training.averaging import Average
from bnonly.training.chance import Chance
from bnonly.training.compression import Compression
from bnonly.training.listener import Listener
from bnonly.training.optimizers import optimizer
from bnonly.training.schedule import rate
from bnonly.training.team import ALONE, Team
from bnonly.training.turns import Turns

_SLOW = 1.0  # seconds of a step from which on buffers are copied before the next, so that it can be given up
_ELSEWHERE = "a signal to another process"


class GroupTraining(lightning.LightningModule):
    """Trains what `freeze_all_but` left trainable in `net`; everything else keeps its random values.

    The position (epoch, step) is the module's own, and the data's order follows from it, so training goes on from a
    checkpoint to the bit. An epoch ends with an evaluation, a line in metrics.jsonl and a new checkpoint, in that
    order. BatchNorm is in train mode while training, whatever trains, but where its statistics are frozen. Of several
    processes (`team`) each takes its share of every batch, and the first one writes.

    still_ours: called before anything is written; raises where the run's folder may no longer be written to.
    """

    def __init__(
        self,
        net: nn.Module,
        config: RunConfig,
        train: Loader,
        test: Loader,
        folder: RunFolder,
        digests: dict[str, str],
        listeners: tuple[Listener, ...] = (),
        team: Team = ALONE,
        still_ours: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.net, self.config, self.train_batches, self.test_batches = net, config, train, test
        self.folder, self.digests, self.listeners = folder, digests, listeners
        self.team, self.still_ours = team, still_ours
        self.position_epoch, self.position_step = 0, 0  # epochs done, steps done of the next one
        self.sums = torch.zeros(4, dtype=torch.float64, device=train.device)  # of all processes
        self.bad_step = torch.full((), -1, device=train.device)
        self.seconds = 0.0  # of the epoch under way, in earlier sessions too
        self.stop: str | None = None  # set by a signal: why to stop after this step
        self.record: dict[str, Any] | None = None
        self.sessions: list[dict[str, Any]] = []  # what each stretch of training ran on
        self.optimizer = optimizer(net, config.training)
        self.average = Average(net, config.training)
        self.compression = Compression(net, config.compression, config.training)
        self.chance = Chance(net, config.seed, train.device, team.rank)
        self.compute = graphs.engaged(self.forward_and_back, net, config, train.device)
        self.settled = threading.RLock()  # held while the state passes from one step to the next
        self.batches: Iterator[tuple[Tensor, Tensor]] = iter(())  # of the epoch under way
        self.last_shape: torch.Size | None = None  # of a step's images
        self.before_training: Callable[[], None] = lambda: None  # called when Lightning has set itself up
        self.shown = ""  # path of what batches go through: the network, or its output layer alone
        self._since: float | None = None  # when training began or went on in this epoch
        self._saved = time.monotonic()
        self._under_way = False  # between a step's begin and its end
        self._before: dict[str, Tensor] | None = None  # buffers before the step under way
        self._step_seconds = math.inf
        self._agreement = Agreement(team)

    # What Lightning asks for.

    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        return self.optimizer

    def train_dataloader(self) -> Iterable[Iterator[tuple[Tensor, Tensor]]]:
        return Turns(self)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # made there

    def on_train_start(self) -> None:
        self.before_training()

    def on_train_epoch_start(self) -> None:
        self._since = time.perf_counter()
        frozen.train_mode(self.net, self.config.training.bn_statistics)

    def training_step(self, batch: Iterator[tuple[Tensor, Tensor]], batch_idx: int) -> None:
        """A run of steps: what Lightning calls a batch is a few of ours, since each of its turns has a price."""
        for images, labels in batch:
            self.step(images, labels)
            for listener in self.listeners:
                listener.step(self.position_epoch, self.position_step, self.sums)
            if self.position_step < self.train_batches.steps:
                if self._told_to_stop():
                    self._check_finite()
                    self._pause()
                if self.team.first and time.monotonic() - self._saved > 60 * self.config.training.save_every:
                    self._check_finite()
                    self.save()

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step: this process's images [B, 3, H, W], labels [B]."""
        began, self.last_shape = time.perf_counter(), images.shape
        with self.settled:
            self._under_way = True
            # Of an unfinished step only BatchNorm's running statistics have changed.
            self._before = {n: b.clone() for n, b in self.net.named_buffers()} if self._step_seconds > _SLOW else None
        if self.optimizer is not None:
            self.optimizer.zero_grad()
        self.compression.before_step()
        with self.chance.of(self.position_epoch, self.position_step):
            found = self.compute(images, labels)
        news = self._shared(*found)
        with self.settled:
            self.compression.before_update()
            if self.optimizer is not None:
                lr = rate(self.config.training, self.position_epoch + self.position_step / self.train_batches.steps)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                self.optimizer.step()
            self.sums += news
            self.position_step += 1
            done = self.position_epoch + self.position_step / self.train_batches.steps
            self.compression.after_step(done, self.position_step)
            self.average.add(done)
            self._under_way = False
        self._step_seconds = time.perf_counter() - began

    def forward_and_back(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of this process's images for the parameters; returns their tally and their mean loss."""
        with autocast(images.device, self.config.training.precision):
            logits = self.net.get_submodule(self.shown)(images).float()
        loss = cross_entropy(logits, labels, label_smoothing=self.config.training.label_smoothing)
        if self.optimizer is not None:
            self.manual_backward(self._of_whole_batch(loss, len(labels)))
        return tally(logits, labels, loss), loss.detach()

    def on_train_epoch_end(self) -> None:
        self._told_to_stop()  # hears of a bad last loss
        self._check_finite()
        self.seconds, self._since = self._elapsed(), None
        self.close_epoch()
        if self._any_told_to_stop() and self.position_epoch < self.config.training.epochs:
            self._pause()

    # Several processes.

    def _of_whole_batch(self, loss: Tensor, count: int) -> Tensor:
        """The loss whose gradient, averaged over the processes as DDP does, is that of the whole batch's mean."""
        if self.team.count == 1:
            return loss
        batch = self.config.training.batch_size
        whole = min(batch, self.train_batches.images - self.position_step * batch)
        return loss * (count * self.team.count / whole)

    def _shared(self, sums: Tensor, loss: Tensor) -> Tensor:
        """A step's sums over all processes; a stop or a bad loss of any of them goes with it."""
        if self.team.count > 1:
            return self._agreement.share(sums, self.stop is not None, loss)
        self._note_bad_loss(loss)
        return sums

    def _told_to_stop(self) -> bool:
        """Whether to stop after this step: the same answer in all processes."""
        if self.team.count == 1:
            return self.stop is not None
        last = self.position_step == self.train_batches.steps
        stop, bad = self._agreement.known(last)
        if bad:
            raise TrainingFailed(self._not_a_number(self._place(self.position_step - (1 if last else 2))))
        if stop:
            self.stop = self.stop or _ELSEWHERE
        return stop

    def _any_told_to_stop(self) -> bool:
        asked = torch.tensor(float(self.stop is not None), device=self.sums.device)
        if self.team.sum(asked):
            self.stop = self.stop or _ELSEWHERE
        return self.stop is not None

    # An epoch's end.

    def close_epoch(self) -> None:
        """Evaluate, record, keep gamma, save; at the very start, the state before the first step."""
        steps, start = self.train_batches.steps, self.record is None and self.position_step == 0
        epoch = 0 if start else self.position_epoch + 1
        self._check_values(f"epoch {epoch}, its last step")
        if epoch == self.config.training.epochs and self._settle():
            frozen.renew(self)
        self.team.take_from_first(self.net.buffers())
        shown, precision = self.net.get_submodule(self.shown), self.config.training.precision
        with self.compression.shown():
            test = evaluate(shown, self.test_batches.in_order(), precision, self.team.sum)
        train = None if start else score(self.sums)
        record = {
            "epoch": epoch,
            "step": epoch * steps,
            "lr": rate(self.config.training, max(0.0, epoch - 1 / steps)),
            "train": train.plain() if train else None,
            "test": test.plain(),
            "gamma": sparsity(self.net),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(train.images / self.seconds, 1) if train and self.seconds else None,
        }
        with self.settled:
            self.position_epoch, self.position_step, self.record, self.seconds = epoch, 0, record, 0.0
            self.sums.zero_()
            if self.team.first:
                self._write(record)
        for listener in self.listeners:
            listener.epoch(record, self.net)

    def _settle(self) -> bool:
        """Have the values that are stored in the end in the place of the last step's; whether these are others."""
        with self.settled:
            if self.compression.rounds:  # twice would not be the same: until the epoch is closed this stays saved
                self.save()
            return self.average.settle() | self.compression.settle()

    def _write(self, record: dict[str, Any]) -> None:
        self.still_ours()
        epochs, every = self.config.training.epochs, self.config.training.keep_gamma_every
        if gammas(self.net) and (self.position_epoch % every == 0 or self.position_epoch == epochs):
            values = {f"{name}.weight": gamma.cpu().numpy() for name, gamma in gammas(self.net).items()}
            values |= {f"{name}.bias": beta.cpu().numpy() for name, beta in betas(self.net).items()}
            facts = {"run": self.config.id, "epoch": self.position_epoch}
            write_safetensors(self.folder.gamma(self.position_epoch), values, facts)
        self.folder.append_metrics(record)
        self.save()

    def _check_values(self, where: str) -> None:
        """Raise TrainingFailed where a value that trains is no finite number: such a state is never saved."""
        if not all(torch.isfinite(p.detach()).all() for p in self.net.parameters() if p.requires_grad):
            raise TrainingFailed(self._not_a_number(where))

    # Saving and going on.

    def save(self, buffers: dict[str, Tensor] | None = None) -> None:
        """Replace last.ckpt by where training stands now; buffers: to be stored instead of the network's."""
        if not self.team.first:
            return
        with self.settled:  # also against a rescue, which would write the same file
            self.still_ours()
            self._check_values(self._place(max(0, self.position_step - 1)))
            tensors, options = checkpoint.optimizer_state(self.optimizer)
            facts = {
                "run": self.config.id,
                **self.digests,
                "epoch": self.position_epoch,
                "step": self.position_step,
                "seconds": self._elapsed(),
                "record": self.record,
                "sessions": self.sessions,
                "optimizer": options,
            }
            sums, steps = self.average.state()
            facts |= steps
            state = checkpoint.trained_state(self.net) | self.compression.state()
            state |= tensors | sums | {"sums": self.sums}
            state |= {f"buffer/{name}": value for name, value in (buffers or {}).items() if f"buffer/{name}" in state}
            checkpoint.write(self.folder.checkpoint, checkpoint.State(state, facts))
            self._saved = time.monotonic()

    def rescue(self) -> bool:
        """Save from another thread while a step or an evaluation goes on; whether that could be done."""
        if not self.settled.acquire(timeout=2.0):
            return False
        # The lock is kept: nothing may change any more.
        if self._under_way and self._before is None:
            return False
        if not self.compression.settled:
            self.save(self._before if self._under_way else None)
        return True

    def _elapsed(self) -> float:
        return self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def restore(self, state: checkpoint.State) -> None:
        """Stand where the checkpoint stands."""
        checkpoint.restore_trained(self.net, state.tensors)
        checkpoint.restore_optimizer(self.optimizer, state)
        self.average.restore(state.tensors, state.facts)
        self.sums.copy_(state.tensors["sums"])
        self.position_epoch, self.position_step = state.facts["epoch"], state.facts["step"]
        self.seconds, self.record = state.facts["seconds"], state.facts["record"]
        self.sessions = state.facts["sessions"]

    def begin(self) -> None:
        """Tell the listeners where the run stands; evaluate what was trained and not yet evaluated."""
        frozen.settle(self)
        for listener in self.listeners:
            listener.begin(self.train_batches.images, self.record, self.sums, self.net)
        if (self.record is None and not self.position_step) or self.position_step == self.train_batches.steps:
            self.close_epoch()

    def _pause(self) -> None:
        if self.position_step:
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
        self.bad_step.masked_fill_(~torch.isfinite(loss) & (self.bad_step < 0), self.position_step)
        if loss.device.type == "cpu":
            self._check_finite()

    def _check_finite(self) -> None:
        if (step := int(self.bad_step)) >= 0:
            raise TrainingFailed(self._not_a_number(self._place(step)))

    def _place(self, step: int) -> str:
        return f"epoch {self.position_epoch + 1}, step {step + 1} of {self.train_batches.steps}"

    def _not_a_number(self, where: str) -> str:
        return f"the loss is no finite number in {where}; {self.kept()}: lower training.lr or add training.warmup"

    def kept(self) -> str:
        """What an error leaves, for its sentence."""
        return (
            "the last good state is kept in last.ckpt" if self.folder.checkpoint.exists() else "nothing was trained"
        )
