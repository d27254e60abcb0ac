"""The report's words and tables: what is there, what is missing or failed, and how each number was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import published
from analysis.figures.drawing import over_seeds
from analysis.frames import Frames
from analysis.page import Section
from analysis.settings import PAPER_EPOCHS
from analysis.wording import count, number, percent

_WHO = ["family", "depth", "width", "label", "network", "group", "setting"]
_MOST_LISTED, _MOST_LOGS, _LOG_LINES = 50, 10, 30
_STATES = {
    "done": "finished",
    "running": "begun, not finished (going on or stopped)",
    "failed": "failed",
    "waiting": "not begun",
}
_TAGS = "[D]: digitised from a figure, about half a point either way. [V]: verified in the source named."


def lead(frames: Frames) -> str:
    """How many runs of what, in a sentence or two."""
    if frames.runs.empty:
        return "No run of its own: trials of other experiments alone."
    counts = frames.runs["state"].value_counts()
    states = ", ".join(f"{counts[state]:,} {word}" for state, word in _STATES.items() if state in counts)
    experiments = ", ".join(sorted(set(frames.runs["experiment"])))
    held = frames.runs["evaluated"] == "holdout"
    images = "All accuracies are those of test images."
    if held.any():
        which = "All runs were" if held.all() else "1 run was" if held.sum() == 1 else f"{held.sum():,} runs were"
        images = f"{which} evaluated on training images held out (data.holdout)"
        images += ", not on test images." if held.all() else "; all other accuracies are those of test images."
    return f"{len(frames.runs):,} runs: {states}. Experiments: {experiments}. {images}"


def opening(frames: Frames) -> Section:
    """What was asked, and means and deviations by network, group and setting."""
    text = [
        f"{row['experiment']} ({row['preset']}): {row['question']}"
        + (f" Expected: {row['expect']}" * bool(row["expect"]))
        for row in frames.grids.to_dict("records")
        if row["question"]
    ]
    text.append(
        "Mean ± one sample standard deviation over seeds, of finished runs. Runs are averaged only where all that "
        "decides numbers is equal but the seed; a short schedule stands under its own number of epochs."
    )
    table = by_group(frames)
    if table.empty:
        return Section("Results", text, absent=["Missing: no run is finished yet, so there is no mean of any."])
    shown = pd.DataFrame(
        {
            "network": table["label"],
            "group": table["group"],
            "setting": table["setting"],
            "trained": table["trained_parameters"].map(count),
            "n": table["n"],
            "test top-1": [percent(mean, sd) for mean, sd in zip(table["mean"], table["sd"], strict=True)],
            "paper, 160 epochs": [
                f"{points:.1f} % [{tag}]" if tag else "-"
                for points, tag in zip(table["paper_percent"], table["paper_tag"], strict=True)
            ],
            "|gamma| < 0.01": table["gamma_below_0.01"].map(percent),
            "minutes": table["minutes"].map(lambda minutes: number(minutes, ".1f")),
        }
    )
    return Section("Results", [*text, _TAGS] if table["paper_tag"].any() else text, table=shown)


def missing(frames: Frames, lacking: Mapping[str, str]) -> Section:
    """What the grids asked for and is not there, and the figures there is no data for.

    lacking: why, by the heading of the figure.
    """
    absent, details = [], []
    for row in frames.grids.to_dict("records"):
        name, preset = row["experiment"], row["preset"]
        if row["done"] < row["trials"]:
            states = ", ".join(
                f"{row[state]} {_STATES[state]}" for state in ("running", "failed", "waiting") if row[state]
            )
            absent.append(
                f"{name} ({preset}): {row['trials'] - row['done']} of {row['trials']} trials have no result: "
                f"{states}. `bnonly experiment run {name} --preset {preset}` goes on."
            )
    stages = frames.missing[frames.missing["stage"] != "fit"]
    for stage, rows in stages.groupby("stage"):
        absent.append(f"{len(rows)} finished runs lack the stage {stage}: `bnonly {stage} RUN` does it.")
    if len(frames.missing):
        table = frames.missing.rename(columns={"id": "run"})
        listed = table.head(_MOST_LISTED).reset_index(drop=True)
        more = f", the first {_MOST_LISTED} of {len(table)}" if len(table) > _MOST_LISTED else ""
        details.append((f"What is missing, one by one{more}", listed))
    unfinished = frames.runs[frames.runs["state"] == "running"]
    text = [
        f"Begun and not finished: {row['label'] or 'unknown network'}, {row['group'] or 'unknown group'}, seed "
        f"{row['seed'] or '?'}, {row['setting']}: " + _so_far(row)
        for row in unfinished.head(_MOST_LISTED).to_dict("records")
    ]
    absent += [f"{heading}: {why}." for heading, why in lacking.items()]
    absent += [f"{note}." for note in frames.notes]
    if not absent and not text:
        text = ["Nothing: every run that was begun or asked for is finished, and every figure has its data."]
    return Section("What is missing", text, absent=absent, details=details)


def _so_far(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["epoch"]):  # type: ignore[arg-type]
        return "no epoch ended yet."
    return f"epoch {row['epoch']:.0f} of {number(row['epochs'], '.0f')}, {percent(row['top1'])} so far."


def runs(frames: Frames) -> Section:
    """The table of runs, to unfold; their means stand at the top of the page."""
    rows = frames.runs
    shown = pd.DataFrame(
        {
            "run": rows["id"],
            "experiment": rows["experiment"],
            "network": rows["label"],
            "group": rows["group"],
            "seed": rows["seed"],
            "setting": rows["setting"],
            "state": rows["state"],
            "epoch": rows["epoch"].map(lambda epoch: number(epoch, ".0f")),
            "top-1": rows["top1"].map(lambda share: percent(share, digits=2)),
            "top-5": rows["top5"].map(lambda share: percent(share, digits=2)),
            "loss": rows["loss"].map(lambda loss: number(loss, ".3f")),
            "|gamma| < 0.01": rows["gamma_below_0.01"].map(percent),
            "trained": rows["trained_parameters"].map(count),
            "minutes": rows["minutes"].map(lambda minutes: number(minutes, ".1f")),
            "images/s": rows["images_per_second"].map(lambda speed: number(speed, ",.0f")),
            "device": rows["device_name"],
        }
    )
    text = ["Loss is cross-entropy in nats. Of a run that is not finished the last epoch's numbers are shown."]
    return Section("Runs", text, details=[(f"All {len(rows):,} runs", shown)])


def failed(frames: Frames) -> Section:
    """Runs that failed, by reason, with the last lines of their logs."""
    table, rows = failures(frames), frames.runs[frames.runs["state"] == "failed"]
    if table.empty:
        return Section("Failures", ["None: no run has a failure.json."])
    logs = [
        (f"Log of {row['id']}", "\n".join(row["log"].splitlines()[-_LOG_LINES:]))
        for row in rows.to_dict("records")
        if row["log"].strip()
    ]
    return Section(
        "Failures",
        [
            f"{len(rows)} {'run' if len(rows) == 1 else 'runs'} failed; "
            "`bnonly experiment run NAME --only-failed` tries them once more."
        ],
        table=table.head(_MOST_LISTED),
        details=logs[:_MOST_LOGS],
    )


def provenance(frames: Frames) -> Section:
    """How the numbers were made: schedules, versions, devices, and where the paper's points come from."""
    used = frames.runs[frames.runs["state"] != "waiting"]
    by = ["setting", "schedule", "epochs", "source", "papers_recipe"]
    schedules = used.groupby(by, dropna=False).size().rename("runs").reset_index()
    schedules["the paper's"] = [_papers(row) for row in schedules.to_dict("records")]
    text = [
        "A setting names the data, the number of epochs, precision other than fp32, and every field of the "
        f"configuration that is not the paper's recipe. The paper's schedule is {PAPER_EPOCHS} epochs; of any other "
        "number the recipe's milestones are scaled, and its accuracies are no reproduction.",
        "Runs on another device, number of threads, memory format or version are averaged together, since they "
        "differ by rounding alone; the table below says which there were.",
        f"The paper's points: {published.CIFAR10[0].source} (Frankle, Schwab, Morcos: Training BatchNorm and Only "
        f"BatchNorm, ICLR 2021). {_TAGS}",
    ]
    points = paper()
    return Section(
        "How every number was made",
        text,
        table=schedules[["setting", "schedule", "the paper's", "runs"]],
        details=[
            ("Versions and devices", _worded(made_with(frames))),
            ("The paper's points on this page", points.assign(percent=points["percent"].map("{:.1f}".format))),
        ],
    )


def footer(frames: Frames, made: str) -> str:
    finished = frames.runs["finished"].max() if len(frames.runs) else ""
    newest = f"The newest run finished at {finished}. " if finished else ""
    return f"{newest}This page was made at {made} by bnonly report, and holds all that it shows."


def by_group(frames: Frames) -> pd.DataFrame:
    """A row a network, group and setting: mean and deviation of top-1, n, and the paper's point beside its recipe."""
    done = frames.done
    stats = over_seeds(done, _WHO, "top1")
    others = done.groupby(_WHO, dropna=False, observed=True)[
        ["trained_parameters", "gamma_below_0.01", "minutes", "papers_recipe"]
    ].mean()
    table = stats.merge(others.reset_index(), on=_WHO)
    points = [
        published.cifar10(network, group) if recipe else None
        for network, group, recipe in zip(table["network"], table["group"], table["papers_recipe"], strict=True)
    ]
    table["paper_percent"] = [point.percent if point else float("nan") for point in points]
    table["paper_tag"] = [point.tag if point else "" for point in points]
    table["paper_note"] = [point.note if point else "" for point in points]
    return table.drop(columns="papers_recipe")


def curves(frames: Frames) -> pd.DataFrame:
    """Every epoch of every run, with the run's names in front."""
    names = frames.runs[["key", "id", "experiment", "network", "group", "seed", "setting", "state"]]
    return names.merge(frames.curves, left_on="key", right_on="run").drop(columns=["key", "run"])


def failures(frames: Frames) -> pd.DataFrame:
    """A row a failed run: what, why, how often it was tried."""
    rows = frames.runs[frames.runs["state"] == "failed"]
    names = {"id": "run", "label": "network", "group": "group", "seed": "seed", "setting": "setting"}
    table = rows[[*names, "kind", "reason", "attempts", "last"]].rename(columns=names)
    return table.assign(attempts=table["attempts"].map(lambda tries: number(tries, ".0f"))).reset_index(drop=True)


def made_with(frames: Frames) -> pd.DataFrame:
    """A row a combination of versions and device, with the number of runs."""
    names = ["bnonly", "git", "python", "torch", "lightning", "numpy", "device", "device_name", "threads"]
    names += ["precision", "memory_format", "engine"]
    done = frames.runs[frames.runs["state"] == "done"]
    return done.groupby(names, dropna=False).size().rename("runs").reset_index()


def paper() -> pd.DataFrame:
    """The paper's points, each with its tag and source."""
    return pd.DataFrame([vars(point) for point in published.CIFAR10])


def _papers(row: Mapping[Any, Any]) -> str:
    if row["source"] != "cifar10":
        return "other data"
    if not row["papers_recipe"]:
        return "another recipe"
    return "yes" if row["epochs"] == PAPER_EPOCHS else "its recipe, scaled"


def _worded(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={name: str(name).replace("_", " ") for name in table})
