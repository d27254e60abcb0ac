"""Networks of several normalisations, each at its own best learning rate. From the runs of the experiment
`norm_only`: a sweep on training images held out, and the best rate of each cell on the test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.neighbours.kept import Kept
from analysis.neighbours.shown import Neighbour, Part, Shown, moments
from analysis.settings import shape

# What differs within a sweep, or between networks that are compared each at its best.
_SWEPT = ("training.lr", "training.optimizer", "training.weight_decay", "data.holdout")


def read(runs: Sequence[Kept]) -> pd.DataFrame | None:
    """A row a run; of one that failed for good, no accuracy. holdout: images held out, 0 if it saw the test set."""
    rows = pd.DataFrame(row for run in runs if (row := _row(run)))
    if rows.empty:
        return None
    rows["top1"] = rows["top1"].astype(float)
    names = [shape(name).label for name in rows["network"]]
    if rows["setting"].nunique() > 1:
        names = [f"{name}, {setting}" for name, setting in zip(names, rows["setting"], strict=True)]
    return rows.assign(label=names)


def _row(run: Kept) -> dict[str, Any] | None:
    """None while the run goes on."""
    config, result = run.config, run.result()
    if result is None and not run.given_up:
        return None
    return {
        "network": config.network.name,
        "group": config.group,
        "seed": config.seed,
        "epochs": config.training.epochs,
        "optimizer": config.training.optimizer,
        "lr": config.training.lr,
        "weight_decay": config.training.weight_decay,
        "holdout": config.data.holdout,
        "trained": result.trained_parameters if result else None,
        "top1": result.test.top1 if result else None,
        "train_top1": result.train.top1 if result else None,
        **run.provenance(result),
        "setting": run.setting(*_SWEPT),
    }


def show(rows: pd.DataFrame) -> Shown:
    from analysis.figures.norm_only import accuracy_by_rate

    held_out = rows["holdout"] > 0
    sweep, best = rows[held_out], rows[~held_out]
    drawing = accuracy_by_rate(sweep, best)
    said = ["setting", "label"]
    tables = {"sweep": sweep.drop(columns=said)}
    if len(best):
        tables["best"] = best.drop(columns=[*said, "holdout"])
    text = [
        "Norm trains scale and shift of every normalisation layer. Each cell, a network and a group, tries its "
        "optimizers and learning rates on training images held out; the best one alone, on all training images, sees "
        "the test set. "
        f"Trained: {', '.join(sorted(set(rows['setting'])))}."
    ]
    return Shown([Part("Accuracy and the learning rate", "norm_only", drawing)], tables, text, _cells(sweep, best))


def _cells(sweep: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """A row a network and group: its rate, and what it reaches."""
    rows = []
    for (label, group), own in sweep.groupby(["label", "group"], sort=False):
        finals = best[(best["label"] == label) & (best["group"] == group)]
        tried = own[own["top1"].notna()].sort_values(["top1", "lr"], ascending=[False, True])
        trained = pd.concat([own["trained"], finals["trained"]]).dropna()
        rows.append(
            {
                "network": label,
                "group": group,
                "trained": f"{trained.iloc[0]:,.0f}" if len(trained) else "-",
                "optimizer": tried["optimizer"].iloc[0] if len(tried) else "-",
                "best rate": f"{tried['lr'].iloc[0]:g}" if len(tried) else "-",
                "rates tried": f"{len(tried)} of {len(own)}",
                "held-out top-1, %": moments(tried["top1"].head(1), ".1f", 100),
                "test top-1, %": moments(finals["top1"], ".1f", 100),
                "n": int(finals["top1"].notna().sum()),
            }
        )
    return pd.DataFrame(rows)


NEIGHBOUR = Neighbour(
    "norm_only",
    "Other networks, norm-only",
    ("norm_only", "sweep", "best"),
    lambda experiment, files: experiment == "norm_only" and not files.isdisjoint(("result.json", "failure.json")),
    read,
    show,
)
