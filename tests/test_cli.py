"""The front door, as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bnonly.cli import VERBS, main
from bnonly.errors import guarded
from bnonly.randomness import bngen
from bnonly.training.fit import fit
from tests.training import small


def run(*argv, **options):
    return subprocess.run([sys.executable, "-m", "bnonly", *argv], capture_output=True, text=True, **options)


def without_torch(*argv, cwd):
    """The exit status and output of a verb in a process where importing torch fails."""
    script = "import sys; sys.modules['torch'] = None; from bnonly.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)])
def test_help_needs_no_torch(argv, tmp_path):
    done = without_torch(*argv, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    "argv", [["schema"], ["schema", "--markdown"], ["completion", "bash"], ["completion", "zsh"]]
)
def test_what_shells_and_editors_ask_for_needs_no_torch(argv, tmp_path):
    done = without_torch(*argv, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout


def test_a_finished_run_needs_no_torch_and_says_so(tmp_path):
    flags = ["--network.name", "cifar_resnet8", "--training.epochs", "1", "--tracking", "off"]
    first = run("fit", *flags, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("runs/fit/") and "epoch 1/1" in first.stderr
    assert "672 of 78,042 parameters train (0.86%)" in first.stderr
    again = without_torch("fit", *flags, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "this run is finished" in again.stderr


def test_print_config_shows_everything_and_writes_nothing(tmp_path):
    shown = without_torch("fit", "--print-config", "--speed", "fast", cwd=tmp_path)
    assert shown.returncode == 0 and "precision: bf16" in shown.stdout and "milestones:" in shown.stdout
    (tmp_path / "again.yaml").write_text(shown.stdout)
    again = without_torch("fit", "-c", "again.yaml", "--print-config", cwd=tmp_path)
    assert again.stdout == shown.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["again.yaml"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["fti"], "unknown verb 'fti': did you mean fit?"),
        (["fit", "--network.name", "cifar_resnet15"], "not 6n+2"),
        (["fit", "--training.lr", "-1"], "training.lr = '-1'"),
        (["fit", "--group", "random:5000"], "largest filter has 576 scalars"),
        (["fit", "--data.source", "folder", "--data.path", "nowhere"], "data.path nowhere does not exist"),
        (["fit", "--training.optimizer_options", "{nesterov: true}"], "written as JSON"),
        (["fit", "--data", "{"], "the flags: "),
        (["fit", "--training.device", "cuda:"], "use auto, cpu"),
        (["fit", "--training.optimizer", "rprop"], "has no weight decay"),
        (["demo", "--seed", "-1"], "the demo: seed = -1"),
        (["networks", "lenet"], "network 'lenet' is unknown"),
        (["weights", "--seed", "0"], "--stream"),
        (["weights", "--seed", "g", "--stream", "0", "--count", "1", "--fan-in", "1"], "hexadecimal"),
        (["weights", "--seed", "0", "--stream", "-1", "--count", "1", "--fan-in", "1"], "whole number"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(argv, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    captured = capsys.readouterr()
    sentence = captured.err.splitlines()[-1]
    assert sentence.startswith("bnonly: ") and says in sentence
    assert "Traceback" not in captured.err and not captured.out
    assert not list(tmp_path.iterdir())


def test_a_file_where_the_folder_should_be(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["fit", "--out", str(tmp_path / "file"), "--tracking", "off", "--network.name", "cifar_resnet8"]) == 2
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says", "status"),
    [
        (OSError(28, "No space left on device", "some/file"), "some/file: No space left on device", 1),
        (MemoryError("17 TiB"), "not enough memory (17 TiB)", 1),
        (KeyboardInterrupt(), "stopped", 130),
    ],
)
def test_the_machines_troubles_are_one_sentence(capsys, error, says, status):
    def fails():
        raise error

    assert guarded(fails) == status
    assert capsys.readouterr().err.startswith(f"bnonly: {says}")


def test_another_folder_of_images_is_not_taken_for_the_first(tmp_path, capsys):
    from tests.data.pictures import write_folder

    flags = ["--data.source", "folder", "--training.epochs", "1", "--network.name", "cifar_resnet8"]
    flags += ["--tracking", "off", "--out", str(tmp_path / "runs"), "--training.batch_size", "6"]
    for name in ("a", "b"):
        write_folder(tmp_path / name, size=(8, 8))
    assert main(["fit", *flags, "--data.path", str(tmp_path / "a")]) == 0
    assert main(["fit", *flags, "--data.path", str(tmp_path / "b")]) == 2
    assert "was made with other data" in capsys.readouterr().err
    (tmp_path / "a").rename(tmp_path / "moved")
    assert main(["fit", *flags, "--data.path", str(tmp_path / "moved")]) == 0


def test_no_arguments_show_the_help(capsys):
    assert main([]) == 2
    assert "usage: bnonly" in capsys.readouterr().out


def test_weights_are_the_generators(capsys):
    argv = [
        "weights",
        "--seed",
        "0x1f",
        "--stream",
        "0x100",
        "--count",
        "5",
        "--fan-in",
        "9",
        "--dist",
        "uniform",
    ]
    assert main(argv) == 0
    printed = [float(line) for line in capsys.readouterr().out.split()]
    expected = bngen.he_weights(0x1F, 0x100, 5, 9, "uniform")
    assert printed == expected.tolist()
    assert main([*argv, "--sha256"]) == 0
    assert capsys.readouterr().out.strip() == bngen.sha256(expected)


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m bnonly weights --seed 0 --stream 0 --count 200000 --fan-in 9 | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_in_use_is_refused(tmp_path, capsys):
    from bnonly.runs import RunFolder

    config = small.config(tmp_path)
    flags = ["--out", str(tmp_path), "--network.name", "cifar_resnet8", "--tracking", "off"]
    flags += ["--training.epochs", "3", "--training.batch_size", "256"]
    with RunFolder.of(config).locked():
        assert main(["fit", *flags]) == 2
    assert "is in use by process" in capsys.readouterr().err


def test_the_same_run_from_python_and_from_the_command_line(tmp_path, capsys):
    config = small.config(tmp_path)
    fit(config)
    (tmp_path / "run.yaml").write_text(json.dumps(config.plain()))
    assert main(["fit", "-c", str(tmp_path / "run.yaml")]) == 0
    assert capsys.readouterr().out.strip().endswith(config.id)
