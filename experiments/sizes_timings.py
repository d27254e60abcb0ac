"""What saving and loading a seed+BN file cost: seconds and memory beyond a process that has imported torch.

Each measurement is a process of its own on the CPU: torch is imported, then the clock starts. Saving: of a network
that is there, importing what writes it. Loading: from the import of bnonly to a network that has answered, every
digest and the probe images compared. Beside them the bare float32 weights through safetensors, to and from tensors
in memory, each value looked at once, nothing compared and no network built: the least that any whole file costs.
The four alternate; medians. Memory is the highest resident set above that before the clock started, so the loaded
network itself is in it. Only Linux says it.

`python -m experiments.sizes --timings` writes the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bnonly.errors import BadInput, BnonlyError
from bnonly.progress import track
from experiments.memory import resident

NETWORKS = ("cifar_resnet866", "cifar_wrn14_32")
DEEDS = ("save", "load", "whole save", "whole load")


class MeasurementFailed(BnonlyError):
    """A measured process ended without its figures."""


def measure(rounds: int, networks: tuple[str, ...] = NETWORKS) -> list[dict[str, Any]]:
    """A row a network and deed: medians over `rounds` processes each. Raises BadInput for no round."""
    if rounds < 1:
        raise BadInput(f"{rounds} rounds measure nothing: use 1 or more")
    figures: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with TemporaryDirectory() as place:
        turns = [
            (name, deed)
            for number in range(rounds)
            for name in networks
            for deed in (DEEDS if number % 2 else DEEDS[::-1])
        ]
        for name in networks:  # what is loaded in the first round
            for deed in ("save", "whole save"):
                _in_a_process(deed, name, _file(place, name, deed))
        for name, deed in track(turns, len(turns), f"timing {len(turns)} processes"):
            figures.setdefault((name, deed), []).append(_in_a_process(deed, name, _file(place, name, deed)))
    return [_row(name, deed, figures[name, deed]) for name in networks for deed in DEEDS]


def _row(name: str, deed: str, taken: list[dict[str, Any]]) -> dict[str, Any]:
    seconds, peaks, inflated = (
        [each["seconds"] for each in taken],
        [each["peak"] for each in taken],
        taken[0]["inflated"],
    )
    peak = None if None in peaks else median(peaks)
    return {
        "network": name,
        "what": deed,
        "bytes": taken[0]["bytes"],
        "seconds_median": round(median(seconds), 4),
        "seconds_least": round(min(seconds), 4),
        "seconds_most": round(max(seconds), 4),
        "peak_bytes_median": "" if peak is None else round(peak),
        "inflated_bytes": inflated,
        "peak_over_inflated": "" if peak is None else round(peak / inflated, 3),
        "rounds": len(taken),
        "trained": False,
    }


def _file(place: str, name: str, deed: str) -> Path:
    return Path(place) / f"{name}-{'whole' if deed.startswith('whole') else 'seed'}.safetensors"


def _in_a_process(deed: str, name: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "experiments.sizes_timings", deed, name, str(path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise MeasurementFailed(f"`{deed}` of {name} ended with status {done.returncode}")
    return json.loads(done.stdout)


def main(deed: str, name: str, path: Path) -> None:
    """In a process of its own: do it, and print seconds, bytes of memory, and bytes of file and network."""
    import torch  # noqa: F401

    net: Any = None if deed.endswith("load") else _network(name)
    before = _reset_peak()
    started = time.perf_counter()
    if deed == "save":
        import bnonly

        bnonly.save(net, path)
    elif deed == "load":
        import bnonly

        net = bnonly.load(path)
    else:
        net = _whole(deed, net, path)
    seconds = time.perf_counter() - started
    most = resident("VmHWM")
    peak = None if before is None or most is None else most - before
    values = net if isinstance(net, dict) else net.state_dict()
    inflated = sum(value.nbytes for value in values.values())
    print(json.dumps({"seconds": seconds, "peak": peak, "bytes": path.stat().st_size, "inflated": inflated}))


def _network(name: str) -> Any:
    import bnonly

    net = bnonly.network(name, 0)
    bnonly.freeze_all_but(net, "bn")
    return net


def _whole(deed: str, net: Any, path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file, save_file

    if deed == "whole load":
        tensors = load_file(path)
        for value in tensors.values():
            value.sum()  # until then the file is only mapped, not read
        return tensors
    state = net.state_dict()
    save_file(state, path)
    return state


def _reset_peak() -> int | None:
    """Bytes resident now, with the highest so far forgotten; None where the system does not count."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return resident("VmRSS")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
