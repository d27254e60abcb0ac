"""docs/reproduction.md: what runs of the paper's schedule found, number by number, beside what the paper says.

    python -m experiments.reproduction [--check]

Reads the tables under experiments/results/paper, which `bnonly experiment draw NAME --to` left there, and fills the
page's tables; what stands between them is written by hand. --check writes nothing and fails if the page would change.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.published import CIFAR10
from analysis.settings import PAPER_EPOCHS, shape
from bnonly.config.parser import Parser
from bnonly.errors import BadInput, guarded
from bnonly.files import write_atomically

ROOT = Path(__file__).parents[1]
PAGE, RESULTS = ROOT / "docs" / "reproduction.md", ROOT / "experiments" / "results" / "paper"
TOLERANCE = 1.5
"""Points either way within which a mean agrees with a figure tagged V or D."""


def runs(results: Path) -> pd.DataFrame:
    """Every finished run of the paper's schedule, each once."""
    tables = [pd.read_csv(path) for path in sorted(results.glob("*/runs.csv"))]
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
        row = [str(label), f"`{group}`", str(len(own)), _mean(top1)]
        if point is None:
            rows.append([*row, "no figure known", "", ""])
            continue
        more = float(top1.mean()) - point.percent
        verdict = "agrees" if abs(more) <= TOLERANCE else "differs"
        rows.append([*row, f"{point.percent:.1f} [{point.tag}]", f"{more:+.1f}", verdict])
    return rows


def sparsity(results: Path) -> list[list[str]]:
    """A row a network and group: the share of |gamma| < 0.01."""
    rows, every = [["network", "group", "n", "share of gammas below 0.01 in magnitude, %"]], runs(results)
    if every.empty:
        return rows
    own = every[every["group"].isin(["bn", "bn+output", "all"]) & every["papers_recipe"].astype(bool)]
    for (label, group), part in own.groupby(["label", "group"], sort=False):
        rows.append([str(label), f"`{group}`", str(len(part)), _mean(100 * part["gamma_below_0.01"])])
    return rows


def clamping(results: Path) -> list[list[str]]:
    """A row a network, group and threshold: accuracy lost by |gamma| below it set to 0."""
    rows = [["network", "group", "threshold", "gammas set to 0, %", "accuracy after, %", "points lost"]]
    path = results / "clamp" / "clamp_curves.csv"
    if not path.exists():
        return rows
    table = pd.read_csv(path)
    for (label, group), own in table.groupby(["label", "group"], sort=False):
        whole = own[(own["way"] == "smallest") & (own["amount"] == 0)]["mean"]
        for part in own[own["way"] == "below"].sort_values("amount").to_dict("records"):
            lost = 100 * (float(whole.iloc[0]) - part["mean"]) if len(whole) else float("nan")
            rows.append(
                [str(label), f"`{group}`", f"{part['amount']:g}", f"{100 * part['share']:.1f}",
                 f"{100 * part['mean']:.1f}", f"{lost:.1f}"]
            )  # fmt: skip
    return rows


def zeros(results: Path) -> list[list[str]]:
    """A row a network and group: ReLU outputs that are 0, and channels that are off."""
    rows = [["network", "group", "outputs that are 0, %", "channels off on every image, %", "on 99 of 100, %"]]
    path = results / "gamma_sparsity" / "relu_zeros.csv"
    if not path.exists():
        return rows
    table = pd.read_csv(path)
    for (label, group), own in table.groupby(["label", "group"], sort=False):
        means = dict(zip(own["measure"], own["mean"], strict=True))
        shown = [f"{100 * means[name]:.1f}" if name in means else "" for name in ("zero", "off", "mostly_off_0.99")]
        rows.append([str(label), f"`{group}`", *shown])
    return rows


TABLES: dict[str, Callable[[Path], list[list[str]]]] = {
    "accuracy": accuracy,
    "sparsity": sparsity,
    "clamping": clamping,
    "zeros": zeros,
}
"""By the name of the page's markers `<!-- NAME -->` and `<!-- /NAME -->`."""


def filled(page: str, results: Path) -> str:
    """The page with its tables made anew. Raises BadInput where a marker is missing."""
    for name, table in TABLES.items():
        parts = re.split(f"(<!-- /?{name} -->)", page)
        if parts[1::2] != [f"<!-- {name} -->", f"<!-- /{name} -->"]:
            raise BadInput(f"the page has no place for {name}: <!-- {name} --> and <!-- /{name} --> mark it")
        parts[2] = "\n" + _markdown(table(results))
        page = "".join(parts)
    return page


def _markdown(rows: list[list[str]]) -> str:
    if len(rows) == 1:
        return "No run of the paper's schedule is done yet.\n"
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _mean(values: pd.Series) -> str:
    spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


def main(argv: list[str] | None = None) -> int:
    parser = Parser("python -m experiments.reproduction", (__doc__ or "").splitlines()[0])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page would change")
    options = parser.parse_args(argv)
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before, RESULTS)
    if options.check:
        return int(after != before)
    write_atomically(PAGE, after.encode())
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
