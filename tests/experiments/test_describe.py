"""What `bnonly experiment show` says of a grid: what is common once, what differs as a table."""

from __future__ import annotations

from experiments.command import main
from experiments.describe import lines

POINTS = [["a", 0.5, index] for index in range(9)]
FACTS = {
    "name": "one",
    "question": "Is it?",
    "expect": "Perhaps.",
    "fields": {},
    "axes": {"seed": {"smoke": [0], "cpu": [1], "paper": [1]}, "network.name, x.lr, y.lr": {"cpu": POINTS}},
    "runs": {"cpu": 9},
    "grows": True,
    "stages": [
        {"task": "fit", "options": {}},
        *({"task": "look", "options": {"size": 3, "loss": {"blocks": blocks}}} for blocks in ([1, 2], None)),
    ],
    "figures": [],
    "command": "bnonly experiment run one",
}


def test_what_points_have_in_common_is_said_once():
    text = "\n".join(lines(FACTS, whole=True))
    assert "    cpu: 9\n      network.name a, x.lr 0.5\n      lr\n      0\n" in text
    assert text.count("\n      ") == 2 + len(POINTS)
    assert "  seed:\n    smoke: 0\n    cpu, paper: 1\n" in text
    assert "  fit\n  look, 2 times\n    size 3\n    blocks\n    1 2\n    -\n" in text
    assert "cpu: 9 at first, more" in text


def test_a_long_list_is_cut_unless_all_is_wanted():
    assert "      5\n      ... and 3 more, with --preset" in "\n".join(lines(FACTS, whole=False))


def test_heads_are_short_where_they_are_clear():
    points = [["a", 0.5, 1], ["b", 0.25, 2]]
    text = "\n".join(lines(FACTS | {"axes": {"network.name, x.lr, y.lr": {"cpu": points}}}, whole=True))
    assert "      network.name  x.lr  y.lr\n      a             0.5   1\n" in text


def test_every_experiment_can_be_shown(capsys):
    assert main(["show", "bytes", "perceptual", "--preset", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert " cifar_resnet14_w4 all 0 4 sgd 0.3 " in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) < 250
