"""The scripts in the shells they are for, as far as those are installed."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnonly.cli import VERBS, main
from bnonly.completion.scripts import SHELLS
from bnonly.completion.words import verbs

LARGEST = 100_000

# The line up to the cursor, and what the shell then offers.
OFFERS = [
    ("bnonly f", {"fit"}),
    ("bnonly comp", {"completion"}),
    ("bnonly completion ", {"bash", "zsh", "fish"}),
    ("bnonly fit --data.s", {"--data.source", "--data.size", "--data.std"}),
    (
        "bnonly fit --print-config --training.de",
        {"--training.decay_group", "--training.device", "--training.devices"},
    ),
    ("bnonly fit --data.source ci", {"cifar10", "cifar100"}),
    ("bnonly fit --seed 3 --group o", {"output"}),
    ("bnonly fit --group random:", {"random:2"}),
    ("bnonly fit --group bn+", {"bn+output"}),
    (
        "bnonly fit --network.name cifar_resnet1",
        {"cifar_resnet14", "cifar_resnet110", "cifar_resnet14_gn", "cifar_resnet14_ln"},
    ),
    ("bnonly networks resnet10", {"resnet101"}),
    ("bnonly fit --seed ", set()),
    ("bnonly fit -c configs/pre", {"configs/presets"}),
    ("bnonly fit -c a.yaml configs/b", {"configs/b c.yaml"}),
    ("bnonly fit --speed fast -c a.yaml --out ru", {"runs"}),
    ("bnonly demo --out ", {"configs", "runs"}),
    ("bnonly weights --dist s", {"sign"}),
    ("bnonly deploy a.yaml --c", {"--compact"}),
    ("bnonly experiment st", {"status", "style"}),
    ("bnonly experiment run dep", {"depth"}),
    ("bnonly experiment run depth --preset p", {"paper"}),
]
ids = [line for line, _ in OFFERS]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a few files, as the current one."""
    for folder in ("configs/presets", "runs"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("a.yaml", "configs/b c.yaml"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """Writes a shell's script once, and skips where there is no such shell."""
    folder = tmp_path_factory.mktemp("completion")

    def write(shell: str) -> Path:
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        path = folder / shell
        if not path.exists():
            done = subprocess.run(
                [sys.executable, "-m", "bnonly", "completion", shell], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            path.write_text(done.stdout)
        return path

    return write


def shell(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SHELLS)
def test_scripts_are_small_static_and_parse(name, script):
    path = script(name)
    text = path.read_text()
    assert len(text) < LARGEST and "python" not in text.lower()
    assert all(verb in text for verb in VERBS)
    shell(name, "-n", str(path))


def bash_words(line: str) -> list[str]:
    """The line as readline cuts it: at blanks, and at : and =, which are words of their own."""
    cut = line.replace(":", " : ").replace("=", " = ").split()
    return [*cut, ""] if line.endswith(" ") else cut


def in_bash(script: Path, words: list[str]) -> set[str]:
    run = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bnonly; printf "%s\\n" "${COMPREPLY[@]}"'
    return set(shell("bash", "--norc", "-c", run, str(script), *words).splitlines()) - {""}


@pytest.mark.parametrize(("line", "offers"), OFFERS, ids=ids)
def test_bash(line, offers, script, place):
    # What stands before the last colon is in the line already.
    assert in_bash(script("bash"), bash_words(line)) == {offer.rpartition(":")[2] for offer in offers}


SOURCES = {"digits", "cifar10", "cifar100", "folder", "imagenet"}


def test_bash_knows_values_behind_an_equals_sign_and_no_other_verbs(script, place):
    path = script("bash")
    assert in_bash(path, ["bnonly", "fit", "--data.source", "=", "di"]) == {"digits"}
    assert in_bash(path, ["bnonly", "fit", "--data.source", "="]) == SOURCES
    assert in_bash(path, ["bnonly", "fit", "--group", "random", ":", "2"]) == {"2"}
    assert in_bash(path, ["bnonly", ""]) == {*VERBS, "--help", "--version"}
    assert in_bash(path, ["bnonly", "nothing", ""]) == set()


@pytest.mark.parametrize(("line", "offers"), OFFERS, ids=ids)
def test_fish(line, offers, script, place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    said = shell("fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', str(script("fish")), line)
    assert {offer.split("\t")[0].rstrip("/") for offer in said.splitlines()} == offers


def typed_in(command: list[str], setup: str, line: str, report: Path) -> str:
    """The line as it stands after a tab in an interactive shell, which `setup` has write it to `report` on ^X."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        os.write(master, f"{setup}; touch {report}.ready\n".encode())
        waited(Path(f"{report}.ready"))
        os.write(master, f"{line}\t\x18".encode())
        waited(report)
        return report.read_text().strip("\n")
    finally:
        process.kill()
        process.wait()
        os.close(master)


def waited(path: Path) -> None:
    until = time.monotonic() + 90
    while not (path.exists() and (path.stat().st_size or path.suffix)):
        assert time.monotonic() < until, f"the shell never wrote {path.name}"
        time.sleep(0.02)


TYPED = [
    ("bnonly fi", "bnonly fit "),
    ("bnonly fit --data.so", "bnonly fit --data.source"),
    ("bnonly fit --data.source fo", "bnonly fit --data.source folder "),
    ("bnonly fit --data.source=fo", "bnonly fit --data.source=folder "),
    ("bnonly fit --group r", "bnonly fit --group random:2 "),
    ("bnonly fit --group random:", "bnonly fit --group random:2 "),
    ("bnonly fit -c configs/b", "bnonly fit -c configs/b\\ c.yaml "),
    ("bnonly fit -c a.yaml ~/configs/b", "bnonly fit -c a.yaml ~/configs/b\\ c.yaml "),
    ("bnonly fit --data.path ru", "bnonly fit --data.path runs/"),
]


@pytest.mark.parametrize(("line", "becomes"), TYPED)
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_tab_in_an_interactive_shell(name, line, becomes, script, place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("TERM", "dumb")
    report, path = place / "report", script(name)
    if name == "bash":
        command = ["bash", "--norc", "--noprofile", "-i"]
        setup = f"source {path}; r() {{ printf '%s\\n' \"$READLINE_LINE\" > {report}; }}; bind -x '\"\\C-x\": r'"
    else:
        command = ["zsh", "-f", "-i"]
        setup = f"autoload -Uz compinit; compinit -u -D; source {path}; r() {{ print -r -- $BUFFER > {report} }}"
        setup += "; zle -N r; bindkey '^X' r; bindkey '^I' complete-word"
    assert typed_in(command, setup, line, report).rstrip("= ") == becomes.rstrip()


def test_a_wheel_completes_the_verbs_it_has(monkeypatch):
    monkeypatch.setattr("bnonly.cli.find_spec", lambda name: None)
    assert [verb.name for verb in verbs()] == [verb for verb, (home, _) in VERBS.items() if home.startswith("bnonly")]


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "bahs"]) == 2
    assert "did you mean bash?" in capsys.readouterr().err
