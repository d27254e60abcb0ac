"""Accuracy over the stages of runs whose filters are drawn anew."""

from __future__ import annotations

import pandas as pd

from analysis.figures.drawing import Drawing, NoData, arrange, line, over_seeds, panels, percent, title
from analysis.figures.style import plain, styled

_WAYS = {
    "small": ("#d55e00", "o", "switched-off filters"),
    "random": ("#0072b2", "s", "as many at random"),
    "none": ("#555555", "^", "none"),
}


def stages(table: pd.DataFrame) -> Drawing:
    """Test accuracy after each stage, a panel a network, a line a way of choosing filters; mean and one deviation.

    table: a row a run, with columns network, stage, way, trained, seed, epochs, top1. Raises NoData.
    """
    if table.empty:
        raise NoData("no stage is done; `bnonly experiment run regrow` trains them")
    by = ["network", "stage", "way"]
    stats = over_seeds(table, by, "top1")
    networks = list(dict.fromkeys(table["network"]))
    with styled():
        figure, grid = panels(len(networks))
        for axes, network in zip(grid, networks, strict=True):
            own = stats[stats["network"] == network]
            for way, (colour, marker, words) in _WAYS.items():
                if len(part := own[own["way"] == way]):
                    line(axes, part, "stage", colour, marker, f"drawn anew: {words}")
            names = table[table["network"] == network].groupby("stage")["trained"].first()
            axes.set_xticks(list(names.index), [plain(name) for name in names], rotation=20, fontsize="small")
            axes.set(xlabel="what trains, stage after stage")
            percent(axes, "test accuracy (top-1)")
            title(axes, network)
        arrange(figure, grid, below=0.35, columns=2)
    epochs = "/".join(str(int(count)) for count in sorted(table["epochs"].unique()))
    caption = (
        f"Accuracy after each stage of {epochs} epochs. Before a stage, filters are drawn anew from the seed: those "
        "with |gamma| < 0.01, as many of each layer at random, or none."
    )
    return Drawing(figure, caption, stats)
