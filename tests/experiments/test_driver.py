"""What is done, tried again, kept and left, with trials that need no training."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from bnonly.cli import main
from experiments import driver, grid
from experiments.grid import Stage
from experiments.status import Board, Metrics, Pace, Row, clock
from experiments.watch import cells, outlook
from tests.experiments import stub_grid
from tests.warm import Warm


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """The stub experiment, performed in this process."""
    monkeypatch.setattr(grid, "EXPERIMENTS", grid.EXPERIMENTS)
    monkeypatch.setitem(sys.modules, "experiments.stub", None)
    monkeypatch.setattr(driver, "_TURN", 0.02)
    monkeypatch.setattr("experiments.engines.ENGINES", {"local": "tests.experiments.stub_grid:Here"})


def run(out, *flags, action="run"):
    return main(["experiment", action, "stub", "--out", str(out), *flags])


def status(out, capsys, *flags):
    capsys.readouterr()
    assert run(out, "--json", *flags, action="status") == 0
    return json.loads(capsys.readouterr().out)[0]


def test_a_grid_is_run_once(tmp_path, capsys):
    stub_grid.install(3)
    assert run(tmp_path) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(tmp_path / "stub")
    assert "3 done, 0 failed" in captured.err and "figure" in captured.err
    assert run(tmp_path) == 0
    assert "nothing to do, 3 runs are done" in capsys.readouterr().err
    assert [stub_grid.calls(folder) for folder in stub_grid.folders(tmp_path)] == [1, 1, 1]


def test_what_is_done_is_drawn_without_running(tmp_path, capsys):
    stub_grid.install(2)
    assert run(tmp_path / "nowhere", action="draw") == 1 and "no figures" in capsys.readouterr().err
    run(tmp_path / "runs", "--set", "training.epochs=7")
    for trial in json.loads((tmp_path / "runs" / "stub" / "grid.smoke.json").read_text())["trials"]:
        (tmp_path / "runs" / "stub" / trial["id"] / "config.yaml").write_text(json.dumps(trial["config"]))
    capsys.readouterr()
    assert run(tmp_path / "runs", "--to", str(tmp_path / "kept"), action="draw") == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "kept" / "stub")]
    text = (tmp_path / "kept" / "stub" / "runs.csv").read_text()
    assert len(text.splitlines()) == 3 and "--set training.epochs=7" in text and str(tmp_path) not in text
    assert [len(path.read_text().split()) for path in tmp_path.glob("runs/*/*/calls")] == [1, 1]


def test_the_grid_is_written_down(tmp_path):
    stub_grid.install(2)
    run(tmp_path, "--set", "training.epochs=7")
    written = json.loads((tmp_path / "stub" / "grid.smoke.json").read_text())
    assert (written["experiment"], written["preset"], written["set"]) == ("stub", "smoke", ["training.epochs=7"])
    assert written["figures"] == ["no_such_figure"] and written["version"] == 1
    first = written["trials"][0]
    assert (first["network"], first["group"], first["seed"]) == ("cifar_resnet8", "bn", 0)
    assert first["config"]["training"]["epochs"] == 7 and first["stages"] == [stub_grid.TASK]
    assert {trial["id"] for trial in written["trials"]} == {path.parent.name for path in tmp_path.glob("*/*/calls")}


@pytest.mark.parametrize(
    ("what", "attempts", "kind", "reason"),
    [
        ("bad", 1, "BadInput", "the milk is sour: buy another"),
        ("raise", 3, "RuntimeError", "RuntimeError: sour"),
        ("memory", 3, "MemoryError", "not enough memory (17 TiB)"),
        ("nothing", 3, "lost", "its process ended well and left no result"),
    ],
)
def test_a_failure_is_kept_and_stops_nothing(tmp_path, capsys, what, attempts, kind, reason):
    stub_grid.install(3, {"1": what})
    assert run(tmp_path) == 1
    assert "1 failed in" in capsys.readouterr().err
    first, bad, last = stub_grid.folders(tmp_path)
    assert [stub_grid.calls(folder) for folder in (first, bad, last)] == [1, attempts, 1]
    failure = bad.failure()
    assert (failure["reason"], failure["kind"], failure["attempts"]) == (reason, kind, attempts)
    assert first.failure() is None
    told = status(tmp_path, capsys)
    assert (told["done"], told["failed"], told["waiting"]) == (2, 1, 0)
    assert told["trials"][1]["reason"] == reason
    assert run(tmp_path) == 1  # a plain run tries again
    assert stub_grid.calls(bad) == 2 * attempts
    stub_grid.install(3)
    assert run(tmp_path) == 0
    assert bad.failure() is None and status(tmp_path, capsys)["done"] == 3


def test_an_attempt_that_fails_once_is_tried_again(tmp_path, capsys):
    stub_grid.install(2, {"0": "raise once"})
    assert run(tmp_path) == 0
    assert "attempt 1 of 3, again later" in capsys.readouterr().err
    first, second = stub_grid.folders(tmp_path)
    assert (stub_grid.calls(first), stub_grid.calls(second), first.failure()) == (2, 1, None)


def test_a_run_that_is_stopped_goes_on_while_that_brings_it_further(tmp_path, capsys):
    stub_grid.install(2, {"0": "advance", "1": "stop"})
    assert run(tmp_path) == 1
    said = capsys.readouterr().err
    assert "1 done, 0 failed, 1 left" in said and "stopped by SIGTERM, and saved; it goes on later\n" in said
    assert [stub_grid.calls(folder) for folder in stub_grid.folders(tmp_path)] == [6, 3]


def test_only_failed(tmp_path, capsys):
    stub_grid.install(2, {"0": "bad"})
    assert run(tmp_path) == 1
    stub_grid.install(4)
    assert run(tmp_path, "--only-failed") == 0
    assert [stub_grid.calls(folder) for folder in stub_grid.folders(tmp_path)] == [2, 1, 0, 0]
    assert run(tmp_path, "--only-failed") == 0
    assert "nothing to do, 2 runs are done, 2 waiting" in capsys.readouterr().err


def test_an_edited_grid_keeps_adds_and_names_orphans(tmp_path, capsys):
    stub_grid.install(3)
    run(tmp_path)
    kept = [folder.path.name for folder in stub_grid.folders(tmp_path)]
    for folder in stub_grid.folders(tmp_path):
        (folder.path / "config.yaml").write_text("seed: 0\n")
    stub_grid.install(axes={"seed": [0, 5]})
    capsys.readouterr()
    assert run(tmp_path) == 0
    said = capsys.readouterr().err
    assert "2 runs are in" in said and all(name in said for name in kept[1:])
    assert "2 runs, 1 of them to do" in said
    assert status(tmp_path, capsys)["orphans"] == sorted(kept[1:])
    assert all((tmp_path / "stub" / name / "mark.json").exists() for name in kept)


def test_runs_of_another_preset_are_no_orphans(tmp_path, capsys):
    stub_grid.install(1)
    run(tmp_path, "--preset", "cpu")
    for path in (tmp_path / "stub").glob("*/calls"):
        path.with_name("config.yaml").write_text("seed: 0\n")
    assert status(tmp_path, capsys, "--preset", "smoke")["orphans"] == []
    assert status(tmp_path, capsys)["preset"] == "cpu"  # the one run last


def test_status_remembers_what_was_set(tmp_path, capsys):
    stub_grid.install(2)
    run(tmp_path, "--set", "training.epochs=7")
    assert status(tmp_path, capsys)["done"] == 2
    assert status(tmp_path, capsys, "--set", "training.epochs=8")["waiting"] == 2


def test_a_trial_that_another_process_has_is_left_to_it_and_taken_when_free(tmp_path, capsys):
    stub_grid.install(2)
    theirs, ours = stub_grid.folders(tmp_path)
    held, free = threading.Event(), threading.Event()

    def hold():
        with theirs.trial_locked():
            held.set()
            free.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(60)
    assert [trial["state"] for trial in status(tmp_path, capsys)["trials"]] == ["running", "waiting"]
    driving = threading.Thread(target=run, args=[tmp_path])
    driving.start()
    until = time.monotonic() + 60
    while stub_grid.calls(ours) == 0 and time.monotonic() < until:
        time.sleep(0.02)
    assert (stub_grid.calls(theirs), stub_grid.calls(ours)) == (0, 1)
    assert driving.is_alive()
    free.set()
    driving.join(60)
    other.join()
    assert (stub_grid.calls(theirs), theirs.failure()) == (1, None)


def test_two_drivers_share_one_grid(tmp_path):
    script = (
        "import sys\nfrom tests.experiments import stub_grid\nfrom experiments import driver, engines\n"
        "driver._TURN = 0.02\nengines.ENGINES['local'] = 'tests.experiments.stub_grid:Here'\n"
        "stub_grid.install(12, {str(seed): 'slow' for seed in range(12)})\n"
        "from bnonly.cli import main\n"
        "sys.exit(main(['experiment', 'run', 'stub', '--slots', '1', '--out', sys.argv[1]]))"
    )
    both = [Warm(script, [str(tmp_path)]) for _ in range(2)]
    ends = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    stub_grid.install(12)
    runs = [(folder.path / "calls").read_text().split() for folder in stub_grid.folders(tmp_path)]
    assert [len(calls) for calls in runs] == [1] * 12  # each once
    assert not list(tmp_path.glob("*/*/failure.json"))


def test_what_comes_after_a_failure_is_left(tmp_path):
    stub_grid.install(3, {"0": "bad"})
    first, second, third = grid.trials("stub", "smoke", tmp_path)
    chain = [replace(third, after=(second.id,)), replace(second, after=(first.id,)), first]

    def drive(trials):
        board = Board(trials)
        board.look()
        seen, told = driver_watch(board)
        return driver.Driver(trials, [trial.id for trial in trials], board, stub_grid.Here(), seen, told).run()

    outcome = drive(chain)
    assert list(outcome.failed) == [first.id] and set(outcome.left) == {second.id, third.id}
    assert outcome.left[second.id] == f"it comes after {first.id}, not done"
    well = Stage(stub_grid.TASK, {"does": {}})
    outcome = drive([replace(trial, stages=(well,)) for trial in chain])
    assert outcome.done == [first.id, second.id, third.id]


def driver_watch(board):
    from experiments.stop import Told
    from experiments.watch import Lines

    return Lines("stub", board), Told()


def test_a_full_disk_is_said_once_and_survived(disk, capsys):
    stub_grid.install(3, {"1": "full"})
    assert run(disk) == 1
    said = capsys.readouterr().err
    assert said.count("failures cannot be kept") == 1 and "No space left on device" in said
    assert [(folder.path / "mark.json").exists() for folder in stub_grid.folders(disk)][:2] == [True, False]
    (disk / "filler").unlink()
    stub_grid.install(3)
    assert run(disk) == 0


def test_a_line_that_grows_is_read_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    line = '{"epoch": %d, "seconds": 2.0, "test": {"top1": 0.5}}\n'
    metrics = Metrics(path)
    metrics.look()
    assert metrics.last is None
    path.write_text(line % 0 + line % 1 + '{"epoch": 2, "sec')
    metrics.look()
    assert (metrics.last["epoch"], metrics.epochs, metrics.seconds) == (1, 1, 2.0)
    with path.open("a") as file:
        file.write('onds": 4.0}\n')
    metrics.look()
    assert (metrics.last["epoch"], metrics.epochs, metrics.seconds) == (2, 2, 6.0)
    other = tmp_path / "other"  # as a resumed run rewrites it
    other.write_text(line % 0)
    other.replace(path)
    metrics.look()
    assert (metrics.last["epoch"], metrics.epochs) == (0, 0)


def test_time_left_is_that_of_like_runs_or_unknown(tmp_path):
    stub_grid.install(4)
    trials = grid.trials("stub", "smoke", tmp_path, ["training.epochs=10"])
    board = Board(trials)
    board.look()
    assert board.left(2) is None
    folder = trials[0].folder.path
    folder.mkdir(parents=True)
    lines = [{"epoch": epoch, "seconds": 3.0 if epoch else 0.0, "images_per_second": 9.0} for epoch in range(5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    board.look(running=[trials[0].id])
    # Six epochs of three seconds, and three runs of ten such epochs.
    assert board.rows[trials[0].id].left == pytest.approx(18)
    assert board.left(2) == pytest.approx((18 + 3 * 30) / 2)
    assert clock(3723) == "1:02:03" and clock(None) == "?"
    assert outlook(board, 2).endswith(f"about {clock(54)} left")
    grows = Board([trials[0], *grid.trials("stub", "smoke", tmp_path, ["training.epochs=20"])[1:]], grows=True)
    grows.look(running=[trials[0].id])
    assert grows.left(2) == pytest.approx((18 + 3 * 60) / 2)
    assert outlook(grows, 2).endswith(f"at least {clock(99)} left")


def test_in_a_terminal_there_is_a_table(tmp_path, monkeypatch):
    said = io.StringIO()
    terminal = Console(file=said, force_terminal=True, highlight=False, width=200, height=30)
    monkeypatch.setattr("experiments.watch.console", lambda: terminal)
    stub_grid.install(3, {"2": "bad"})
    assert run(tmp_path) == 1
    screens = said.getvalue()
    assert all(head in screens for head in ("network", "group", "top-1", "images/s", "left"))
    assert "2 done, 1 failed" in screens and "3/3" not in screens
    assert "failed: the milk is sour: buy another (1 attempt)" in screens


def test_a_table_shows_what_runs_say(tmp_path):
    stub_grid.install(1)
    given = ["training.epochs=10", "network.name=cifar_resnet8", "group=bn"]
    (trial,) = grid.trials("stub", "smoke", tmp_path, given)
    line = {"epoch": 4, "seconds": 3.0, "images_per_second": 1234.5, "test": {"top1": 0.4321}}
    trial.folder.path.mkdir(parents=True)
    (trial.folder.path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    board = Board([trial])
    board.look(running=[trial.id])
    row = cells(board.rows[trial.id])
    assert row == ["cifar_resnet8", "bn", "0", "running", "4/10", "43.21%", "1,234", "0:00:18"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["run", "depht"], "unknown experiment 'depht', did you mean depth?"),
        (["run"], "which experiment?"),
        (["run", "depth", "--set", "training.epoch=3"], "did you mean"),
        (["run", "depth", "--set", "out=3"], "not for --set"),
        (["run", "depth", "--preset", "gpus"], "did you mean gpu?"),
        (["run", "depth", "--slots", "0"], "give 1 or more"),
        (["run", "depth", "--option", "x"], "--option NAME=VALUE"),
        (["run", "depth", "--set", "training.device=cuda:1"], "one GPU"),
        (["runn", "depth"], "did you mean run?"),
    ],
)
def test_bad_input_is_one_sentence(argv, says, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", *argv]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said


def test_an_unknown_task_and_an_unknown_option_are_refused(tmp_path, capsys):
    stub_grid.install(1)
    assert run(tmp_path, "--option", "partition=gpu") == 0  # the stub takes any
    stub_grid.install(1, stages=(Stage("fti"),))
    assert run(tmp_path) == 2
    assert "task 'fti' is unknown" in capsys.readouterr().err


def test_looking_needs_no_torch(tmp_path):
    script = "import sys; sys.modules['torch'] = None; from experiments.__main__ import guarded, main\n"
    script += "sys.exit(max(guarded(lambda: main(argv.split() + ['--out', sys.argv[1]])) for argv in (\n"
    script += "'list', 'show depth', 'status depth', 'list --json', 'run depth --only-failed')))"
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "How does accuracy grow with depth" in done.stdout and "10 waiting" in done.stdout
    assert "nothing to do, 0 runs are done, 10 waiting" in done.stderr


@pytest.mark.parametrize(("most", "seen"), [(None, 2), (1, 1)])
def test_an_experiment_may_want_fewer_at_once(most, seen, tmp_path, monkeypatch, capsys):
    waiting = []
    submit = stub_grid.Here.submit

    def counted(self, job):
        submit(self, job)
        waiting.append(len(self._queue))

    monkeypatch.setattr(stub_grid.Here, "submit", counted)
    stub_grid.install(3, slots=most)
    assert run(tmp_path) == 0
    assert max(waiting) == seen and f"{seen} at once" in capsys.readouterr().err


def test_a_drawing_of_ones_own(tmp_path):
    stub_grid.install(2, drawing="tests.experiments.stub_grid:drawing")
    assert run(tmp_path, "--set", "data.path=/secret", "--set", "training.epochs=7") == 0
    command = "bnonly experiment run stub --preset smoke --set data.path=DATA --set training.epochs=7"
    assert (tmp_path / "stub" / "own.txt").read_text() == f"2 by {command}"


def test_time_left_of_trials_that_fit_nothing_is_by_their_stages(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("experiments.status.time.monotonic", lambda: now[0])
    row, pace, said = Row("a", "", "", 0, 1, stages=4), Pace(), []
    for state, answered, later in [
        ("waiting", 1, 50),  # an earlier session's
        ("running", 1, 10),
        ("running", 2, 10),
        ("running", 2, 20),
        ("running", 3, 30),
        ("waiting", 3, 100),  # stopped: this time does not count
        ("running", 3, 8),
        ("done", 4, 0),
    ]:
        row.state, row.answered = state, answered
        said.append(pace.whole(row))
        now[0] += later
    assert said == [None, None, 40, 40, 80, 80, 80, 32]
