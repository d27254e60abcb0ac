"""What comparisons measured, as tables, a plot and the roofline. Without torch.

speed.csv: a row a side of a network and group. speed_ratios.csv: a row a pair of sides of one trial; ratios above 1
mean that `side` does more images a second than `beside`, or keeps more memory. pieces.csv: the two pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import Any

import pandas as pd

from bnonly.files import read_object
from experiments.grid import Trial
from experiments.tables import quartiles
from experiments.yardstick.answers import found, place_of_pieces
from experiments.yardstick.sides import PLAIN

_MADE = ("device", "device_name", "cpu_capability", "threads", "load")
_VERSIONS = ("python", "torch", "torchvision", "lightning", "numpy", "bnonly", "git")


def files(trials: Sequence[Trial], command: str) -> dict[str, bytes]:
    """The experiment's files by name, of those trials that were measured; none where none was."""
    from analysis.figures import csv
    from analysis.figures.speed import roofline, speed

    measured = [facts for trial in trials if (facts := found(trial.folder)) is not None]
    if not measured:
        return {}
    table = pd.DataFrame([_short(row) for facts in measured for row in rows(facts, command)])
    pairs = pd.DataFrame([_short(row) for facts in measured for row in ratios(facts, command)])
    made = {"speed.csv": csv(table), "speed_ratios.csv": csv(pairs)}
    pieces = read_object(place_of_pieces(trials[0].folder))
    if pieces is not None:
        made["pieces.csv"] = csv(pd.DataFrame([row | {"command": command} for row in pieces["rows"]]))
    every = pd.DataFrame([row for facts in measured for row in _rounds(facts)])
    for name, drawing in (("speed", speed(every)), ("roofline", roofline(table))):
        made |= drawing.files(name)
    return made


def rows(facts: dict[str, Any], command: str) -> list[dict[str, Any]]:
    """A row a side of one speed.json, those that could not be measured among them, with the reason as note."""
    own, last = _who(facts), _last(facts, command)
    made = [own | _row(facts, name) | last for name in facts["sides"]]
    absent = {**facts["unavailable"], **facts["died"]}
    blank = dict.fromkeys(key for row in made[:1] for key in row)
    return made + [blank | own | {"side": name, "note": why} | last for name, why in absent.items()]


def ratios(facts: dict[str, Any], command: str) -> list[dict[str, Any]]:
    """A row a pair of sides: images a second, round by round, and bytes kept for backward."""
    made = []
    for beside, name in combinations(facts["sides"], 2):
        low, middle, high = quartiles(_by_round(facts, name, beside))
        made.append(
            _who(facts)
            | {
                "side": name,
                "beside": beside,
                "ratio": middle,
                "ratio_lower_quartile": low,
                "ratio_upper_quartile": high,
                "rounds": facts["asked"]["rounds"],
                "saved_ratio": _over(facts["sides"][name]["saved"], facts["sides"][beside]["saved"]),
                "peak_ratio": _over(*(facts["sides"][one]["memory"]["peak"] for one in (name, beside))),
            }
            | _last(facts, command)
        )
    return made


def _row(facts: dict[str, Any], name: str) -> dict[str, Any]:
    side, batch = facts["sides"][name], facts["config"]["training"]["batch_size"]
    precision = side["training"]["precision"]
    low, rate, high = quartiles(_rates(side))
    bounds = _bounds(facts, side)
    shares = [least * rate for (least, _), rate in zip(bounds, _rates(side), strict=True)]
    need = _need(facts, side)
    against = quartiles(_by_round(facts, name, PLAIN)) if PLAIN in facts["sides"] else (None,) * 3
    plain = facts["sides"].get(PLAIN, {})
    return {
        "side": name,
        "ours": side["ours"],
        "trained": side["group"],
        "precision": precision,
        "memory_format": side["training"]["memory_format"],
        "engine": side["training"]["engine"] if side["ours"] else None,
        "kernels": side.get("kernels"),
        "compile": side["compile"],
        "images_per_second": rate,
        "images_per_second_lower_quartile": low,
        "images_per_second_upper_quartile": high,
        "batch_ms": 1e3 * batch / rate,
        "ratio_to_plain": against[1],
        "ratio_to_plain_lower_quartile": against[0],
        "ratio_to_plain_upper_quartile": against[2],
        "first_step_s": side["first_step"],
        "peak_mb": _mega(side["memory"]["peak"]),
        "peak_of": side["memory"]["of"],
        "before_steps_mb": _mega(side["memory"]["before"]),
        "saved_mb": _mega(side["saved"]),
        "saved_to_plain": _over(side["saved"], plain.get("saved")),
        "mflop_image": need["flops"] / 1e6,
        "mb_image": need["bytes"] / 1e6,
        "least_batch_ms": 1e3 * batch * median(least for least, _ in bounds),
        "bound_by": bounds[len(bounds) // 2][1],
        "share_reached": median(shares),
        "machine_gflops": median(each[precision] for each in facts["machine"]) / 1e9,
        "machine_gb_per_second": median(each["bytes"] for each in facts["machine"]) / 1e9,
        "rounds": facts["asked"]["rounds"],
        "seconds_a_block": facts["asked"]["seconds"],
        "note": None,
    }


def _who(facts: dict[str, Any]) -> dict[str, Any]:
    config = facts["config"]
    return {
        "network": config["network"]["name"],
        "group": config["group"],
        "batch": config["training"]["batch_size"],
        "images": facts["images"],
    }


def _last(facts: dict[str, Any], command: str) -> dict[str, Any]:
    made = facts["made"]
    return {name: made[name] for name in (*_MADE, *_VERSIONS)} | {"date": made["began"][:10], "command": command}


def _rates(side: dict[str, Any]) -> list[float]:
    return [block["images"] / block["seconds"] for block in side["blocks"]]


def _by_round(facts: dict[str, Any], name: str, beside: str) -> list[float]:
    mine, theirs = (_rates(facts["sides"][one]) for one in (name, beside))
    return [a / b for a, b in zip(mine, theirs, strict=True)]


def _rounds(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a side and round: its rate over that of `plain` in the same round."""
    return [
        _who(facts) | {"side": name, "device_name": facts["made"]["device_name"], "ratio": ratio}
        for name in facts["sides"]
        if name != PLAIN and PLAIN in facts["sides"]
        for ratio in _by_round(facts, name, PLAIN)
    ]


def _need(facts: dict[str, Any], side: dict[str, Any]) -> dict[str, float]:
    """Operations and bytes of an image, of what the side trains in its precision."""
    from experiments.yardstick.needs import Needs

    need = Needs.of(facts["needs"][side["group"]])
    batch = facts["config"]["training"]["batch_size"]
    return {"flops": need.flops, "bytes": need.bytes(side["training"]["precision"], batch)}


def _bounds(facts: dict[str, Any], side: dict[str, Any]) -> list[tuple[float, str]]:
    """By round, the least seconds an image can take on the machine as it was in that round, and what bounds it."""
    need, precision = _need(facts, side), side["training"]["precision"]
    return [
        max((need["flops"] / each[precision], "operations"), (need["bytes"] / each["bytes"], "bytes"))
        for each in facts["machine"]
    ]


def _over(mine: float | None, theirs: float | None) -> float | None:
    return mine / theirs if mine is not None and theirs else None


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Five digits of each figure: more would be noise."""
    return {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in row.items()}


def _mega(value: float | None) -> float | None:
    return None if value is None else value / 1e6
