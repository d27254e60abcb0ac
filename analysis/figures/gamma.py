"""What became of gamma: its histograms, by depth and by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from analysis.figures.drawing import Drawing, NoData, made, panels, pick, title
from analysis.figures.style import palette, plain, styled
from analysis.frames import Frames

_BINS, _LAYER_BINS, _MOST, _MOST_LABELS = 60, 41, 8, 24


def gamma_histograms(frames: Frames) -> Drawing:
    """gamma of all channels after training, bn against all, a panel a network from the shallowest on."""
    rows = _compared(frames)
    rows = rows.assign(panel=rows["label"] + ", " + rows["setting"])
    chosen, left = pick(rows["panel"].unique(), lambda name: rows.loc[rows["panel"] == name, "run"].nunique(), _MOST)
    order = rows.drop_duplicates("panel").sort_values(["family", "depth", "width", "setting"])["panel"]
    chosen = [name for name in order if name in chosen]
    rows = rows[rows["panel"].isin(chosen)]
    groups, edges = sorted(rows["group"].unique()), _edges(rows["gamma"], _BINS)
    colours, tables = palette(groups), []
    with styled():
        figure, grid = panels(len(chosen), height=2.9)
        for axes, panel in zip(grid, chosen, strict=True):
            here = rows[rows["panel"] == panel]
            for group in sorted(here["group"].unique(), reverse=True):
                part = here[here["group"] == group]
                sns.histplot(
                    x=part["gamma"].clip(edges[0], edges[-1]), bins=edges.tolist(), ax=axes, stat="proportion",
                    element="step", fill=group == "bn" or len(groups) == 1, color=colours[group], alpha=0.45,
                    linewidth=1.2, label=f"{plain(group)}: {(part['gamma'].abs() < 0.01).mean():.1%} below 0.01",
                )  # fmt: skip
                counts = np.histogram(part["gamma"].clip(edges[0], edges[-1]), edges)[0] / len(part)
                tables.append(
                    pd.DataFrame(
                        {"panel": panel, "group": group, "from": edges[:-1], "to": edges[1:], "share": counts}
                    )
                )
            _dress(axes, "share of channels")
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.legend(frameon=False, fontsize="small", loc="upper right", title="|gamma|", title_fontsize="small")
            title(axes, panel)
    seeds = rows.groupby(["panel", "group"])["run"].nunique()
    n = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    caption = (
        f"Gamma of every BatchNorm channel after training; the channels of {n} seed{'' if n == '1' else 's'} "
        f"together; the outermost bins hold what lies beyond. {made(rows)}{left}"
    )
    return Drawing(figure, caption, pd.concat(tables, ignore_index=True))


def gamma_layers(frames: Frames) -> Drawing:
    """gamma layer by layer, from the input down, as a heat map: bn and all of the deepest network that has both."""
    rows = _compared(frames)
    both = rows.groupby(["label", "setting"])["group"].nunique()
    rows = rows.merge(both[both == both.max()].reset_index()[["label", "setting"]], on=["label", "setting"])
    channels = rows.groupby(["label", "setting"]).size()
    label, setting = channels.index[int(channels.to_numpy().argmax())]
    rows = rows[(rows["label"] == label) & (rows["setting"] == setting)]
    first = rows.drop_duplicates("run").sort_values("run_seed").drop_duplicates("group")["run"]
    rows = rows[rows["run"].isin(first)]
    edges, groups = _edges(rows["gamma"], _LAYER_BINS), sorted(rows["group"].unique(), reverse=True)
    layers = rows.drop_duplicates("layer").sort_values("place")["layer"].astype(str).tolist()
    tables = []
    with styled():
        height = min(9.0, max(3.2, 0.24 * len(layers) + 1.3))
        figure, grid = panels(len(groups), height=height)
        for axes, group in zip(grid, groups, strict=True):
            part = rows[rows["group"] == group]
            shares = np.array([_shares(part.loc[part["layer"] == layer, "gamma"], edges) for layer in layers])
            mesh = axes.pcolormesh(edges, np.arange(len(layers) + 1) - 0.5, shares, cmap="viridis", vmin=0, vmax=0.5)
            mesh.set_rasterized(True)
            step = -(-len(layers) // _MOST_LABELS)
            shown = range(0, len(layers), step)
            axes.set_yticks(list(shown), [plain(layers[place]) for place in shown], fontsize="x-small")
            axes.invert_yaxis()
            axes.set(xlabel="gamma", ylabel="layer, input at the top" if axes is grid[0] else "")
            title(axes, f"{group}, seed {part['run_seed'].iloc[0]}")
            tables.append(_long(group, layers, edges, shares))
        bar = figure.colorbar(mesh, ax=grid, shrink=0.6, pad=0.02, extend="max")
        bar.set_label("share of the layer's channels")
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    caption = f"Gamma of {label} layer by layer ({setting}), one seed; the outermost bins hold what lies beyond. "
    return Drawing(figure, caption + made(rows), pd.concat(tables, ignore_index=True))


def _compared(frames: Frames) -> pd.DataFrame:
    """Channels of the runs of bn and all, or where there are none of whatever trained gamma."""
    rows = frames.of_runs(frames.gammas)
    for groups in (("bn", "all"), ("gamma", "norm", "bn+output", "bn+output+shortcut")):
        if not (some := rows[rows["group"].isin(groups)]).empty:
            return some
    raise NoData("no finished run of bn or all keeps its gamma; `bnonly fit --group bn` makes one")


def _edges(gamma: pd.Series, bins: int) -> np.ndarray:
    """Symmetric about 0, of what holds 99 in 100 channels."""
    largest = max(0.05, float(gamma.abs().quantile(0.99)))
    return np.linspace(-largest, largest, bins + 1)


def _shares(gamma: pd.Series, edges: np.ndarray) -> np.ndarray:
    counts = np.histogram(gamma.clip(edges[0], edges[-1]), edges)[0]
    return counts / max(1, len(gamma))


def _long(group: str, layers: list[str], edges: np.ndarray, shares: np.ndarray) -> pd.DataFrame:
    bins = len(edges) - 1
    return pd.DataFrame(
        {
            "group": group,
            "layer": np.repeat(layers, bins),
            "from": np.tile(edges[:-1], len(layers)),
            "to": np.tile(edges[1:], len(layers)),
            "share": shares.ravel(),
        }
    )


def _dress(axes: Axes, label: str) -> None:
    axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.set(xlabel="gamma", ylabel=label)
