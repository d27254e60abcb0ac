"""A signal of eight numbers that max-pooling tears apart when it moves by one, and blurring before subsampling saves.

The example is Zhang's (ICML 2019, figure 3), by way of the slides this laboratory began with.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.figures.drawing import Drawing, arrange, panels, title
from analysis.figures.style import styled
from bnonly.networks.antialias import TAPS

SIGNAL = (0, 0, 1, 1, 0, 0, 1, 1)
_LOOKS = (("#555555", "o", "as it is"), ("#d55e00", "s", "moved by 1"))


def pooled(signal: NDArray[np.float64], antialias: str) -> NDArray[np.float64]:
    """Maximum of each two neighbours, blurred with that filter, every second value: [N] -> [N / 2].

    The signal goes round, so that moving it loses nothing. "none": plain max-pooling.
    """
    dense = np.maximum(signal, np.roll(signal, -1))
    taps = np.array(TAPS.get(antialias, (1,)), float)
    around = [np.roll(dense, (len(taps) - 1) // 2 - place) for place in range(len(taps))]
    return (taps / taps.sum() @ np.array(around))[::2]


def max_pool_of_a_signal() -> Drawing:
    """The signal and its copy moved by one, after max-pooling and after each filter; table: the numbers."""
    signal = np.array(SIGNAL, float)
    rows = [
        {"filter": name, "moved": moved, "place": place, "value": value}
        for name in ("signal", "none", *TAPS)
        for moved in (0, 1)
        for place, value in enumerate(
            np.roll(signal, moved) if name == "signal" else pooled(np.roll(signal, moved), name)
        )
    ]
    table = pd.DataFrame(rows)
    kinds = {
        "signal": "signal",
        "none": "max-pool of 2",
        **{name: f"max, {name}, then every second" for name in TAPS},
    }
    with styled():
        figure, grid = panels(len(kinds))
        for axes, (name, words) in zip(grid, kinds.items(), strict=True):
            for moved, (colour, marker, label) in enumerate(_LOOKS):
                own = table[(table["filter"] == name) & (table["moved"] == moved)]
                axes.plot(
                    own["place"], own["value"], marker=marker, color=colour, label=label, linewidth=1.2,
                    linestyle=("solid", (0, (4, 2)))[moved], markerfacecolor=("none", colour)[moved],
                )  # fmt: skip
            axes.set(ylim=(-0.1, 1.1), xlabel="place", ylabel="value")
            title(axes, words, 2.2)
        arrange(figure, grid, width=2.2, height=1.5, columns=3)
    caption = (
        "Max-pooling a signal of period 4, and the same moved by one: every second value of the maximum is either 0 "
        "and 1 or 1 alone. A filter between maximum and subsampling brings the two together."
    )
    return Drawing(figure, caption, table)
