"""A run killed anywhere ends like one that was not, to the bit."""

from __future__ import annotations

import random
import signal
import time

import pytest

from bnonly.errors import BadInput, Interrupted, RunRefused
from bnonly.runs import RunFolder
from bnonly.training import checkpoint
from bnonly.training.fit import fit
from bnonly.training.module import GroupTraining
from tests.training import small

SCHEDULE = {"schedule": "cosine", "warmup": 0.5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run, by group and optimiser."""
    made = {}

    def get(**changes):
        key = repr(sorted(changes.items()))
        if key not in made:
            made[key] = fit(small.config(tmp_path_factory.mktemp("whole"), **changes))
        return made[key]

    return get


def assert_equal(folder: RunFolder, other: RunFolder) -> None:
    assert small.metrics(folder) == small.metrics(other)
    assert [record["epoch"] for record in folder.metrics()] == [0, 1, 2, 3]
    assert small.state(folder) == small.state(other)


# Where the process kills itself with SIGKILL, as Python run before training.
KILLS = {
    "in the middle of an epoch": """
step = module.GroupTraining.step
def dying(self, images, labels):
    step(self, images, labels)
    if (self.position_epoch, self.position_step) == (1, 3): die()
module.GroupTraining.step = dying
""",
    "before the append to metrics.jsonl": """
append = RunFolder.append_metrics
def dying(self, record):
    if record["epoch"] == 2: die()
    append(self, record)
RunFolder.append_metrics = dying
""",
    "in the middle of the append": """
append = RunFolder.append_metrics
def dying(self, record):
    if record["epoch"] == 2:
        with (self.path / "metrics.jsonl").open("ab") as file: file.write(json.dumps(record).encode()[:77])
        die()
    append(self, record)
RunFolder.append_metrics = dying
""",
    "after the append, before the checkpoint": """
append = RunFolder.append_metrics
def dying(self, record):
    append(self, record)
    if record["epoch"] == 2: die()
RunFolder.append_metrics = dying
""",
    "inside the replacing of the checkpoint": """
replace, calls = os.replace, []
def dying(source, target):
    replace(source, target)
    if str(target).endswith("last.ckpt.previous"):
        calls.append(target)
        if len(calls) == 2: die()
os.replace = dying
""",
    "after the replacing of the checkpoint": """
write = checkpoint.write
def dying(path, state):
    write(path, state)
    if state.facts["epoch"] == 2: die()
checkpoint.write = dying
""",
    "before result.json": """
RunFolder.finish = lambda self, *_: die()
""",
}


@pytest.mark.parametrize("where", KILLS)
def test_killed(tmp_path, whole, where):
    run = small.config(tmp_path)
    process = small.run_process(run, KILLS[where])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    assert RunFolder.of(run).result() is None
    assert_equal(fit(run), whole())


@pytest.mark.parametrize(
    "changes",
    [
        {"group": "random:2"},
        {"group": "all", "training": {"optimizer": "adamw", "lr": 0.01, **SCHEDULE}},
        {
            "group": "bn+output",
            "training": {"precision": "bf16", "memory_format": "channels_last", **SCHEDULE},
        },
        {"group": "none"},
    ],
    ids=["random:2", "all-adamw", "bn+output-bf16", "none"],
)
def test_stopped_after_a_step_and_gone_on(tmp_path, whole, changes):
    run = small.config(tmp_path, **changes)

    for epoch, step in ((0, 1), (1, 4), (1, 6)):
        interrupted(run, epoch, step)
    assert_equal(fit(run), whole(**changes))


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_at_the_last_step_ends_the_run(tmp_path, whole, kind):
    run = small.config(tmp_path)
    assert_equal(fit(run, (Stops(2, 6, kind),)), whole())


@pytest.mark.parametrize("step", [2, 6])
def test_sigterm_in_the_process(tmp_path, whole, step):
    run = small.config(tmp_path)
    with pytest.raises(Interrupted, match="SIGTERM"):
        fit(run, (Stops(1, step, signal.SIGTERM),))
    assert_equal(fit(run), whole())


def test_a_second_ctrl_c_ends_at_once(tmp_path, whole):
    class Twice(Stops):
        def step(self, epoch, step, sums):
            super().step(epoch, step, sums)
            super().step(epoch, step, sums)

    run = small.config(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(run, (Twice(1, 2),))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert_equal(fit(run), whole())


def test_an_ignored_ctrl_c_stays_ignored(tmp_path, whole):
    """As a shell script's `bnonly fit ... &` has it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert_equal(fit(small.config(tmp_path), (Stops(1, 2),)), whole())
    finally:
        signal.signal(signal.SIGINT, before)


def test_inside_a_slurm_job_a_run_is_one_process(tmp_path, monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    assert fit(small.config(tmp_path, training={"epochs": 1})).result() is not None


class Stops:
    """A listener that presses Ctrl-C after a step."""

    def __init__(self, epoch, step, signal=signal.SIGINT):
        self.place, self.signal = (epoch, step), signal

    def begin(self, images, record, sums, net):
        pass

    def step(self, epoch, step, sums):
        if (epoch, step) == self.place:
            signal.raise_signal(self.signal)

    def epoch(self, record, net):
        pass


def interrupted(run, epoch, step):
    """Leave the run's folder as Ctrl-C after that step does."""

    with pytest.raises(Interrupted, match="Ctrl-C"):
        fit(run, (Stops(epoch, step),))
    return RunFolder.of(run)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, whole):
    run = small.config(tmp_path)
    folder = interrupted(run, 2, 2)
    data = bytearray(folder.checkpoint.read_bytes())
    data[-100] ^= 1
    folder.checkpoint.write_bytes(data)
    assert checkpoint.read(folder.checkpoint)[1] == ["last.ckpt is damaged (its digest does not match)"]
    assert_equal(fit(run), whole())


@pytest.mark.parametrize("length", [0, 5, 1000])
def test_with_both_checkpoints_truncated_it_starts_again(tmp_path, whole, length):
    run = small.config(tmp_path)
    folder = interrupted(run, 1, 2)
    for path in (folder.checkpoint, folder.path / "last.ckpt.previous"):
        path.write_bytes(path.read_bytes()[:length])
    assert_equal(fit(run), whole())
    assert (folder.path / "last.ckpt.damaged").stat().st_size == length
    assert (folder.path / "metrics.jsonl.damaged").exists()


def test_a_checkpoint_that_cannot_be_read_changes_nothing(tmp_path, whole, monkeypatch):
    run = small.config(tmp_path)
    folder = interrupted(run, 1, 2)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file() and path.name[0] != "."}

    def fails(*_args, **_kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoint, "safe_open", fails)
    with pytest.raises(BadInput, match=r"last.ckpt cannot be read \(Input/output error\)"):
        fit(run)
    monkeypatch.undo()
    assert all(path.read_bytes() == data for path, data in before.items())
    assert_equal(fit(run), whole())


def test_a_torn_or_missing_last_line_comes_back_from_the_checkpoint(tmp_path, whole):
    run = small.config(tmp_path)
    folder = interrupted(run, 2, 2)
    path = folder.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert_equal(fit(run), whole())


def test_a_finished_run_does_not_train_again(tmp_path, monkeypatch):
    run = small.config(tmp_path)
    fit(run)
    monkeypatch.setattr(GroupTraining, "step", None)
    assert fit(run).result() is not None


@pytest.mark.parametrize(
    ("fact", "says"), [("run", "another configuration"), ("frozen_sha256", "other frozen weights"),
                       ("data_sha256", "other data")]
)  # fmt: skip
def test_a_checkpoint_of_another_run_is_refused(tmp_path, fact, says):
    run = small.config(tmp_path)
    folder = interrupted(run, 1, 2)
    state, _ = checkpoint.read(folder.checkpoint)
    assert state is not None
    before = {path.name: path.read_bytes() for path in folder.path.glob("m*")}
    checkpoint.write(folder.checkpoint, checkpoint.State(state.tensors, state.facts | {fact: "0" * 64}))
    with pytest.raises(RunRefused, match=says):
        fit(run)
    assert before == {path.name: path.read_bytes() for path in folder.path.glob("m*")}


def test_sigterm_saves_and_ends(tmp_path, whole):
    run = small.config(tmp_path)
    slow = "import time; from bnonly.training.module import GroupTraining as G\nold = G.step\n"
    slow += "def waits(self, *a):\n    print('step', flush=True); time.sleep(0.2); old(self, *a)\n"
    slow += "G.step = waits"
    process = small.run_process(run, slow)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert "stopped by SIGTERM in epoch 1 of 3" in errors
    assert_equal(fit(run), whole())


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path, whole):
    run = small.config(tmp_path, training={"epochs": 3, "batch_size": 16})
    other = whole(training={"epochs": 3, "batch_size": 16})
    moments, kills = random.Random(0), 0
    while kills < 20:
        process = small.run_process(run, "print('ready', flush=True)")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0.0, 3.0))
        process.kill()
        process.communicate()  # closes the pipes
        kills += process.returncode == -signal.SIGKILL
        if RunFolder.of(run).result() is not None:
            for path in sorted(RunFolder.of(run).path.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    assert_equal(fit(run), other)
