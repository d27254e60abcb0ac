"""A process of its own that reads stored networks back, verifies them and scores them on a run's test images.

`read_back` starts it. It knows a run's configuration and the files, and nothing of the networks they were made from.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnonly.config import RunConfig
from bnonly.errors import BadInput, BnonlyError, guarded

if TYPE_CHECKING:
    from torch import nn

SEED_FILE, WHOLE_FILE = "seed", "whole"


@dataclass(frozen=True)
class Reading:
    """What a file gave. kind: SEED_FILE or WHOLE_FILE. header_bytes: before the first tensor; None under xz.

    verified: for a seed+BN file, every digest, the drawn weights and the probe; for a whole one, which carries no
    digest, None. top1 (a fraction) and loss (nats) are None, and why says it, for one that was refused.
    """

    path: str
    kind: str
    header_bytes: int | None
    verified: bool | None
    top1: float | None = None
    loss: float | None = None
    why: str = ""


class ReaderFailed(BnonlyError):
    """The process that reads ended before its work."""


def read_back(config: RunConfig, data_sha256: str, files: Sequence[tuple[Path, str]]) -> Iterator[Reading]:
    """Each file (path, kind) as a fresh process finds it, as soon as it has.

    data_sha256: of the images the run was evaluated on. Raises ReaderFailed where the process ends early; what it had
    to say stands on standard error.
    """
    run = config.plain()
    if config.data.path is not None:
        run["data"]["path"] = str(config.data.path.resolve())
    request = {
        "run": run,
        "data_sha256": data_sha256,
        "files": [(str(path.resolve()), kind) for path, kind in files],
    }
    command, pipe = [sys.executable, "-m", "experiments.sizes_reading"], subprocess.PIPE
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request))
            process.stdin.close()
            for line in process.stdout:
                yield Reading(**json.loads(line))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise ReaderFailed(f"the process that reads the files back ended with status {process.returncode}")


def main() -> None:
    """Read the request from standard input; a line of JSON a file on standard output."""
    request = json.load(sys.stdin)
    config = RunConfig.model_validate(request["run"])
    from bnonly.measure.accuracy import Score, evaluate
    from bnonly.training.build import placed, run_batches, run_data
    from bnonly.training.environment import exact_kernels, pick_device

    images = run_data(config)
    if images.digest() != request["data_sha256"]:
        raise BadInput(f"{config.data.path} does not hold the images the run was evaluated on: name them with --data")
    device = pick_device(config.training.device)
    _, test = run_batches(config, images, device)
    scores: dict[str, Score] = {}
    for name, kind in request["files"]:
        reading, net = _read(Path(name), kind, config, len(images.classes))
        if net is not None:
            # Files of equal values, as raw and mask, are one network.
            if (key := _fingerprint(net)) not in scores:
                with exact_kernels():
                    scores[key] = evaluate(placed(net, config, device), test.in_order(), config.training.precision)
            reading = replace(reading, top1=scores[key].top1, loss=scores[key].loss)
        print(json.dumps(asdict(reading)), flush=True)


def _read(path: Path, kind: str, config: RunConfig, classes: int) -> tuple[Reading, nn.Module | None]:
    if kind == WHOLE_FILE:
        from bnonly.networks import network
        from experiments.sizes_whole import restore

        # Of another seed, so that a weight that is not in the file would show.
        net = network(config.network.name, config.seed ^ 1, classes=classes)
        restore(net, path)
        return Reading(str(path), kind, _header_bytes(path), None), net
    from bnonly.seedfile.errors import SeedFileError
    from bnonly.seedfile.loading import load

    try:
        net = load(path)
    except SeedFileError as error:
        return Reading(str(path), kind, _header_bytes(path), False, why=str(error)), None
    return Reading(str(path), kind, _header_bytes(path), True), net


def _header_bytes(path: Path) -> int | None:
    with path.open("rb") as file:
        return None if path.suffix == ".xz" else 8 + int.from_bytes(file.read(8), "little")


def _fingerprint(net: nn.Module) -> str:
    digest = hashlib.sha256(",".join(type(module).__name__ for module in net.modules()).encode())
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(guarded(main))
