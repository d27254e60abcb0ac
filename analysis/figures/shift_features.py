"""How features of an object change with its place: heatmaps of cosine similarity, and how well it is guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.figures.drawing import Drawing, NoData, arrange, panels, title
from analysis.figures.style import styled
from analysis.settings import shape

_SHOWN = ("top left", "centre")
_MOST = 12  # runs


def similarity_maps(studies: Sequence[Mapping[str, Any]], layer: str = "logits") -> Drawing:
    """A heatmap a run and anchor: similarity to the features at the anchor (a cross), mean over objects.

    studies: what similarity.json holds with network, group, antialias, crop, setting and seed beside it; of several
    seeds and grounds the first is drawn, all are in the table. The title has the probe's share of right halves.
    Raises NoData.
    """
    if not studies:
        raise NoData("no run's features have been looked at; `bnonly experiment run shift` does it")
    first = studies[0]
    alike = ("seed", "side", "patch", "stride")
    drawn = [study for study in studies if all(study[name] == first[name] for name in alike)]
    left, drawn = len(drawn) - _MOST, drawn[:_MOST]
    apart = [name for name in ("network", "crop", "setting") if len({study[name] for study in drawn}) > 1]
    panes = [(study, study["layers"][layer], anchor) for study in drawn for anchor in _SHOWN]
    least = min(float(np.min(own["maps"])) for _, own, _ in panes)
    with styled():
        figure, grid = panels(len(panes))
        for axes, (study, own, anchor) in zip(grid, panes, strict=True):
            image = np.array(own["maps"][own["anchors"].index(anchor)])
            axes.imshow(image, vmin=least, vmax=1, cmap="viridis", origin="upper", aspect="auto")
            at = 0 if anchor == "top left" else (len(image) - 1) // 2
            axes.plot(at, at, "x", color="#d55e00", markersize=7)
            axes.set(xlabel="pixels to the right", ylabel="pixels down")
            ticks = [0, len(image) // 2, len(image) - 1]
            names = [str(tick * study["stride"]) for tick in ticks]
            axes.set_xticks(ticks, names)
            axes.set_yticks(ticks, names)
            guess = (own["rows"] + own["columns"]) / 2
            words = "no filter" if study["antialias"] == "none" else study["antialias"]
            which = [_name(study, name) for name in ("network", "crop") if name in apart]
            title(axes, ", ".join([*which, study["group"], words, f"place guessed {guess:.0%}"]), 2.2)
        arrange(figure, grid, width=1.9, height=1.9, columns=4, legend="none", left=0.7)
        _colours(figure, grid, least, f"cosine similarity of {layer}")
    others = " Runs of several settings: the table tells them apart." if "setting" in apart else ""
    others += f" {left} more would be panels like these; the table has them." if left > 0 else ""
    caption = (
        f"Cosine similarity of {layer} at every place of a {first['patch']} px object on a {first['side']} px white "
        f"ground to those at the cross, mean over {first['objects']} digits; and how often a linear probe tells the "
        f"half it stands in (chance: 50 %). {'' if 'network' in apart else shape(first['network']).label + ', '}seed "
        f"{first['seed']}.{others}"
    )
    return Drawing(figure, caption, _table(studies))


def _name(study: Mapping[str, Any], field: str) -> str:
    return shape(study["network"]).label if field == "network" else f"{field} {study[field]}"


def _colours(figure: Figure, grid: Sequence[Axes], least: float, label: str) -> None:
    """A bar of the colours above the panels, for which the figure grows."""
    width, height = figure.get_size_inches()
    taller = height + 0.75
    for axes in grid:
        place = axes.get_position()
        axes.set_position((place.x0, place.y0 * height / taller, place.width, place.height * height / taller))
    figure.set_size_inches(width, taller)
    bar = figure.add_axes((0.7 / width, (height + 0.5) / taller, 2.6 / width, 0.12 / taller), label="colours")
    figure.colorbar(ScalarMappable(Normalize(least, 1), "viridis"), cax=bar, orientation="horizontal", label=label)


def _table(studies: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a run, layer and anchor: mean similarity over places and its deviation over objects, and the probe."""
    names = ("network", "group", "antialias", "data", "crop", "epochs", "seed", "side", "patch", "stride", "objects")
    return pd.DataFrame(
        {
            **{name: study[name] for name in names},
            "layer": layer,
            "anchor": anchor,
            "cosine_mean": own["mean"][place],
            "cosine_sd": own["sd"][place],
            "least": float(np.min(own["maps"][place])),
            "probe_rows": own["rows"],
            "probe_columns": own["columns"],
            "probe_unconverged": own["unconverged"],
        }
        for study in studies
        for layer, own in study["layers"].items()
        for place, anchor in enumerate(own["anchors"])
    )
