"""What the search for a recipe found, as tables, a figure, and a file that `bnonly fit -c` takes. Without torch.

search.csv: a row a run of the search, judged on held-out images; of a run that failed for good, no accuracy.
effects.csv: a row a value of each choice, over the runs of the first round: means with their standard errors, and how
many failed, which the means leave out. finals.csv: a row a run that is to see the test set.
restored.csv: a row a seed and a choice of the recipe that is left, with the paper's value put back. recipe.yaml: the
recipe that is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import yaml

from analysis.neighbours.kept import provenance
from analysis.rows import below
from bnonly.config.layers import nested
from experiments.grid import Trial
from experiments.ranking import ranked
from experiments.recipe import CHOICES, PAPERS, Recipe, is_restored, point, recipe_of, searched


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name; none where no run is done."""
    from analysis.figures import csv
    from analysis.figures.recipe import effects as drawn

    rows = pd.DataFrame(row for trial in trials if not is_restored(trial) and (row := _row(trial, command)))
    numbers = ["top1", "train_top1", "gamma_below_0.01"]
    if rows.empty:
        return {}
    rows[numbers] = rows[numbers].astype(float)
    held_out = rows["holdout"] > 0
    search, finals = rows[held_out], rows[~held_out].drop(columns="holdout")
    found: dict[str, bytes] = {}
    if len(search):
        table = effects(search[search["epochs"] == search["epochs"].min()])
        drawing = drawn(table)
        found |= {"search.csv": csv(search), "effects.csv": csv(table), **drawing.files("effects")}
    if len(finals):
        papers = (finals[list(CHOICES)] == pd.Series(_words(PAPERS))).all(axis=1)
        found["finals.csv"] = csv(finals.assign(recipe=papers.map({True: "paper", False: "found"})))
    if len(table := restored(trials, command)):
        found["restored.csv"] = csv(table)
    if (left := _left(trials)) is not None:
        fields = {name: value for name, value in left.items() if name not in ("training.epochs", "training.average")}
        share = recipe_of(_last(trials)[0].config)["training.average"]
        say = f"# Found by {command}, for gamma and beta alone.\n"
        say += f"# training.average: {share:g} of the epochs.\n" if share else ""
        found["recipe.yaml"] = (say + yaml.safe_dump(nested(fields), sort_keys=False)).encode()
    return found


def effects(search: pd.DataFrame) -> pd.DataFrame:
    """By value of each choice: runs, mean held-out accuracy and share of |gamma| < 0.01, standard errors of both."""
    rows = []
    for choice, values in CHOICES.items():
        for value in (_words({choice: value})[choice] for value in values):
            if (own := search[search[choice] == value]).empty:
                continue
            row: dict[str, Any] = {"choice": choice, "value": value, "runs": len(own)}
            row["failed"] = int(own["top1"].isna().sum())
            for name in ("top1", "gamma_below_0.01"):
                row |= {f"{name}_mean": own[name].mean(), f"{name}_standard_error": own[name].sem()}
            rows.append(row)
    return pd.DataFrame(rows).assign(epochs=search["epochs"].iloc[0], command=search["command"].iloc[0])


def restored(trials: Sequence[Trial], command: str) -> pd.DataFrame:
    """By choice and seed: accuracy, of held-out images, and sparsity with the recipe that is left, and with the
    paper's value of that choice in it. Of the seeds that have both."""
    runs = [trial for trial in trials if is_restored(trial) and trial.folder.result() is not None]
    last, rows = _last(trials), []
    left = recipe_of(last[0].config) if last else {}
    whole = {trial.config.seed: trial for trial in runs if recipe_of(trial.config) == left}
    for trial in runs:
        own, result = recipe_of(trial.config), trial.folder.result()
        changed = [name for name, value in left.items() if own[name] != value]
        if len(changed) != 1 or (beside := whole.get(trial.config.seed)) is None:
            continue
        (name,) = changed
        row: dict[str, Any] = {"choice": name, "found": _words(left)[name], "paper": _words(own)[name]}
        row |= {"seed": trial.config.seed, "epochs": trial.config.training.epochs}
        for side, each in (("found", beside.folder.result()), ("paper", result)):
            assert each is not None
            row |= {f"{side}_top1": each["test"]["top1"], f"{side}_gamma_below_0.01": below(each["gamma"])}
        rows.append(row | provenance(trial.config, result, command))
    return pd.DataFrame(rows)


def _row(trial: Trial, command: str) -> dict[str, Any] | None:
    """None while the run goes on."""
    config, result = trial.config, trial.folder.result()
    if result is None and not trial.folder.given_up:
        return None
    nothing = {"top1": None}
    found = result or {"test": nothing, "train": nothing, "gamma": None}
    return {
        "network": config.network.name,
        "seed": config.seed,
        "epochs": config.training.epochs,
        "holdout": config.data.holdout,
        **_words(recipe_of(config)),
        "top1": found["test"]["top1"],
        "train_top1": found["train"]["top1"],
        "gamma_below_0.01": below(found["gamma"]),
        **provenance(config, result, command),
    }


def _words(recipe: Recipe) -> dict[str, str]:
    texts = {name: value if isinstance(value, tuple) else (value,) for name, value in recipe.items()}
    return {name: ", ".join(map(str, values)) for name, values in texts.items()}


def _last(trials: Sequence[Trial]) -> list[Trial]:
    """The search's last round as it stands, the best first; empty while one is not done."""
    rounds = searched(trials)
    return (ranked(rounds[-1]) if rounds else None) or []


def _left(trials: Sequence[Trial]) -> dict[str, Any] | None:
    """The fields of the recipe that is left, once runs have seen the test set."""
    if all(trial.config.data.holdout for trial in trials) or not (last := _last(trials)):
        return None
    return point(recipe_of(last[0].config), 1)
