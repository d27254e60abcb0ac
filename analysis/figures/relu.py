"""How many outputs of the ReLUs are zero, and how many channels always are."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import PercentFormatter

from analysis.figures.drawing import Drawing, NoData, arrange, epochs_of, made, over_seeds, panels, pick, title
from analysis.figures.style import markers, palette, plain, styled
from analysis.frames import Frames

_SHARES = {
    "zero_outputs": "zero outputs",
    "off": "channels always off",
    "mostly_off_0.99": "channels off in 99 of 100 images",
}


def relu_zeros(frames: Frames) -> Drawing:
    """Zeros after the ReLUs over the test set by network, a panel a measure, a marker a group."""
    rows = frames.of_runs(frames.measures)
    rows = rows[(rows["layer"] == "all") & rows["zero_outputs"].notna()]
    if rows.empty:
        raise NoData("no finished run has a measures.json; `bnonly measure RUN` makes one")
    counts = rows["setting"].value_counts()
    chosen, left = pick(counts.index, lambda name: counts[name], 3)
    by = ["setting", "label", "group"]
    tables = {share: over_seeds(rows, by, share).assign(measure=share) for share in _SHARES}
    rows = rows[rows["setting"].isin(chosen)].sort_values(["family", "depth", "width", "group"])
    colours, shapes = palette(rows["group"].unique()), markers(rows["group"].unique())
    with styled():
        figure, grid = panels(len(chosen) * len(_SHARES))
        for place, axes in enumerate(grid):
            setting, share = chosen[place // len(_SHARES)], list(_SHARES)[place % len(_SHARES)]
            own = rows[rows["setting"] == setting]
            networks = list(dict.fromkeys(own["label"]))
            stats = tables[share][tables[share]["setting"] == setting]
            groups = sorted(stats["group"].unique())
            for shift, group in enumerate(groups):
                part = stats[stats["group"] == group]
                xs = [networks.index(label) + 0.12 * (shift - (len(groups) - 1) / 2) for label in part["label"]]
                axes.errorbar(
                    xs, part["mean"], part["sd"], fmt=shapes[group], color=colours[group], markersize=5.5, capsize=2,
                    elinewidth=0.9, label=f"{plain(group)}, {epochs_of(own)}",
                )  # fmt: skip
            names = [plain(name) for name in networks]
            axes.set_xticks(range(len(networks)), names, rotation=90 if len(networks) > 2 else 0, fontsize="small")
            top = 1.0 if share == "zero_outputs" else min(1.0, max(0.1, 1.3 * stats["mean"].max()))
            axes.set(xlim=(-0.5, len(networks) - 0.5), ylim=(-0.02 * top, top), ylabel="share")
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            title(axes, f"{_SHARES[share]}, {setting}", 2.2)
        arrange(figure, grid, width=1.9, columns=3, below=0.6 if rows["label"].nunique() > 2 else 0.0)
    table = pd.concat(tables.values(), ignore_index=True)
    drawn = table.loc[table["setting"].isin(chosen), "n"]
    caption = (
        "After the ReLUs, on the images that were evaluated: the share of all outputs that are 0; of channels that "
        "are 0 at every place of every image; and of channels that are on at least 99 in 100. "
        f"{made(rows, drawn)}{left}"
    )
    return Drawing(figure, caption, table)
