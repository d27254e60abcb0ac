"""Accuracy over the bytes of a stored network."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from analysis.figures.style import styled


def accuracy_by_bytes(table: pd.DataFrame) -> Figure:
    """Accuracy over the bytes of a file, a colour a network, a marker a way of storing it.

    table: a row a file, with columns depth, epochs, form ("folded", "full" or "whole"), dtype, codec, step, clamp,
    calibrated (images), bytes, top1. Clamped files are fainter; the steps of rans, nothing clamped, are joined by a
    line, dashed where they are calibrated.
    """
    table = table.assign(calibrated=pd.to_numeric(table["calibrated"]).fillna(0))
    ways = {
        "seed, rans by step": ("D", "codec == 'rans' and calibrated == 0"),
        "seed, rans by step, calibrated": ("*", "codec == 'rans' and calibrated > 0"),
        "seed, a and b without zeros": ("v", "form == 'folded' and codec == 'mask'"),
        "seed, a and b": ("o", "form == 'folded' and codec == 'raw'"),
        "seed, gamma, beta and statistics": ("P", "form == 'full'"),
        "whole, as it is": ("s", "form == 'whole' and codec == 'raw'"),
        "whole, through xz": ("x", "form == 'whole' and codec == 'xz'"),
    }
    depths = sorted(table["depth"].unique())
    colours = dict(zip(depths, sns.color_palette("colorblind", len(depths)).as_hex(), strict=True))
    with styled():
        figure, axes = plt.subplots(figsize=(8.6, 4.4), layout="constrained")
        for depth, own in table.groupby("depth"):
            rans = own.query("codec == 'rans' and clamp == 0").sort_values("bytes")
            for line, steps in (("-", rans[rans["calibrated"] == 0]), ("--", rans[rans["calibrated"] > 0])):
                axes.plot(steps["bytes"], steps["top1"], color=colours[depth], linewidth=0.8, linestyle=line)
            for marker, which in ways.values():
                part = own.query(which)
                clamped = (part["clamp"].fillna(0) > 0).to_numpy()
                for points, alpha in ((part[clamped], 0.25), (part[~clamped], 0.9)):
                    axes.scatter(
                        points["bytes"], points["top1"], s=30 if marker != "*" else 60, marker=marker,
                        color=colours[depth], alpha=alpha,
                    )  # fmt: skip
        whole = table.query("form == 'whole' and codec == 'raw'")
        for x, y, dtype in zip(whole["bytes"].tolist(), whole["top1"].tolist(), whole["dtype"].tolist(), strict=True):
            axes.annotate(dtype, (x, y), xytext=(0, 6), textcoords="offset points", ha="center", size="x-small")
        axes.set_xscale("log")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlabel="bytes of the file", ylabel="test accuracy (top-1)")
        epochs = table.groupby("depth")["epochs"].first()
        networks = [
            Line2D([], [], color=colours[depth], linewidth=3, label=f"ResNet-{depth}, epochs: {epochs[depth]}")
            for depth in depths
        ]
        markers = [
            Line2D([], [], color="#555555", marker=marker, linestyle="", label=name)
            for name, (marker, _) in ways.items()
        ]
        faint = Line2D([], [], color="#555555", marker="D", linestyle="", alpha=0.25, label="small gammas clamped")
        axes.legend(handles=[*networks, *markers, faint], frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set_title("Few epochs, not the paper's 160; group bn, one seed", fontsize="medium", loc="left")
    return figure
