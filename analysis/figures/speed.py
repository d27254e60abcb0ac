"""How fast steps are: side beside side, and beside what the machine can do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.figures.drawing import Drawing, NoData, arrange, panels, title
from analysis.figures.style import markers, palette, styled

_ROOFS: dict[str, Any] = {"fp32": "-", "bf16": (0, (5, 2))}


_DODGE: Any = 0.5  # seaborn takes a width, too


def speed(rounds: pd.DataFrame) -> Drawing:
    """Images a second over those of the plain loop, a panel a network: median and quartiles of the rounds.

    rounds: a row a round, with columns network, group, batch, images, side, ratio, device_name. Raises NoData.
    """
    if rounds.empty:
        raise NoData("no side was measured beside the plain loop")
    groups, networks = list(rounds["group"].unique()), list(rounds["network"].unique())
    colours, shapes = palette(groups), markers(groups)
    with styled():
        figure, grid = panels(len(networks))
        for axes, network in zip(grid, networks, strict=True):
            own = rounds[rounds["network"] == network]
            axes.axvline(1, color="0.6", linewidth=0.8, zorder=0)
            sns.pointplot(
                own, x="ratio", y="side", hue="group", hue_order=groups, palette=colours, ax=axes,
                markers=[shapes[group] for group in groups], linestyle="none", markersize=5,
                dodge=_DODGE if len(groups) > 1 else False, estimator="median", errorbar=("pi", 50),
                err_kws={"linewidth": 1},
            )  # fmt: skip
            axes.legend().remove()
            axes.set(xlabel="images a second, plain loop = 1", ylabel="", xlim=(0, None))
            axes.grid(axis="y", color="0.93")
            title(axes, f"{network}, batch {own['batch'].iloc[0]}, {own['images'].iloc[0]}")
        sides = int(rounds.groupby("network")["side"].nunique().max())
        arrange(figure, grid, height=0.4 + 0.36 * sides, left=1.3, width=2.9)
    most = int(rounds.groupby(["network", "group", "side"]).size().max())
    names = " and ".join(sorted(rounds["device_name"].unique()))
    caption = (
        "Images a second over those of a plain PyTorch loop in the same round: median and quartiles of "
        f"{most} rounds. Group none: evaluation. On {names}."
    )
    return Drawing(figure, caption, rounds)


def roofline(table: pd.DataFrame) -> Drawing:
    """Operations a second over operations a byte, below the machine's roof in each precision; a panel a network.

    table: a row a side, with columns network, group, side, precision, images_per_second, mflop_image, mb_image,
    machine_gflops, machine_gb_per_second, device_name, threads; rows without figures are passed over. Raises NoData.
    """
    done = table[table["images_per_second"].notna()].astype({"images_per_second": float, "mflop_image": float})
    if done.empty:
        raise NoData("no side was measured")
    done = done.assign(
        intensity=done["mflop_image"] / done["mb_image"].astype(float),
        reached=done["mflop_image"] * done["images_per_second"] / 1e3,
    )
    groups, networks, sides = (list(done[name].unique()) for name in ("group", "network", "side"))
    with styled():
        figure, grid = panels(len(networks))
        for axes, network in zip(grid, networks, strict=True):
            own = done[done["network"] == network]
            sns.scatterplot(
                own, x="intensity", y="reached", hue="group", hue_order=groups, palette=palette(groups),
                style="side", style_order=sides, s=36, ax=axes,
            )  # fmt: skip
            axes.legend().remove()
            _roofs(axes, own)
            axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="Gflop/s")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
            title(axes, network)
        arrange(figure, grid)
    names = " and ".join(
        sorted({f"{name}, {n} threads" for name, n in zip(done["device_name"], done["threads"], strict=True)})
    )
    caption = (
        "What sides reach below the machine's roof, which a large product of matrices and a large copy measured in "
        f"the same rounds. Operations and bytes are the least that a step of the group needs. On {names}."
    )
    return Drawing(figure, caption, done)


def _roofs(axes: Axes, own: pd.DataFrame) -> None:
    """The machine's limit by precision, as medians over the trials."""
    least, most = own["intensity"].min() / 40, own["intensity"].max() * 4
    xs = np.geomspace(least, most, 200)
    for precision, part in own.groupby("precision"):
        peak, bytes_a_second = (
            float(part[name].astype(float).median()) for name in ("machine_gflops", "machine_gb_per_second")
        )
        label = f"the machine's limit, {precision}"
        axes.plot(
            xs,
            np.minimum(peak, bytes_a_second * xs),
            color="0.4",
            linestyle=_ROOFS[str(precision)],
            linewidth=1,
            label=label,
        )
