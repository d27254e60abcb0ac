"""The sweep of norm_only: what it holds, which rate it picks, and that the test set is seen at that rate alone."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pandas as pd
import pytest

from analysis.figures.drawing import NoData
from analysis.figures.norm_only import accuracy_by_rate
from bnonly.cli import main
from experiments.grid import trials
from experiments.norm_only import GROUPS, RATES, RESNETS, TOKENS, cell, more


@pytest.mark.parametrize("preset", ["smoke", "cpu", "paper"])
def test_every_cell_has_every_rate_of_its_optimizer_and_no_test_set(preset, tmp_path):
    found = trials("norm_only", preset, tmp_path, [] if preset == "smoke" else ["data.path=."])
    rates: dict[tuple[str, str, str], list[float]] = {}
    for trial in found:
        assert trial.config.data.holdout > 0 and trial.config.seed == 0
        training = trial.config.training
        assert training.weight_decay == {"sgd": 1e-4, "adam": 0}[training.optimizer]
        rates.setdefault((*cell(trial), training.optimizer), []).append(training.lr)
    wanted = {(network, group, "sgd") for network in RESNETS.of(preset) for group in GROUPS.of(preset)}
    wanted |= {(network, group, "adam") for network in TOKENS.of(preset) for group in GROUPS.of(preset)}
    wanted |= {(network, group, "adam") for network in RESNETS.of(preset) for group in GROUPS.of(preset)[:-1]}
    assert {key: tuple(own) for key, own in rates.items()} == {
        key: tuple(RATES[key[-1]].of(preset)) for key in wanted
    }


def fake(lr, top1, network="vit_w128_d4_p4", group="norm", failed=False, optimizer="adam"):
    training, folder = (
        SimpleNamespace(lr=lr, optimizer=optimizer),
        SimpleNamespace(result=lambda: None if top1 is None else {"test": {"top1": top1}}, given_up=failed),
    )
    config = SimpleNamespace(training=training, data=SimpleNamespace(holdout=10), group=group)
    config.network = SimpleNamespace(name=network)
    return SimpleNamespace(config=config, folder=folder)


def rates_of(*scores, preset="cpu"):
    """What follows a sweep over these rates and accuracies, of which None is a run that failed for good."""
    found = more(preset, [fake(lr, top1, failed=top1 is None) for lr, top1 in scores])
    return [(own["training.lr"], own["data.holdout"], own["seed"]) for own in found]


def test_the_best_rate_sees_the_test_set_when_all_are_done():
    assert list(more("cpu", [fake(0.1, 0.5), fake(0.01, 0.6), fake(1, None)])) == []
    assert rates_of((0.001, 0.5), (0.003, 0.6), (0.01, 0.6)) == [(0.003, 0, seed) for seed in range(3)]
    assert rates_of((0.001, 0.5), (0.003, 0.6), (0.01, None)) == [(0.003, 0, seed) for seed in range(3)]
    assert rates_of((0.1, None)) == []


def test_beyond_the_end_of_a_sweep_there_is_another_rate_to_try():
    sweep = [(0.001, 0.3), (0.003, 0.4), (0.01, 0.5), (0.03, 0.6)]
    assert rates_of(*sweep) == [(0.1, 5000, 0)]
    assert rates_of(*sweep, (0.1, 0.5)) == [(0.03, 0, seed) for seed in range(3)]
    assert rates_of(*sweep, (0.1, 0.7)) == [(0.3, 5000, 0)]
    assert rates_of(*sweep, (0.1, 0.7), (0.3, 0.8)) == [(0.3, 0, seed) for seed in range(3)]
    assert rates_of((0.001, 0.7), *sweep[1:]) == [(0.0003, 5000, 0)]
    assert rates_of((0.003, 0.1), (0.03, 0.2), preset="smoke") == [(0.03, 0, 0)]


def test_of_two_optimizers_the_better_one_sees_the_test_set_when_both_are_done():
    def follows(*adam):
        sgd = [fake(lr, top1, optimizer="sgd") for lr, top1 in ((0.03, 0.3), (0.1, 0.5), (0.3, 0.4))]
        found = more("cpu", [*sgd, *(fake(lr, top1) for lr, top1 in adam)])
        return [(own["training.optimizer"], own["training.lr"], own["data.holdout"]) for own in found]

    assert follows((0.003, 0.4), (0.01, 0.6), (0.03, None)) == []
    assert follows((0.003, 0.4), (0.01, 0.5), (0.03, 0.6)) == [("adam", 0.1, 5000)]
    assert follows((0.003, 0.4), (0.01, 0.6), (0.03, 0.5)) == [("adam", 0.01, 0)] * 3
    assert follows((0.003, 0.3), (0.01, 0.4), (0.03, 0.3)) == [("sgd", 0.1, 0)] * 3


def test_a_whole_sweep_of_digits(tmp_path, monkeypatch):
    import experiments.norm_only as subject

    point = subject.EXPERIMENT.axes[subject._FIELDS].of("smoke")
    networks = ("cifar_resnet8_ln", "mixer_w32_d2_p2_r8")
    few = [values for values in point if values[0] in networks and values[1] == "norm"]
    monkeypatch.setitem(subject.EXPERIMENT.axes, subject._FIELDS, few)
    assert main(["experiment", "run", "norm_only", "--out", str(tmp_path), "--slots", "1"]) == 0
    found = trials("norm_only", "smoke", tmp_path)
    sweep = [trial for trial in found if trial.config.data.holdout]
    finals = [trial for trial in found if not trial.config.data.holdout]
    assert len(sweep) == 5 and len(finals) == 2
    for trial in finals:
        own = [other for other in sweep if cell(other) == cell(trial)]
        scores = {_how(other): other.folder.result()["test"]["top1"] for other in own}
        assert scores[_how(trial)] == max(scores.values())
    rows = list(csv.DictReader((tmp_path / "norm_only" / "sweep.csv").read_text().splitlines()))
    assert {row["run"] for row in rows} == {trial.id for trial in sweep}
    assert {(row["network"], row["trained"]) for row in rows} == {
        ("cifar_resnet8_ln", "672"),
        ("mixer_w32_d2_p2_r8", "320"),
    }
    assert {row["run"] for row in csv.DictReader((tmp_path / "norm_only" / "best.csv").read_text().splitlines())} == {
        trial.id for trial in finals
    }
    assert (tmp_path / "norm_only" / "norm_only.png").stat().st_size > 10_000


def _how(trial):
    return trial.config.training.optimizer, trial.config.training.lr


def test_the_figure_shows_what_the_tables_hold():
    rows = [
        {"label": label, "group": group, "seed": 0, "epochs": 3, "optimizer": "sgd", "lr": lr, "top1": top1}
        for label in ("ResNet-14", "ResNet-14, GN")
        for group, top1 in (("norm", 0.4), ("all", 0.7))
        for lr, top1 in ((0.1, top1), (0.3, top1 / 2), (1.0, None))
    ]
    sweep = pd.DataFrame(rows)
    drawing = accuracy_by_rate(sweep, sweep[sweep["lr"] == 0.1])
    first, second, _ = drawing.figure.axes[:3]
    assert [text.get_text() for text in first.get_yticklabels()] == ["ResNet-14", "ResNet-14, GN"]
    lines = {line.get_label(): line.get_ydata().tolist() for line in second.get_lines()}
    assert lines == {"norm": [0.4, 0.2], "all": [0.7, 0.35]}
    assert "12 runs of 3 epochs" in drawing.caption and "(4 failed)" in drawing.caption
    with pytest.raises(NoData):
        accuracy_by_rate(sweep.assign(top1=None), sweep)


def test_the_figure_dashes_a_second_optimizer():
    rows = [
        {"label": "ResNet-14", "group": "norm", "seed": 0, "epochs": 3, "optimizer": how, "lr": lr, "top1": lr / 2}
        for how, lr in (("sgd", 1.0), ("adam", 0.1), ("sgd", 0.3), ("adam", 0.03))
    ]
    axes = accuracy_by_rate(pd.DataFrame(rows), pd.DataFrame(rows[:1])).figure.axes[1]
    lines = {line.get_linestyle(): line.get_xdata().tolist() for line in axes.get_lines()}
    assert lines == {"-": [0.3, 1.0], "--": [0.03, 0.1]}
    assert axes.get_xlabel() == "learning rate of sgd (dashed: adam)"
