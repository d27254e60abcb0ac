"""Runs of the paper's schedule beside the paper's figures and the statements of the slides."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.published import CIFAR10
from analysis.settings import PAPER_EPOCHS, shape
from experiments.reproduction.words import mean, moments, verdict

TOLERANCE = 1.5
"""Points either way within which a mean agrees with a figure tagged V or D."""
SMALL = (20.0, 30.0)
"""The slides: percent of the gammas below 0.01 in magnitude, bn trained."""
OFF = (20.0, 40.0)
"""The slides: percent of all activations that are switched off."""
NOTHING = 0.5
"""Points of accuracy: one standard error of a share of 10,000 images. What costs less costs nothing here."""
_WORKING = 0.01


def runs(results: Path) -> pd.DataFrame:
    """Every finished run of the paper's schedule, each once."""
    tables = [pd.read_csv(path) for path in sorted((results / "paper").glob("*/runs.csv"))]
    if not tables:
        return pd.DataFrame()
    every = pd.concat(tables, ignore_index=True).drop_duplicates("id")
    return every[(every["epochs"] == PAPER_EPOCHS) & (every["source"] == "cifar10") & (every["state"] == "done")]


def accuracy(results: Path) -> list[list[str]]:
    """A row a network and group: ours, the paper's with its tag, the difference, a verdict."""
    every = runs(results)
    rows = [["network", "group", "n", "ours, %", "paper, %", "ours - paper", "verdict"]]
    if every.empty:
        return rows
    every = every[every["papers_recipe"].astype(bool)]
    papers = {(shape(point.network).label, point.group): point for point in CIFAR10}
    for (label, group), own in every.groupby(["label", "group"], sort=False):
        top1, point = 100 * own["top1"], papers.get((str(label), str(group)))
        row = [str(label), f"`{group}`", str(len(own)), mean(top1)]
        if point is None:
            rows.append([*row, "no figure known", "", ""])
            continue
        more = float(top1.mean()) - point.percent
        word = "agrees" if abs(more) <= TOLERANCE else "differs"
        rows.append([*row, f"{point.percent:.1f} [{point.tag}]", f"{more:+.1f}", word])
    return rows


def sparsity(results: Path) -> list[list[str]]:
    """A row a network and group: the share of |gamma| < 0.01."""
    rows = [["network", "group", "n", "share of \\|gamma\\| < 0.01, %", "20 to 30 %?"]]
    every = runs(results)
    if every.empty:
        return rows
    own = every[every["group"].isin(["bn", "bn+output", "all"]) & every["papers_recipe"].astype(bool)]
    for (label, group), part in own.groupby(["label", "group"], sort=False):
        share = 100 * part["gamma_below_0.01"]
        word = verdict(share.mean(), share.std(), len(share), *SMALL) if group == "bn" else ""
        rows.append([str(label), f"`{group}`", str(len(part)), mean(share), word])
    return rows


def clamping(results: Path) -> list[list[str]]:
    """A row a network, group and threshold: accuracy lost by |gamma| below it set to 0."""
    rows = [
        ["network", "group", "n", "threshold", "gammas set to 0, %", "accuracy after, %", "points lost", "nothing?"]
    ]
    path = results / "paper" / "clamp" / "clamp_curves.csv"
    if not path.exists():
        return rows
    table = pd.read_csv(path)
    for part in table[table["way"] == "below"].sort_values(["label", "group", "amount"]).to_dict("records"):
        lost, sd = 100 * part["lost"], 100 * part["lost_sd"]
        claimed = part["amount"] == _WORKING
        rows.append(
            [
                part["label"],
                f"`{part['group']}`",
                str(part["n"]),
                f"{part['amount']:g}",
                f"{100 * part['share']:.1f}",
                moments(100 * part["mean"], 100 * part["sd"]),
                moments(lost, sd, 2),
                verdict(lost, sd, part["n"], -NOTHING, NOTHING) if claimed else "",
            ]
        )
    return rows


def zeros(results: Path) -> list[list[str]]:
    """A row a network and group: ReLU outputs that are 0, and channels that are off."""
    heads = ["outputs that are 0, %", "20 to 40 %?", "channels off on every image, %", "on 99 of 100, %"]
    rows = [["network", "group", "n", *heads]]
    path = results / "paper" / "gamma_sparsity" / "relu_zeros.csv"
    if not path.exists():
        return rows
    table = pd.read_csv(path)
    for (label, group), own in table.groupby(["label", "group"], sort=False):
        by = {row["measure"]: row for row in own.to_dict("records")}
        shown = [
            moments(100 * by[name]["mean"], 100 * by[name]["sd"]) if name in by else ""
            for name in ("zero_outputs", "off", "mostly_off_0.99")
        ]
        count = str(max(row["n"] for row in by.values()))
        word = ""
        if outputs := by.get("zero_outputs"):
            word = verdict(100 * outputs["mean"], 100 * outputs["sd"], outputs["n"], *OFF)
        rows.append([str(label), f"`{group}`", count, shown[0], word, *shown[1:]])
    return rows
