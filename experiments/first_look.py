"""What do the groups of a random ResNet-14 reach on CIFAR-10 in ten epochs, and bn in thirty?

    python -m experiments.first_look --data CIFAR10 [--out runs]

The paper's recipe with its milestones scaled to 5 and 7.5 (15 and 22.5) epochs, seed 0, float32, channels_last. Runs
that are finished are kept, an interrupted one goes on. Writes experiments/results/first_look.csv, a row an epoch
count and group, and the figure beside it.

Expect the order of the paper's figures at 160 epochs: all > bn+output > bn, and output alone and random:2 below bn;
the numbers themselves belong to a much shorter schedule and are no reproduction.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

from bnonly.config import RunConfig
from bnonly.files import write_atomically
from bnonly.runs import RunFolder

GRID = [("bn", 10), ("output", 10), ("bn+output", 10), ("random:2", 10), ("all", 10), ("bn", 30)]
TABLE = Path(__file__).parent / "results" / "first_look.csv"
CURVES, HISTOGRAMS = [("bn", 10), ("output", 10), ("bn+output", 10), ("random:2", 10), ("all", 10)], ["bn", "all"]

# ResNet-14, CIFAR-10, 160 epochs: digitised from the paper's figure, so tagged [D]. The paper's v1 has no curve for
# the other groups of this table.
PAPER = {"bn": ("48.2", "D"), "all": ("90.4", "D")}


def config(group: str, epochs: int, data: Path, out: Path) -> RunConfig:
    return RunConfig.model_validate(
        {
            "experiment": "first_look",
            "out": out,
            "group": group,
            "network": {"name": "cifar_resnet14"},
            "data": {"source": "cifar10", "path": data},
            "training": {"epochs": epochs, "memory_format": "channels_last"},
            "tracking": "off",
        }
    )


def row(run: RunConfig) -> dict[str, Any] | None:
    """A finished run as a line of the table; None while it is not finished."""
    result = RunFolder.of(run).result()
    if result is None:
        return None
    environment, training = result["environment"], result["config"]["training"]
    paper, tag = PAPER.get(run.group, ("", ""))
    return {
        "network": run.network.name,
        "group": run.group,
        "seed": run.seed,
        "epochs": training["epochs"],
        "schedule": f"lr {training['lr']} x{training['lr_factor']} at {training['milestones']}",
        "trained_parameters": result["trained_parameters"],
        "test_top1_percent": round(100 * result["test"]["top1"], 2),
        "test_top5_percent": round(100 * result["test"]["top5"], 2),
        "test_loss": round(result["test"]["loss"], 4),
        "train_top1_percent": round(100 * result["train"]["top1"], 2),
        "gamma_below_0.01_percent": round(100 * result["gamma"]["below"][1], 2),
        "paper_top1_percent_160_epochs": paper,
        "paper_tag": tag,
        "dtype": training["precision"],
        "memory_format": training["memory_format"],
        "device": f"{environment['device']} ({environment['device_name']}, {environment['cpu_capability']})",
        "threads": environment["threads"],
        "train_seconds": result["train_seconds"],
        "torch": environment["torch"],
        "lightning": environment["lightning"],
        "numpy": environment["numpy"],
        "git": environment["git"],
        "finished": result["finished"],
        "run": result["id"],
        "command": "python -m experiments.first_look --data CIFAR10",
    }


def draw(runs: list[RunConfig], path: Path) -> None:
    """Accuracy over the ten epochs by group, and gamma at the start and the end. Needs the ten-epoch runs."""
    from analysis import figures, tables

    short = {run.group: RunFolder.of(run) for run in runs if (run.group, run.training.epochs) in CURVES}
    histograms = {"as drawn": tables.gammas(short["bn"], 0)}
    histograms |= {f"{group}, 10 epochs": tables.gammas(short[group], 10) for group in HISTOGRAMS}
    long = next(run for run in runs if (run.group, run.training.epochs) == ("bn", 30))
    histograms["bn, 30 epochs"] = tables.gammas(RunFolder.of(long), 30)
    figures.accuracy_and_gamma(tables.curves(short.values()), histograms).savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="CIFAR-10: its tarball, its folder, or an image folder"
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where the runs are kept (default: runs)")
    parser.add_argument("--table", type=Path, default=TABLE, help="the table to write")
    arguments = parser.parse_args()
    from bnonly.training.fit import fit
    from bnonly.training.terminal import Terminal

    runs = [config(group, epochs, arguments.data, arguments.out) for group, epochs in GRID]
    for run in runs:
        with Terminal(run) as terminal:
            fit(run, (terminal,))
        write_table([line for line in map(row, runs) if line is not None], arguments.table)
    draw(runs, arguments.table.with_suffix(".png"))


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


if __name__ == "__main__":
    main()
