"""What is the seed+BN file worth? Its bytes and its accuracy, beside those of the whole network, by depth.

    python -m experiments.sizes --data CIFAR10 [--depths 14,56] [--finished-only] [--run FOLDER ...] [--keep]
    python -m experiments.sizes --preset smoke        (digits, ResNet-8, one epoch: seconds)
    python -m experiments.sizes --timings             (the cost of saving and loading alone: sizes_timings.py)

Runs of group bn, seed 0, in the paper's recipe with its milestones scaled to the epochs below: far fewer than its
160, so the accuracies are no reproduction. What is not finished is trained, and goes on where it was stopped. Every
form, dtype and codec of each is written to a file, read back by a fresh process, verified there, and scored on the
test images; with --keep only what the table has not yet. Writes sizes.csv (a row a file), sizes_targets.csv (against
the limits set for ResNet-56 and ResNet-866) and sizes.png to experiments/results.

Expect of ResNet-56 a file 185 times smaller than float32 at no loss, 342 times in fp16 within 0.1 points (the whole
network in int8: 3.8 times), and 720 times with rans at 8 steps, calibrated, within 0.2 points; not calibrated it
loses 3 there, and half a point at 32 steps. Of ResNet-14 117, 188 and, at 16 steps, 227 times.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bnonly.config import RunConfig
from bnonly.config.layers import validated
from bnonly.config.parser import Parser
from bnonly.data.kept import keep_last
from bnonly.errors import BadInput, guarded
from bnonly.files import write_atomically
from bnonly.networks.registry import parse
from bnonly.progress import console, track
from bnonly.runs import RunFolder
from experiments import sizes_reading, sizes_targets, sizes_timings, sizes_whole
from experiments.sizes_grid import ASKED, KINDS, columns, kind, known_rows
from experiments.stored import NotVerified
from experiments.tables import write_table

EPOCHS = {"cpu": {8: 30, 14: 30, 20: 30, 32: 10, 56: 30}, "smoke": {8: 1}}
"""By preset, the depths and the epochs each is trained for."""

TARGETS = {"cpu": (56, 866), "smoke": (56,)}
"""By preset, the depths whose files are held against their limits."""

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Written:
    """A file of a run. columns: what it is, as the table says it."""

    path: Path
    kind: str
    columns: dict[str, Any]


def config(depth: int, preset: str, data: Path | None, out: Path) -> RunConfig:
    """The run of a depth; `bnonly fit` with the same fields makes and finds the same."""
    cpu = {"source": "cifar10", "path": data}, {"memory_format": "channels_last", "threads": 2}
    source, training = cpu if preset == "cpu" else ({"source": "digits"}, {"threads": 1})
    return validated(
        {
            "this experiment": {
                "experiment": "seedfile",
                "out": out,
                "group": "bn",
                "network": {"name": f"cifar_resnet{depth}"},
                "data": source,
                "training": training | {"epochs": EPOCHS[preset][depth]},
                "tracking": "off",
            }
        }
    )


def finished(run: RunConfig) -> RunFolder:
    """The run's folder, trained first where it is not finished."""
    folder = RunFolder.of(run)
    if folder.result_of(run) is None:
        from bnonly.training.fit import fit
        from bnonly.training.terminal import Terminal

        with Terminal(run) as terminal:
            fit(run, (terminal,))
    return folder


def added(path: Path) -> RunFolder:
    """A finished run named by its folder. Raises BadInput for one that has no place in the table."""
    folder = RunFolder(path)
    run = folder.config()
    if run is None or folder.result() is None:
        raise BadInput(f"{path} is no finished run: give the folder that `bnonly fit` printed")
    if run.group != "bn" or set(parse(run.network.name).arguments) != {"depth"}:
        raise BadInput(f"{path} is {run.network.name} with group {run.group}: the table holds ResNets with group bn")
    return folder


def measure(
    folder: RunFolder, data: Path | None, shared: dict[str, Any], known: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of a finished run: a file each, the whole network in float32 first. known: rows that need no work."""
    run, result = folder.config(), folder.result()
    assert run is not None and result is not None, "a finished run has both"
    if data is not None and run.data.source != "digits":
        run = run.model_copy(update={"data": run.data.model_copy(update={"path": data})})
    own = {
        "network": run.network.name,
        "depth": parse(run.network.name).arguments["depth"],
        "epochs": run.training.epochs,
        "seed": run.seed,
    }
    rows = {kind(row): row for row in known if row["run"] == result["id"]}
    asked = [how for how in ASKED if kind(columns(how)) not in rows]
    count, name, first = len(asked), run.network.name, kind(columns(ASKED[0]))
    keep_last()  # each file that is calibrated asks for the images
    with TemporaryDirectory() as place:
        written = list(track(_files(folder, run, Path(place), asked), count, f"{name}: writing {count} files"))
        found = sizes_reading.read_back(run, result["data_sha256"], [(file.path, file.kind) for file in written])
        found = track(found, count, f"{name}: reading and scoring {count} files")
        for how, file, reading in zip(asked, written, found, strict=True):
            size, base = file.path.stat().st_size, rows[first]["top1"] if first in rows else reading.top1
            assert base is not None, "a whole file is scored"
            rows[kind(columns(how))] = (
                own
                | {key: file.columns[key] for key in KINDS}
                | {
                    "bytes": size,
                    "header_bytes": _blank(reading.header_bytes),
                    "times_smaller": round(4 * result["parameters"] / size, 2),
                    "top1": _blank(reading.top1),
                    "loss": "" if reading.loss is None else round(reading.loss, 6),
                    "points_lost": "" if reading.top1 is None else round(100 * (base - reading.top1), 3),
                    "verified": _blank(reading.verified),
                    "zeros": file.columns.get("zeros", ""),
                    "note": reading.why or file.columns.get("note", ""),
                }
                | {"evaluated": result["evaluated"], "computed_in": run.training.precision}
                | shared
                | {"trained_with": _trained_with(result), "run": result["id"]}
            )
    return [rows[kind(columns(how))] for how in ASKED]


def _files(folder: RunFolder, run: RunConfig, place: Path, asked: list[dict[str, Any]]) -> Iterator[Written]:
    """The files of a run, written one by one."""
    from bnonly.seedfile.exporting import export
    from bnonly.seedfile.saving import How
    from bnonly.training.build import trained_network

    net = trained_network(folder)
    for number, how in enumerate(asked):
        facts = columns(how)
        if how.get("form") == "whole":
            path = place / f"whole-{how['dtype']}.safetensors{'.xz' if how['codec'] == 'xz' else ''}"
            sizes_whole.write(net, path, how["dtype"], how["codec"])
            yield Written(path, sizes_reading.WHOLE_FILE, facts)
            continue
        path, coding = place / f"{number}.safetensors", {key: how[key] for key in how if key != "calibrate"}
        packed = export(
            folder, path, How(**coding), measure=False, data=run.data.path, calibrate=how.get("calibrate", 0)
        ).packed
        codec = packed.header.codec.removesuffix("-1")
        facts |= {"codec": codec, "zeros": packed.zeros, "note": "; ".join(packed.notes)}
        if how["codec"] == "rans" != codec:  # it fell back to mask
            facts["dtype"] = How(**coding).dtype
        yield Written(path, sizes_reading.SEED_FILE, facts)


def _blank(value: Any) -> Any:
    return "" if value is None else value


def _trained_with(result: dict[str, Any]) -> str:
    made = result["environment"]
    return f"torch {made['torch']}, {made['device']}, {made['threads']} threads"


def conditions(command: str, device: str = "auto") -> dict[str, Any]:
    """What the measurements were made with, as columns. device: as a configuration names it."""
    from bnonly.training.environment import environment, pick_device

    facts = environment(pick_device(device))
    return {
        "device": f"{facts['device']} ({facts['device_name']}, {facts['cpu_capability']})",
        "threads": facts["threads"],
        "torch": facts["torch"],
        "numpy": facts["numpy"],
        "git": facts["git"],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": command,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy against bytes."""
    import pandas as pd

    from analysis import figures

    write_atomically(path, figures.png(figures.accuracy_by_bytes(pd.DataFrame(rows).replace("", None))))


def chosen(options: argparse.Namespace) -> list[RunFolder]:
    """The runs of the table, by depth: those named by their folders, and the preset's, each once."""
    by_id = {}
    for folder in map(added, options.run):
        run = folder.config()
        assert run is not None, "added has read it"
        by_id[run.id] = folder
    for depth in options.depths or EPOCHS[options.preset]:
        run = config(depth, options.preset, options.data, options.out)
        if run.id in by_id:
            continue
        if not options.finished_only:
            by_id[run.id] = finished(run)
        elif RunFolder.of(run).result() is not None:
            by_id[run.id] = RunFolder.of(run)
        else:
            console().print(f"left out: {run.network.name}, {RunFolder.of(run).path} is not finished", markup=False)
    if not by_id:
        raise BadInput("no run is finished: leave out --finished-only to train them, or name some with --run FOLDER")
    return sorted(by_id.values(), key=_depth)


def _depth(folder: RunFolder) -> int:
    run = folder.config()
    assert run is not None
    return parse(run.network.name).arguments["depth"]


def parser() -> Parser:
    parser = Parser("python -m experiments.sizes", (__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=tuple(EPOCHS), default="cpu", help="what is trained (default: cpu)")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="CIFAR-10: its tarball, its folder, or image folders (else fetched)"
    )
    parser.add_argument("--depths", type=_depths, metavar="N,N,...", help="some of the preset's (default: all)")
    parser.add_argument("--finished-only", action="store_true", help="train nothing: leave out what is not finished")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], metavar="FOLDER",
        help="a finished run beside them, or in the place of the one with its id; may be given again",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where the runs are kept (default: runs)")
    parser.add_argument(
        "--results", type=Path, metavar="DIR",
        help="where tables and figure go (default: experiments/results; for smoke, --out)",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="store_true", help="leave the rows that the table has, and add what it lacks"
    )
    parser.add_argument("--timings", action="store_true", help="time saving and loading instead, and nothing else")
    parser.add_argument("--rounds", type=int, default=7, help="for --timings: processes each (default: 7)")
    return parser


def _depths(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of depths, as 14,56") from None


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    known = EPOCHS[options.preset]
    if odd := [depth for depth in options.depths or () if depth not in known]:
        raise BadInput(
            f"--depths {odd[0]} is not in preset {options.preset}: use some of {', '.join(map(str, known))}"
        )
    results = options.results or (RESULTS if options.preset == "cpu" else options.out)
    if options.timings:
        shared = conditions(f"python -m experiments.sizes --timings --rounds {options.rounds}", "cpu")
        write_table([row | shared for row in sizes_timings.measure(options.rounds)], results / "sizes_timings.csv")
        print(results / "sizes_timings.csv")
        return 0
    folders, shared = chosen(options), conditions(_command(options))
    known = known_rows(results / "sizes.csv") if options.keep else []
    rows = [row for folder in folders for row in measure(folder, options.data, shared, known)]
    write_table(rows, results / "sizes.csv")
    write_table(
        [row | shared for row in sizes_targets.measure(rows, TARGETS[options.preset])], results / "sizes_targets.csv"
    )
    draw(rows, results / "sizes.png")
    if bad := [row for row in rows if row["verified"] is False]:
        raise NotVerified(f"{len(bad)} files did not verify; the first: {bad[0]['note']}")
    print(results / "sizes.csv")
    return 0


def _command(options: argparse.Namespace) -> str:
    """The command without this machine's paths."""
    parts = ["python -m experiments.sizes"]
    parts += [f"--preset {options.preset}"] if options.preset != "cpu" else ["--data CIFAR10"]
    parts += [f"--depths {','.join(map(str, options.depths))}"] if options.depths else []
    parts += ["--finished-only"] if options.finished_only else []
    parts += ["--keep"] if options.keep else []
    return " ".join([*parts, *("--run FOLDER" for _ in options.run)])


if __name__ == "__main__":
    sys.exit(guarded(main))
