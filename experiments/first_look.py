"""What do the groups of a random ResNet-14 reach on CIFAR-10 in ten epochs, and bn in thirty?

    python -m experiments.first_look [--data CIFAR10] [--out runs]

The paper's recipe with its milestones scaled to 5 and 7.5 (15 and 22.5) epochs, seed 0, float32, channels_last. Runs
that are finished are kept, an interrupted one goes on. Writes experiments/results/first_look.csv, a row an epoch
count and group, and the figure beside it.

Expect the order of the paper's figures at 160 epochs: all > bn+output > bn, and output alone and random:2 below bn;
the numbers themselves belong to a much shorter schedule and are no reproduction.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import published
from bnonly.config import RunConfig
from bnonly.config.layers import validated
from bnonly.errors import guarded
from bnonly.files import write_atomically
from bnonly.runs import RunFolder
from experiments.tables import write_table

GRID = [("bn", 10), ("output", 10), ("bn+output", 10), ("random:2", 10), ("all", 10), ("bn", 30)]
TABLE = Path(__file__).parent / "results" / "first_look.csv"
README = Path(__file__).parents[1] / "README.md"


def config(group: str, epochs: int, data: Path | None, out: Path) -> RunConfig:
    return validated(
        {
            "this experiment": {
                "experiment": "first_look",
                "out": out,
                "group": group,
                "network": {"name": "cifar_resnet14"},
                "data": {"source": "cifar10", "path": data},
                "training": {"epochs": epochs, "memory_format": "channels_last"},
                "tracking": "off",
            }
        }
    )


def row(run: RunConfig) -> dict[str, Any] | None:
    """A finished run as a line of the table; None while it is not finished."""
    result = RunFolder.of(run).result()
    if result is None:
        return None
    environment, training = result["environment"], result["config"]["training"]
    paper = published.cifar10(run.network.name, run.group)
    return {
        "network": run.network.name,
        "group": run.group,
        "seed": run.seed,
        "epochs": training["epochs"],
        "schedule": f"lr {training['lr']} x{training['lr_factor']} at {training['milestones']}",
        "trained_parameters": result["trained_parameters"],
        "test_top1_percent": round(100 * result["test"]["top1"], 2),
        "test_top5_percent": round(100 * result["test"]["top5"], 2),
        "test_loss": result["test"]["loss"],
        "train_top1_percent": round(100 * result["train"]["top1"], 2),
        "gamma_below_0.01_percent": round(100 * result["gamma"]["below"][1], 2),
        "paper_top1_percent_160_epochs": paper.percent if paper else "",
        "paper_tag": paper.tag if paper else "",
        "paper_source": "; ".join(filter(None, (paper.source, paper.note))) if paper else "",
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
    """Accuracy over the ten epochs by group, and gamma at the start and at the ends."""
    from analysis import figures, tables

    by_name = {(run.group, run.training.epochs): RunFolder.of(run) for run in runs}
    histograms = {"as drawn": tables.gammas(by_name["bn", 10], 0)}
    for group, epochs in (("bn", 10), ("bn", 30), ("all", 10)):
        histograms[f"{group}, {epochs} epochs"] = tables.gammas(by_name[group, epochs], epochs)
    short = [folder for (_, epochs), folder in by_name.items() if epochs == 10]
    figures.accuracy_and_gamma(tables.curves(short), histograms).savefig(path, dpi=130)


def readme_block(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as the README shows it, from the rows of the CSV file."""
    lines = [
        "| group | epochs | trained | test top-1 | \\|gamma\\| < 0.01 | paper, 160 epochs |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for line in rows:
        tag, percent = line["paper_tag"], line["paper_top1_percent_160_epochs"]
        paper = f"{percent} [{tag}]" if tag else "-"
        lines.append(
            f"| `{line['group']}` | {line['epochs']} | {int(line['trained_parameters']):,} "
            f"| {float(line['test_top1_percent']):.1f} % | {float(line['gamma_below_0.01_percent']):.1f} % "
            f"| {paper} |"
        )
    return "\n".join(lines)


def update_readme(rows: Sequence[Mapping[str, Any]], path: Path = README) -> None:
    """Put the table between its marks."""
    text = path.read_text()
    before, after = text.split("<!-- first_look -->\n")[0], text.split("<!-- /first_look -->")[1]
    block = f"<!-- first_look -->\n{readme_block(rows)}\n<!-- /first_look -->"
    write_atomically(path, f"{before}{block}{after}".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, help="CIFAR-10: its tarball, its folder, or image folders (else fetched)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where the runs are kept (default: runs)")
    arguments = parser.parse_args()
    from bnonly.training.fit import fit
    from bnonly.training.terminal import Terminal

    runs = [config(group, epochs, arguments.data, arguments.out) for group, epochs in GRID]
    for run in runs:
        with Terminal(run) as terminal:
            fit(run, (terminal,))
    rows = [line for line in map(row, runs) if line is not None]
    write_table(rows, TABLE)
    update_readme(rows)
    draw(runs, TABLE.with_suffix(".png"))


if __name__ == "__main__":
    sys.exit(guarded(main))
