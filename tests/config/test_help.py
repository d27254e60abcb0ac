"""What the command line says of the fields, and of names that it does not know."""

from __future__ import annotations

import re

import pytest

from bnonly.cli import main
from bnonly.config.command_line import parse_run, run_parser
from bnonly.config.names import nearest
from bnonly.config.schema import entries, sections
from bnonly.errors import BadInput


@pytest.fixture(scope="module")
def help_text() -> str:
    return run_parser("bnonly fit", "Train.").format_help()


def about(help_text: str, name: str) -> str:
    """What the help says of a flag, on one line."""
    found = re.search(rf"^  --{re.escape(name)} (.*?)(?=^  -|^\S|\Z)", help_text, re.MULTILINE | re.DOTALL)
    assert found, f"--{name} is not in the help"
    return " ".join(found[1].split())


def test_help_is_eighty_columns_and_grouped_by_section(help_text, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run_parser("bnonly fit", "Train.").format_help() == help_text
    assert max(map(len, help_text.splitlines())) <= 80
    for name, says in sections().items():
        options = help_text.partition(f"\n{name} options:\n")[2]
        assert " ".join(options.split()).startswith(says)
    assert re.search(r"^network options:.*--network\.name.*^data options:.*--data\.crop", help_text, re.M | re.S)


@pytest.mark.parametrize("name", entries())
def test_every_field_states_its_default_in_plain_types(name, help_text):
    said = about(help_text, name)
    assert re.search(r"default: .+\]$", said)
    assert (
        "None" not in said
        and "tuple[" not in said
        and "dict[" not in said
        and not re.match(r"(str|int|float)\b", said)
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("data.crop", "N Pixels of border .* [whole number of pixels, 0 to 64; default: 4, for digits 1]"),
        ("data.mean", "R,G,B .* [3 numbers; default: 0.485, 0.456, 0.406]"),
        ("data.std", "R,G,B .* [3 numbers, each above 0; default: 0.229, 0.224, 0.225]"),
        ("data.flip", "{true,false} .* [default: true, for digits false]"),
        ("seed", "N .* [whole number, at least 0, below 2^128; default: 0]"),
        ("training.batch_size", "N .* [whole number of images, at least 1; default: 128]"),
        ("training.momentum", "X .* [number, at least 0, below 1; default: 0.9]"),
        ("training.lr_factor", "X .* [number, above 0, at most 1; default: 0.1]"),
        ("training.warmup", "X .* [number of epochs, at least 0; default: 0]"),
        ("training.weight_decay", "X .* [number, at least 0; default: 0.0001]"),
        ("training.milestones", "X,X,... .* [list of numbers of epochs, each above 0; default: 1/2 and 3/4 of all]"),
        ("training.threads", "N .* [whole number of threads, at least 1; default: torch's own choice]"),
        ("training.precision", "{fp32,bf16} .* [default: fp32]"),
        ("group", "GROUP .* [a group, or groups joined with +; default: bn]"),
        ("out", "PATH .* [path; default: runs]"),
    ],
)
def test_units_bounds_and_dependent_defaults(name, says, help_text):
    start, _, end = says.partition(" .* ")
    said = about(help_text, name)
    assert said.startswith(start) and said.endswith(end)


def fails(argv: list[str]) -> str:
    with pytest.raises(BadInput) as caught:
        parse_run(run_parser("bnonly fit", ""), argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argv", "means"),
    [
        (["--lr", "1"], "--training.lr"),
        (["--lr=1"], "--training.lr"),
        (["--epochs", "3"], "--training.epochs"),
        (["--data_path", "x"], "--data.path"),
        (["--data-path", "x"], "--data.path"),
        (["--batch-size", "3"], "--training.batch_size"),
        (["--training.batchsize", "3"], "--training.batch_size"),
        (["--train.lr", "3"], "--training.lr"),
        (["--network.lr", "3"], "--training.lr"),
        (["--optimiser", "adam"], "--training.optimizer"),
        (["--tracing", "off"], "--tracking"),
        (["--print_config"], "--print-config"),
        (["--lr", "1", "--epoch", "3"], "--training.lr and --training.epochs"),
    ],
)
def test_an_unknown_flag_is_answered_with_the_nearest(argv, means, capsys):
    assert main(["fit", *argv]) == 2
    assert f"did you mean {means}?" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--zzz", "1"], ["--training.zzz", "1"]])
def test_what_is_near_nothing_gets_no_hint(argv):
    assert "did you mean" not in fails(argv)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--data.source", "cifar11"], "data.source = 'cifar11': .*did you mean cifar10"),
        (["--network.weights", "norml"], "did you mean normal"),
        (["--training.schedule", "cosin"], "did you mean cosine"),
        (["--tracking", "ofline"], "did you mean offline"),
        (["--network.name", "cifar_resnt14"], "did you mean cifar_resnet14"),
        (["--group", "outputs"], "did you mean output"),
        (["--training.decay_group", "gama"], "did you mean gamma"),
        (["--data.source", "svhn"], "^(?!.*did you mean)"),
    ],
)
def test_an_unknown_value_is_answered_with_the_nearest(argv, says):
    assert re.search(says, fails(argv))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr: 0.1", "lr is unknown, did you mean training.lr?"),
        ("batchsize: 3", "batchsize is unknown, did you mean training.batch_size?"),
        ("network: {lr: 1}", "network.lr is unknown, did you mean training.lr?"),
        ("network: {nam: x}", "network.nam is unknown, did you mean name?"),
        ("train: {lr: 1}", "train is unknown, did you mean training?"),
        ("sped: fast", "sped is unknown, did you mean speed?"),
        ("training.lr: 0.1", "training.lr is written `training: {lr: ...}` in a file"),
        ("data: {source: cifar11}", "did you mean cifar10?"),
        ("xyzzy: 1", "xyzzy is unknown"),
    ],
)
@pytest.mark.parametrize("behind", [["-c", "other.yaml", "-c"], ["-c", "other.yaml"], ["-c"]], ids=" ".join)
def test_an_unknown_key_is_answered_with_the_nearest(text, says, behind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("training: {epochs: 3}")
    said = fails([*behind, "bad.yaml"])
    assert said.startswith("bad.yaml: ") and said.endswith(says)


def test_a_name_that_two_sections_share_names_both():
    assert nearest("size", ["a.size", "b.size", "c.other"]) == ["a.size", "b.size"]
    assert nearest("sizes", ["a.size", "b.size", "c.other"]) == ["a.size", "b.size"]
    assert nearest("b-size", ["a.size", "b.size"]) == ["b.size"]


def test_files_merge_in_the_order_they_are_given_however_that_is_written(tmp_path):
    (tmp_path / "a").write_text("seed: 1\ntraining: {lr: 0.2, epochs: 5, milestones: [1, 2]}\n")
    (tmp_path / "b").write_text("training: {lr: 0.3, milestones: [3]}\n")
    (tmp_path / "c").write_text("seed: 2\n")
    a, b, c = (str(tmp_path / name) for name in "abc")
    ways = [["-c", a, "-c", b, "-c", c], ["-c", a, b, c], ["-c", a, b, "--config", c], [f"--config={a}", "-c", b, c]]
    for way in ways:
        run = parse_run(run_parser("bnonly fit", ""), way)[0]
        assert (run.seed, run.training.lr, run.training.epochs, run.training.milestones) == (2, 0.3, 5, (3.0,))
    back = parse_run(run_parser("bnonly fit", ""), ["-c", c, b, "-c", a])[0]
    assert (back.seed, back.training.lr, back.training.milestones) == (1, 0.2, (1.0, 2.0))
