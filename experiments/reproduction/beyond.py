"""What goes past the paper: a recipe for gamma and beta alone, accuracy against bytes, filters drawn anew."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from analysis.settings import shape
from experiments.reproduction.words import mean, moments

_WAYS = {"small": "the switched-off", "random": "as many at random", "none": "none"}


def recipe(results: Path) -> list[list[str]]:
    """A row a network: test accuracy with the paper's recipe and with the one found, of the seeds that have both."""
    rows = [["network", "epochs", "n", "the paper's recipe, %", "the one found, %", "gain, points"]]
    rows[0] += ["\\|gamma\\| < 0.01, the paper's, %", "the one found, %"]
    table = _read(results / "recipe" / "finals.csv")
    for (network, epochs), own in table.groupby(["network", "epochs"], sort=False):
        papers, found = (own[own["recipe"] == name].set_index("seed") for name in ("paper", "found"))
        both = papers.index.intersection(found.index)
        papers, found = papers.loc[both], found.loc[both]
        gain = 100 * (found["top1"] - papers["top1"])
        if len(both):
            accuracies = [mean(100 * side["top1"]) for side in (papers, found)]
            shares = [mean(100 * side["gamma_below_0.01"]) for side in (papers, found)]
            rows.append([shape(str(network)).label, str(epochs), str(len(gain)), *accuracies, mean(gain), *shares])
    return rows


def choices(results: Path) -> list[list[str]]:
    """A row a choice: the values by which the search's first round fared best and worst, and what lies between."""
    rows = [["choice", "best", "worst", "accuracy between, points", "\\|gamma\\| < 0.01 between, points"]]
    table = _read(results / "recipe" / "effects.csv")
    for choice, own in table.groupby("choice", sort=False):
        ranked = own.dropna(subset="top1_mean").sort_values("top1_mean", ascending=False)
        if len(ranked) < 2:
            continue
        best, worst = ranked.iloc[0], ranked.iloc[-1]
        between = []
        for name in ("top1", "gamma_below_0.01"):
            error = math.hypot(*(side[f"{name}_standard_error"] for side in (best, worst)))
            between.append(moments(100 * (best[f"{name}_mean"] - worst[f"{name}_mean"]), 100 * error))
        rows.append([f"`{choice}`", f"`{best['value']}`", f"`{worst['value']}`", *between])
    return rows


def restored(results: Path) -> list[list[str]]:
    """A row a choice: what the recipe loses with the paper's value in its place, the greatest loss first."""
    rows = [
        ["choice", "found", "the paper's", "epochs", "n", "accuracy lost, points", "\\|gamma\\| < 0.01 more, points"]
    ]
    table = _read(results / "recipe" / "restored.csv")
    if table.empty:
        return rows
    lost = 100 * (table["found_top1"] - table["paper_top1"])
    more = 100 * (table["paper_gamma_below_0.01"] - table["found_gamma_below_0.01"])
    by = table.assign(lost=lost, more=more).groupby(["choice", "found", "paper", "epochs"], sort=False)
    for (choice, found, paper, epochs), own in sorted(by, key=lambda one: -one[1]["lost"].mean()):
        values = [f"`{choice}`", f"`{found}`", f"`{paper}`", str(epochs), str(len(own))]
        rows.append([*values, mean(own["lost"]), mean(own["more"])])
    return rows


def files(results: Path) -> list[list[str]]:
    """A row a size: the most accurate file of each side that is no larger."""
    sides = {"ours": "a seed and what trained", "bare": "the same, bare", "rival": "trained weights"}
    heads = [cell for words in sides.values() for cell in (words, "top-1, %")]
    rows = [["bytes, at most", *heads, "seed - trained", "bare - trained"]]
    for row in _read(results / "bytes" / "frontier.csv").to_dict("records"):
        cells = [
            cell
            for side in sides
            for cell in (("", "") if pd.isna(row[side]) else (row[side], f"{100 * row[f'{side}_top1']:.1f}"))
        ]
        more = [row[f"{side}_better_by_points"] for side in ("ours", "bare")]
        rows.append([f"{row['at_most_bytes']:,}", *cells, *("" if pd.isna(own) else f"{own:+.1f}" for own in more)])
    return rows


def regrow(results: Path) -> list[list[str]]:
    """A row a network and stage: test accuracy by which filters were drawn anew before it."""
    rows = [["network", "epochs", "trains", "n", "drawn anew", *(f"{words}, %" for words in _WAYS.values())]]
    table = _read(results / "regrow" / "regrow.csv")
    for (network, _, trained, epochs), own in table.groupby(["network", "stage", "trained", "epochs"], sort=False):
        by = {way: own[own["way"] == way] for way in _WAYS}
        drawn = by["small"]["redrawn"]
        rows.append(
            [
                shape(str(network)).label,
                str(epochs),
                f"`{trained}`",
                str(own["seed"].nunique()),
                f"{drawn.mean():.0f}" if len(drawn) else "",
                *(mean(100 * part["top1"]) if len(part) else "" for part in by.values()),
            ]
        )
    return rows


def _read(path: Path) -> pd.DataFrame:
    """A table; one without rows where there is none, which has the columns that rows are grouped by."""
    if path.exists():
        return pd.read_csv(path)
    return pd.DataFrame(columns=["network", "epochs", "choice", "stage", "trained"])
