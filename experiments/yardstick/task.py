"""The tasks `speed` and `pieces` of a grid: what a comparison measures, in the trial's folder. Without torch until
one is performed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bnonly.config import RunConfig
from bnonly.errors import InUse
from bnonly.files import now, write_object
from bnonly.locking import FolderLock
from bnonly.progress import console
from bnonly.runs import RunFolder
from experiments.yardstick.answers import VERSION, on, pieces_answered, place, place_of_pieces, plain
from experiments.yardstick.blocks import Side, SideDied, in_turns
from experiments.yardstick.images import title
from experiments.yardstick.sides import MACHINE, PLAIN, config_of, side, unavailable, wanted


def measure(config: RunConfig, folder: RunFolder, *, sides: Sequence[str], rounds: int, seconds: float) -> None:
    """Ask these sides, and the machine itself, for `rounds` blocks of `seconds` each; leaves speed.json.

    Raises SideDied where `plain` or one of ours cannot be measured; others are left out, with the reason.
    """
    from bnonly.training.environment import environment, pick_device

    names = wanted(sides, config.group)
    device = pick_device(config.training.device)
    with alone(folder):
        began, load = now(), _load()
        absent = {name: why for name in names if (why := unavailable(name, device.type))}
        died: dict[str, str] = {}
        facts: dict[str, dict[str, Any]] = {}
        with ExitStack() as stack:
            running: list[Side] = []
            names = [name for name in names if name not in absent]
            for name in (*names, MACHINE):
                one = _side(name, config, names)
                try:
                    facts[name] = _begin(stack, one, name, config, seconds)
                except SideDied as death:
                    if name in (MACHINE, PLAIN) or side(name).ours:
                        raise
                    died[name] = str(death)
                else:
                    running.append(one)
            for name, blocks in in_turns(running, rounds, seconds).items():
                facts[name]["blocks"] = blocks
    made = environment(device) | {"torchvision": _torchvision(), "began": began, "load": load}
    made["threads"] = config.training.threads or made["threads"]
    result = {
        "version": VERSION,
        "run": config.id,
        "asked": plain({"sides": sides, "rounds": rounds, "seconds": seconds}),
        "on": on(config),
        "config": config.plain(),
        "images": title(config),
        "made": made,
        "machine": facts.pop(MACHINE)["blocks"],
        "sides": facts,
        "unavailable": absent,
        "died": died,
        "needs": _needs(config, facts),
    }
    write_object(place(folder), result)


def _side(name: str, config: RunConfig, names: Sequence[str]) -> Side:
    own = config if name == MACHINE else config_of(name, config)
    precisions = sorted({config_of(other, config).training.precision for other in names})
    order = {"side": name, "config": own.plain(), "precisions": precisions}
    return Side(name, order, config.training.threads)


def _begin(stack: ExitStack, one: Side, name: str, config: RunConfig, seconds: float) -> dict[str, Any]:
    """Start a side and have it step until it is warm. It is ended again where that fails."""
    with ExitStack() as own:
        own.enter_context(one)
        facts = one.start()
        one.ask("block", seconds=seconds)
        if name != MACHINE:
            chosen = config_of(name, config)
            facts["memory"] = one.ask("memory")
            facts |= {"group": chosen.group, "ours": side(name).ours, "compile": side(name).compile}
            facts["training"] = {key: chosen.plain()["training"][key] for key in side(name).training}
            # Of a compiled step the hooks would make another one, to be compiled anew.
            facts["saved"] = None if side(name).compile or chosen.group == "none" else one.ask("saved")["bytes"]
        stack.push(own.pop_all())
    return facts


def _needs(config: RunConfig, sides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a step needs by group, for the images that the sides were shown."""
    from bnonly.training.build import run_network
    from experiments.yardstick.counting import needs

    shown = next(iter(sides.values()))
    found = {}
    for group in sorted({each["group"] for each in sides.values()}):
        net = run_network(config.model_copy(update={"group": group}), shown["classes"])
        found[group] = needs(net, tuple(shown["shape"]), group != "none").plain()
    return found


def _load() -> float | None:
    """How many processes wanted the machine in the last minute, before the sides begin."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _torchvision() -> str:
    from importlib.metadata import version

    return version("torchvision")


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Two measurements at once would measure each other: wait until no other of this experiment is under way."""
    lock = FolderLock(folder.path.parent, lambda said: console().print(said, markup=False), "measured-")
    while True:
        try:
            lock.acquire()
            break
        except InUse:
            time.sleep(1.0)
    try:
        yield
    finally:
        lock.release()


def pieces(config: RunConfig, folder: RunFolder, *, rounds: int) -> None:
    """Once an experiment, by whichever of its trials comes first: pieces.json beside the trials' folders."""
    from experiments.yardstick.pieces import measure

    with alone(folder):
        if pieces_answered(config, folder, {"rounds": rounds}):
            return
        rows = measure(rounds)
        write_object(place_of_pieces(folder), {"rounds": rounds, "rows": rows})
