"""What happens to machines, while a run goes on: one sentence each, and the run goes on from what it had saved."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from bnonly.errors import BadInput, Interrupted, RunRefused, TrainingFailed
from bnonly.runs import RunFolder
from bnonly.training import checkpoint
from bnonly.training.fit import fit
from bnonly.training.fitting import fitting
from bnonly.training.module import GroupTraining
from tests.training import small
from tests.training.test_resume import assert_equal, interrupted


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fit(small.config(tmp_path_factory.mktemp("whole")))


class After:
    """A listener to whom something happens after a step of an epoch."""

    def __init__(self, epoch, step, happens):
        self.place, self.happens = (epoch, step), happens

    def begin(self, images, record, sums, net):
        pass

    def step(self, epoch, step, sums):
        if (epoch, step) == self.place:
            self.happens()

    def epoch(self, record, net):
        pass


def test_a_full_disk(disk, whole):
    run = small.config(disk / "runs")

    def fill():
        with contextlib.suppress(OSError), (disk / "filler").open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()

    with pytest.raises(BadInput, match=r"cannot be written \(No space left on device\)"):
        fit(run, (After(1, 3, fill),))
    (disk / "filler").unlink()
    assert_equal(fit(run), whole)


def test_a_disk_full_from_the_start(disk):
    (disk / "filler").write_bytes(bytes((4 << 20) - 8192))
    with pytest.raises(BadInput, match="No space left on device"):
        fit(small.config(disk / "runs"))


def test_a_file_that_may_not_grow(tmp_path, whole):
    """The kernel's own refusal where no disk can be mounted; a line of metrics.jsonl is torn by it."""
    run = small.config(tmp_path)
    limit = (
        "import resource; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "append = RunFolder.append_metrics\n"
        "def limited(self, record):\n"
        "    size = (self.path / 'metrics.jsonl').stat().st_size\n"
        "    if record['epoch'] == 2: resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))\n"
        "    append(self, record)\n"
        "RunFolder.append_metrics = limited\n"
    )
    process = small.run_process(run, limit)
    _, errors = process.communicate(timeout=120)
    assert "metrics.jsonl cannot be written (File too large)" in errors
    assert_equal(fit(run), whole)


def test_a_disk_that_becomes_read_only(disk, whole):
    run = small.config(disk / "runs")

    def protect():  # by a second, read-only view over the first
        subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)

    with pytest.raises(BadInput, match=r"cannot be written \(Read-only file system\)"):
        fit(run, (After(1, 3, protect),))
    subprocess.run(["umount", str(disk)], check=True)
    assert_equal(fit(run), whole)


def test_a_folder_one_may_not_write_into(tmp_path):
    place = tmp_path / "theirs"
    place.mkdir(mode=0o555)
    run, root = small.config(place / "runs"), os.geteuid() == 0
    with contextlib.ExitStack() as stack:
        if root:  # who may write everywhere; nobody may not
            os.seteuid(65534)
            stack.callback(os.seteuid, 0)
        with pytest.raises(BadInput, match=r"cannot be written \(Permission denied\): choose another --out"):
            fit(run)


@pytest.mark.parametrize("step", [3, 6])
def test_a_folder_that_is_moved_away(tmp_path, whole, step):
    run = small.config(tmp_path)
    folder = RunFolder.of(run).path
    with pytest.raises(BadInput, match="has vanished under the run"):
        fit(run, (After(1, step, lambda: folder.rename(tmp_path / "moved")),))
    assert not folder.exists()
    (tmp_path / "moved").rename(folder)
    assert_equal(fit(run), whole)


def test_a_folder_that_is_deleted(tmp_path, whole):
    run = small.config(tmp_path)
    with pytest.raises(BadInput, match="has vanished under the run"):
        fit(run, (After(1, 3, lambda: shutil.rmtree(RunFolder.of(run).path)),))
    assert_equal(fit(run), whole)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("NCCL error in: ProcessGroupNCCL.cpp, unhandled system error"),
    ],
    ids=["launch", "cublas", "cudnn", "nccl"],
)
def test_a_device_that_fails(tmp_path, whole, monkeypatch, error):
    """Stands for a GPU that is taken away: the errors are torch's own, raised where it raises them."""
    run, step = small.config(tmp_path), GroupTraining.manual_backward

    def failing(self, loss):
        if self.position_epoch == 1 and self.position_step == 2:
            raise error
        step(self, loss)

    monkeypatch.setattr(GroupTraining, "manual_backward", failing)
    with pytest.raises(
        TrainingFailed, match=r"^the device failed .*kept in last.ckpt: give the same command"
    ) as caught:
        fit(run)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert_equal(fit(run), whole)


@pytest.mark.slow
def test_too_little_memory_names_a_batch_that_fits(tmp_path):
    """A real lack, by a limit on the process's memory; the batch it names then trains under the same limit."""

    def run(batch_size):
        training = {"epochs": 1, "batch_size": batch_size}
        wide = small.config(tmp_path, network={"name": "cifar_wrn14_8"}, group="all", training=training)
        (tmp_path / "config.yaml").write_text(wide.to_yaml())
        # 4.75 GB, of which the libraries map 3.5.
        command = f"ulimit -v 4750000; exec {sys.executable} -m bnonly fit -c {tmp_path}/config.yaml"
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)

    said = run(1437).stderr
    assert "bnonly: training.batch_size 1437 needs more memory than there is: " in said
    done = run(int(said.split("there is: ")[-1].split(" fits, as was tried")[0]))
    assert done.returncode == 0, done.stderr


OUT_OF_MEMORY = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "python"])
def test_every_lack_of_memory_is_known(tmp_path, whole, monkeypatch, error):
    """As a GPU says it, and as Python does; what fits is tried on the network itself, which has room here."""

    def greedy(self, loss):
        raise error

    run = small.config(tmp_path)
    monkeypatch.setattr(GroupTraining, "manual_backward", greedy)
    with pytest.raises(
        TrainingFailed, match=r"batch_size 256 needs more memory than there is: 128 fits, as was tried"
    ):
        fit(run)
    monkeypatch.undo()
    assert_equal(fit(run), whole)


def test_sizes_are_tried_from_small_to_large():
    tried = []

    def step(size):
        tried.append(size)
        if size > 70:
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert list(fitting(step, 256)) == [2, 4, 8, 16, 32, 64] and tried[-1] == 128
    assert list(fitting(step, 100)) == [3, 6, 12, 25, 50]
    assert list(fitting(lambda size: step(size + 100), 256)) == []


def test_clocks_that_jump(tmp_path, whole, monkeypatch):
    run = small.config(tmp_path)
    now = iter([0.0, 4e9, 1.0, 3e9] * 10**5)
    monkeypatch.setattr(time, "time", lambda: next(now))
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0)))
    folder = interrupted(run, 1, 2)
    os.utime(folder.checkpoint, (0, 0))
    os.utime(folder.path / "metrics.jsonl", (4e9, 4e9))
    fit(run)
    monkeypatch.undo()
    assert_equal(folder, whole)
    assert all(0 <= record["seconds"] < 600 for record in folder.metrics())


def test_a_configuration_edited_under_a_run(tmp_path, whole, capsys):
    run = small.config(tmp_path)
    path = RunFolder.of(run).path / "config.yaml"

    def edit():
        path.write_text(path.read_text().replace("lr: 0.1", "lr: 0.7"))

    fit(run, (After(1, 3, edit),))
    assert_equal(RunFolder.of(run), whole)
    assert RunFolder.of(run).config() == run
    assert "lr: 0.7" in path.with_name("config.yaml.edited").read_text()
    assert "was edited while the run went on (training.lr 0.7 there, 0.1 here)" in capsys.readouterr().err


def test_a_configuration_edited_under_a_run_that_is_stopped(tmp_path, whole):
    run = small.config(tmp_path)
    path = RunFolder.of(run).path / "config.yaml"

    def edit_and_stop():
        path.write_text(path.read_text().replace("lr: 0.1", "lr: 0.7"))
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        fit(run, (After(1, 3, edit_and_stop),))
    assert path.with_name("config.yaml.edited").exists()
    assert_equal(fit(run), whole)


def test_a_configuration_edited_between_two_sessions(tmp_path, whole):
    run = small.config(tmp_path)
    path = interrupted(run, 1, 2).path / "config.yaml"
    original = path.read_text()
    path.write_text(original.replace("batch_size: 256", "batch_size: 128"))
    with pytest.raises(RunRefused, match=r"training.batch_size 128 there, 256 here"):
        fit(run)
    path.write_text(original.replace("keep_gamma_every: 10", "keep_gamma_every: 5"))  # decides no number
    assert_equal(fit(run), whole)


# Where training is when SIGTERM comes, and for how long it does not listen.
SLOW = {
    "a step": "module.GroupTraining.manual_backward = waits(module.GroupTraining.manual_backward, 9)",
    "the first step": "module.GroupTraining.manual_backward = waits(module.GroupTraining.manual_backward, 1)",
    "an evaluation": "module.evaluate = waits(module.evaluate, 2)",
    "the first evaluation": "module.evaluate = waits(module.evaluate, 1)",
}
WAITS = """
import threading, time
from bnonly.training import rescue
def waits(call, number):
    calls = []
    def slow(*arguments):
        calls.append(call)
        if len(calls) == number:
            print("here", flush=True)
            time.sleep(60)  # goes on after a signal's handler, as an operation of torch does
        return call(*arguments)
    return slow
"""


@pytest.mark.parametrize("where", SLOW)
def test_sigterm_ends_within_ten_seconds_whatever_goes_on(tmp_path, whole, where):
    run = small.config(tmp_path)
    quick = "module._SLOW = -1.0\n" if where == "a step" else ""  # every step counts as one that may be given up
    quick += "" if where == "an evaluation" else "rescue.PATIENCE = 0.5\n"
    process = small.run_process(run, WAITS + quick + SLOW[where])
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 130 and "bnonly: stopped by SIGTERM in epoch" in errors and "and saved" in errors
    assert_equal(fit(run), whole)


def test_a_step_too_slow_all_of_a_sudden_loses_what_came_after_the_last_save(tmp_path, whole):
    run = small.config(tmp_path)
    process = small.run_process(run, WAITS + "rescue.PATIENCE = 0.5\n" + SLOW["a step"])
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "in the middle of a step; the last good state is kept in last.ckpt" in errors
    assert_equal(fit(run), whole)


def test_sigterm_during_a_slow_save(tmp_path, whole):
    """The rescue must not write the file that is being written."""
    run = small.config(tmp_path, training={"save_every": 1e-9})
    slow = WAITS + "rescue.PATIENCE = 0.5\n"
    slow += "write = checkpoint.write\ndef slowly(path, state):\n    if state.facts['step'] == 3:\n"
    slow += "        print('here', flush=True); time.sleep(4)\n    write(path, state)\ncheckpoint.write = slowly\n"
    process = small.run_process(run, slow)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "stopped by SIGTERM" in errors and "Traceback" not in errors
    assert_equal(fit(run), whole)


def test_sigterm_said_twice(tmp_path, whole):
    run = small.config(tmp_path)

    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match="in epoch 2 of 3, after step 3, and saved"):
        fit(run, (After(1, 3, twice),))
    assert_equal(fit(run), whole)


def test_a_save_cut_off_between_its_two_renames(tmp_path, whole):
    """With a damaged one before it: the whole one still has its first name."""
    run = small.config(tmp_path)
    path = interrupted(run, 1, 2).checkpoint
    path.rename(path.with_name("last.ckpt.new"))
    path.with_name("last.ckpt.previous").write_bytes(b"damaged")
    state, _ = checkpoint.read(path)
    assert state is not None and state.facts["step"] == 2
    assert_equal(fit(run), whole)


def test_long_epochs_are_saved_on_the_way(tmp_path, whole):
    run = small.config(tmp_path, training={"save_every": 1e-9})
    die = "save = module.GroupTraining.save\n"
    die += "def dying(self, *a):\n    save(self, *a)\n"
    die += "    if (self.position_epoch, self.position_step) == (1, 4): die()\n"
    die += "module.GroupTraining.save = dying\n"
    process = small.run_process(run, die)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    state, _ = checkpoint.read(RunFolder.of(run).checkpoint)
    assert state is not None and (state.facts["epoch"], state.facts["step"]) == (1, 4)
    assert_equal(fit(run), whole)
