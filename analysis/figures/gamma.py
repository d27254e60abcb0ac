"""What became of gamma: its histograms, by depth and by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from analysis.figures.drawing import Drawing, NoData, arrange, made, panels, pick, title
from analysis.figures.style import palette, plain, styled
from analysis.frames import Frames

_BINS, _LAYER_BINS, _MOST_LABELS = 60, 41, 24
Values = NDArray[np.float32]


def gamma_histograms(frames: Frames) -> Drawing:
    """gamma of all channels after training, bn against all, a panel a network from the shallowest on."""
    runs, values = _compared(frames)
    runs = runs.assign(panel=runs["label"] + ", " + runs["setting"])
    sizes = runs["panel"].value_counts()
    chosen, left = pick(sizes.index, lambda name: sizes[name])
    chosen = [name for name in runs["panel"].unique() if name in chosen]  # by depth and width, not by letter
    pooled: dict[tuple[str, str], Values] = {
        (str(panel), str(group)): np.concatenate([values[key] for key in own["key"]])
        for (panel, group), own in runs.groupby(["panel", "group"])
    }
    groups, edges = sorted({group for _, group in pooled}), _edges(list(pooled.values()), _BINS)
    shares = {key: _shares(gamma, edges) for key, gamma in pooled.items()}
    tables = [_long(*key, [""], edges, own[None]) for key, own in shares.items()]
    runs, colours = runs[runs["panel"].isin(chosen)], palette(groups)
    with styled():
        figure, grid = panels(len(chosen))
        for axes, panel in zip(grid, chosen, strict=True):
            for group in sorted((group for name, group in pooled if name == panel), reverse=True):
                below = (np.abs(pooled[panel, group]) < 0.01).mean()
                filled = group == "bn" or len(groups) == 1
                axes.stairs(
                    shares[panel, group], edges, fill=filled, color=colours[group], alpha=0.45 if filled else 1,
                    linewidth=0 if filled else 1.3, label=f"{plain(group)}: |gamma| < 0.01 in {below:.1%}",
                )  # fmt: skip
            axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
            axes.set(xlabel="gamma", ylabel="share of channels")
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.set_xlim(edges[0], edges[-1])
            title(axes, panel)
        arrange(figure, grid, height=1.9, legend="each")
    seeds = runs.groupby(["panel", "group"]).size()
    n = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    caption = (
        f"Gamma of every BatchNorm channel after training; the channels of {n} seed{'' if n == '1' else 's'} "
        f"together; the outermost bins hold what lies beyond. {made(runs)}{left}"
    )
    return Drawing(figure, caption, pd.concat(tables, ignore_index=True).drop(columns="layer"))


def gamma_layers(frames: Frames) -> Drawing:
    """gamma layer by layer, from the input down, as a heat map: bn and all of the deepest network that has both."""
    runs, values = _compared(frames)
    runs = runs.assign(channels=[len(values[key]) for key in runs["key"]]).drop_duplicates(
        ["label", "setting", "group"]
    )
    of = runs.groupby(["label", "setting"]).agg(groups=("group", "size"), channels=("channels", "max")).reset_index()
    best = of.sort_values(["groups", "channels", "label", "setting"]).iloc[-1]
    runs = runs[(runs["label"] == best["label"]) & (runs["setting"] == best["setting"])].sort_values("group")
    rows = frames.gammas[frames.gammas["run"].isin(runs["key"])]
    edges = _edges([values[key] for key in runs["key"]], _LAYER_BINS)
    layers = rows.drop_duplicates("layer").sort_values("place")["layer"].astype(str).tolist()
    tables, mesh = [], None
    with styled():
        figure, grid = panels(len(runs))
        for axes, key, group, seed in zip(grid[::-1], runs["key"], runs["group"], runs["seed"], strict=True):
            own = {layer: gamma.to_numpy() for layer, gamma in _by(rows[rows["run"] == key], "layer")}
            shares = np.array([_shares(own.get(layer, np.zeros(0, np.float32)), edges) for layer in layers])
            mesh = axes.pcolormesh(edges, np.arange(len(layers) + 1) - 0.5, shares, cmap="viridis", vmin=0, vmax=0.5)
            mesh.set_rasterized(True)
            shown = range(0, len(layers), -(-len(layers) // _MOST_LABELS))
            names = [plain(layers[place]) if axes is grid[0] else "" for place in shown]
            axes.set_yticks(list(shown), names, fontsize="x-small")
            axes.invert_yaxis()
            axes.set(xlabel="gamma", ylabel="layer, input at the top" if axes is grid[0] else "")
            title(axes, f"{group}, seed {seed}", 2.2)
            tables.append(_long("", group, layers, edges, shares))
        right = 0.25 if len(grid) > 1 else 0.9
        arrange(
            figure,
            grid,
            width=2.2,
            height=min(7.0, max(2.0, 0.21 * len(layers))),
            left=1.5,
            legend="none",
            right=right,
        )
        beside = grid[0].get_position()  # where the labels of other panels would stand
        place = (beside.x1 + 0.025, beside.y0, 0.015, beside.height)
        assert mesh is not None, "_compared found runs"
        bar = figure.colorbar(mesh, cax=figure.add_axes(place), extend="max")
        bar.set_label("share of the layer's channels")
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    caption = (
        f"Gamma of {best['label']} layer by layer ({best['setting']}), one seed; the outermost bins hold what lies "
        f"beyond. {made(runs)}"
    )
    return Drawing(figure, caption, pd.concat(tables, ignore_index=True).drop(columns="panel"))


def _compared(frames: Frames) -> tuple[pd.DataFrame, dict[str, Values]]:
    """Runs of bn and all, or where there are none of whatever trained gamma, and the gammas of each by its key."""
    values = {str(key): gamma.to_numpy() for key, gamma in _by(frames.gammas, "run")}
    runs = frames.done[frames.done["key"].isin(values)]
    for groups in (("bn", "all"), ("gamma", "norm", "bn+output", "bn+output+shortcut")):
        if not (some := runs[runs["group"].isin(groups)]).empty:
            return some, values
    raise NoData("no finished run of bn or all keeps its gamma; `bnonly fit --group bn` makes one")


def _by(rows: pd.DataFrame, name: str) -> list[tuple[str, pd.Series]]:
    return [(str(key), part) for key, part in rows.groupby(name, observed=True, sort=False)["gamma"]]


def _edges(values: list[Values], bins: int) -> NDArray[np.float64]:
    """Equal bins, one of which begins at 0, over what holds 99 in 100 channels."""
    low, high = np.quantile(np.concatenate(values), (0.005, 0.995)).tolist()
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 0.05) / bins
    first = round(low / step)
    return step * np.arange(first, first + bins + 1)


def _shares(gamma: Values, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.histogram(gamma.astype(np.float64).clip(edges[0], edges[-1]), edges)[0]
    return counts / max(1, len(gamma))


def _long(
    panel: str, group: str, layers: list[str], edges: NDArray[np.float64], shares: NDArray[np.float64]
) -> pd.DataFrame:
    bins = len(edges) - 1
    return pd.DataFrame(
        {
            "panel": panel,
            "group": group,
            "layer": np.repeat(layers, bins),
            "from": np.tile(edges[:-1], len(layers)),
            "to": np.tile(edges[1:], len(layers)),
            "share": shares.ravel(),
        }
    )
