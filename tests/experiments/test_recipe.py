"""The search for a recipe: what it draws, what follows from what, and what it leaves."""

from __future__ import annotations

import csv
import json
from collections import Counter
from types import SimpleNamespace

from bnonly.cli import main
from bnonly.config.layers import read_yaml, validated
from experiments.grid import PRESETS, trials
from experiments.ranking import ranked
from experiments.recipe import (
    CHOICES,
    PAPERS,
    RESTORED,
    ROUNDS,
    combined,
    drawn,
    is_restored,
    point,
    recipe_of,
    searched,
)


def test_recipes_are_the_same_every_time_and_the_papers_first():
    recipes = list(drawn(27))
    assert recipes == list(drawn(27)) and recipes[0] == PAPERS
    assert len({json.dumps(recipe) for recipe in recipes}) == 27
    for name, values in CHOICES.items():
        often = Counter(recipe[name] for recipe in recipes[1:])
        assert often.keys() == set(values) and max(often.values()) - min(often.values()) <= 1


def test_runs_with_a_choice_put_back_are_told_from_the_rounds_by_their_epochs():
    for preset in PRESETS:
        assert RESTORED.of(preset)[-1] not in {epochs for other in PRESETS for _, epochs in ROUNDS.of(other)}


def test_a_run_gives_its_recipe_back():
    for recipe in drawn(9):
        for epochs in (3, 9, 27):
            config = validated({"point": _nested(point(recipe, epochs)), "data": {"data": {"source": "cifar10"}}})
            assert recipe_of(config) == recipe and config.training.epochs == epochs


def test_the_papers_recipe_is_that_of_a_run_without_any():
    config = validated({"": {"data": {"source": "cifar10"}}})
    assert config.id == validated({"": _nested(point(PAPERS, 160)), "data": {"data": {"source": "cifar10"}}}).id


def test_a_recipe_is_put_together_from_the_best_value_of_each_choice():
    def trial(top1, **changed):
        config = validated({"": _nested(point({**PAPERS, **changed}, 10)), "data": {"data": {"source": "cifar10"}}})
        return SimpleNamespace(config=config, folder=SimpleNamespace(result=lambda: {"test": {"top1": top1}}))

    found = [
        trial(0.5, **{"network.beta": "ones"}),
        trial(0.2, **{"network.beta": "ones", "data.flip": False, "training.optimizer, training.lr": ("adam", 0.1)}),
        trial(0.4, **{"training.optimizer, training.lr": ("adam", 0.1)}),
        trial(0.15),
    ]
    assert combined(found) == {**PAPERS, "network.beta": "ones"}
    assert combined(found[2:]) == {**PAPERS, "training.optimizer, training.lr": ("adam", 0.1)}


def test_the_search_goes_on_by_what_it_finds(tmp_path, capsys):
    assert main(["experiment", "run", "recipe", "--out", str(tmp_path), "--slots", "1"]) == 0
    found = trials("recipe", "smoke", tmp_path)
    first, second = searched(found)
    (count, epochs), (left, longer) = ROUNDS.of("smoke")
    assert [len(first), len(second)] == [count, left]
    assert {t.config.training.epochs for t in first} == {epochs} and second[0].config.training.epochs == longer
    best = ranked(first)
    assert best is not None
    scores = [trial.folder.result()["test"]["top1"] for trial in best]
    assert scores == sorted(scores, reverse=True)
    recipes = [recipe_of(trial.config) for trial in best]
    joins = combined(best) if combined(best) != recipes[0] else recipes[1]
    assert [recipe_of(trial.config) for trial in second] == [recipes[0], joins]
    winner = recipe_of((ranked(second) or second)[0].config)
    finals = [trial for trial in found if not trial.config.data.holdout]
    assert [recipe_of(trial.config) for trial in finals] == ([PAPERS, winner] if winner != PAPERS else [PAPERS])
    capsys.readouterr()
    assert main(["experiment", "status", "recipe", "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["done"] == len(found)

    folder = tmp_path / "recipe"
    effects = list(csv.DictReader((folder / "effects.csv").read_text().splitlines()))
    assert sum(int(row["runs"]) for row in effects) == count * len(CHOICES)
    search = csv.DictReader((folder / "search.csv").read_text().splitlines())
    assert [row["run"] for row in search] == [trial.id for trial in (*first, *second)]
    kinds = {row["run"]: row["recipe"] for row in csv.DictReader((folder / "finals.csv").read_text().splitlines())}
    assert kinds == {trial.id: "paper" if recipe_of(trial.config) == PAPERS else "found" for trial in finals}
    changed = [name for name in RESTORED.of("smoke")[0] if winner[name] != PAPERS[name]]
    again = [trial for trial in found if is_restored(trial)]
    assert [recipe_of(trial.config) for trial in again] == [winner, *(winner | {n: PAPERS[n]} for n in changed)]
    if changed:
        rows = list(csv.DictReader((folder / "restored.csv").read_text().splitlines()))
        assert [row["choice"] for row in rows] == changed
        scores = [trial.folder.result()["test"]["top1"] for trial in again]
        assert {float(row["found_top1"]) for row in rows} == {scores[0]}
        assert [float(row["paper_top1"]) for row in rows] == scores[1:]
    again = validated({"found": read_yaml(folder / "recipe.yaml"), "more": {"training": {"epochs": 2}}})
    assert recipe_of(again) | {"training.average": 0} == dict(winner) | {"training.average": 0}


def _nested(fields):
    from bnonly.config.layers import nested

    return nested(fields)
