"""The whole story on scikit-learn's digits, in under two minutes on two cores.

What does a network of random features learn through gamma and beta alone, beside training its output layer, both,
two random scalars a channel, or everything? What becomes of gamma, and does it matter if the small ones are zero?
And how many bytes is such a network, stored as its seed and what was trained?
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.config import RunConfig
from bnonly.config.layers import validated
from bnonly.config.parser import Parser
from bnonly.errors import BnonlyError
from bnonly.files import write_atomically
from bnonly.progress import console
from bnonly.runs import RunFolder

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("bn", "output", "bn+output", "random:2", "all")
NETWORK, EPOCHS, BATCH = "cifar_resnet14", 20, 64
THRESHOLDS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)

# Points of test accuracy that hold with room to spare over seeds 0, 1 and 2.
MARGINS = (("bn", "output", 0.15), ("all", "bn", 0.08))


class StoryFailed(BnonlyError):
    """A network did not do what random features do elsewhere."""


def config(group: str, seed: int, out: Path) -> RunConfig:
    return validated(
        {
            "the demo": {
                "experiment": "demo",
                "out": out / "runs",
                "seed": seed,
                "group": group,
                "network": {"name": NETWORK},
                "data": {"source": "digits"},
                # One thread: batches this small gain nothing from two, and lose much where a second core is busy.
                "training": {
                    "epochs": EPOCHS,
                    "batch_size": BATCH,
                    "memory_format": "channels_last",
                    "threads": 1,
                },
                "tracking": "off",
            }
        }
    )


def parser() -> Parser:
    parser = Parser("bnonly demo", __doc__ or "", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder (default: demo)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random weights and of everything else (default: 0)"
    )
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    say, started = console(), time.monotonic()
    say.print(f"{NETWORK} on digits, {EPOCHS} epochs, seed {options.seed}", markup=False)

    runs = {group: config(group, options.seed, options.out) for group in GROUPS}
    folders = {group: _fit(run) for group, run in runs.items()}
    results = {group: _result(folder) for group, folder in folders.items()}
    for group, result in results.items():
        trained, top1 = result["trained_parameters"], result["test"]["top1"]
        say.print(f"  {group:<10}{trained:>8,} parameters train   test {top1:6.1%}", markup=False)
    _check(results)

    from analysis.rows import below
    from experiments.stored import stored, verified

    clamped = _clamped(folders["bn"])
    file = options.out / "net.safetensors"
    forms = stored(folders["bn"], file)
    verified(file)
    report = options.out / "report.html"
    write_atomically(report, _report(folders, results, clamped, forms, options.seed).encode())
    small = below(results["bn"]["gamma"])
    say.print(f"bn: {small:.1%} of |gamma| below 0.01; {_sentence(clamped)}", markup=False)
    whole = forms.iloc[0]
    say.print(
        f"{file}: the bn network in {whole['bytes']:,} bytes, {whole['times smaller']:.0f} times smaller than its "
        "weights; read and verified in a fresh process",
        markup=False,
    )
    say.print(f"done in {time.monotonic() - started:.0f} s; look at {report}", markup=False)
    print(report)
    return 0


def _fit(run: RunConfig) -> RunFolder:
    folder = RunFolder.of(run)
    if folder.result() is None:
        from bnonly.training.fit import fit
        from bnonly.training.terminal import Terminal

        with Terminal(run, lines=False) as terminal:
            fit(run, (terminal,))
    return folder


def _result(folder: RunFolder) -> dict[str, Any]:
    result = folder.result()
    assert result is not None, "a run that has ended has a result"
    return result


def _check(results: dict[str, dict[str, Any]]) -> None:
    """The story's two claims, by the margins above."""
    for better, worse, margin in MARGINS:
        high, low = (results[group]["test"]["top1"] for group in (better, worse))
        if high - low < margin:
            raise StoryFailed(
                f"{better} reached {high:.1%} and {worse} {low:.1%}: less than the {100 * margin:.0f} points between "
                "them that random features show elsewhere"
            )


def _clamped(folder: RunFolder) -> pd.DataFrame:
    """Accuracy and loss of a run's network after |gamma| < threshold is set to 0, without retraining."""
    import pandas as pd

    from bnonly.examine import ablate

    facts = ablate(folder, thresholds=THRESHOLDS, quiet=True)
    points = pd.DataFrame(facts["points"]).query("way == 'below' and amount in @THRESHOLDS")
    return points.rename(columns={"amount": "threshold", "share": "clamped_share"}).reset_index(drop=True)


def _sentence(clamped: pd.DataFrame) -> str:
    whole = clamped["top1"].iloc[0]
    free = clamped[(clamped["top1"] - whole).abs() <= 0.005].iloc[-1]
    return (
        f"with |gamma| < {free['threshold']:g} set to zero ({free['clamped_share']:.1%} of the channels) accuracy is "
        f"{free['top1']:.1%}, {whole:.1%} before"
    )


def _report(
    folders: dict[str, RunFolder],
    results: dict[str, dict[str, Any]],
    clamped: pd.DataFrame,
    forms: pd.DataFrame,
    seed: int,
) -> str:
    import pandas as pd

    from analysis.frames import read
    from analysis.page import Section, page
    from analysis.pictures import picture
    from analysis.rows import below

    frames = read(folder.path for folder in folders.values())

    def section(name: str, heading: str, text: Sequence[str] = (), table: pd.DataFrame | None = None) -> Section:
        drawn = picture(name, frames)
        assert not isinstance(drawn, str), drawn
        return replace(drawn.section(heading), text=text, table=table)

    table = pd.DataFrame(
        {
            "trained group": group,
            "trained parameters": f"{result['trained_parameters']:,}",
            "share": f"{result['trained_parameters'] / result['parameters']:.2%}",
            "test top-1": f"{result['test']['top1']:.1%}",
            "test loss": "overflow" if result["test"]["loss"] is None else f"{result['test']['loss']:.3f}",
            "|gamma| < 0.01": f"{below(result['gamma']):.1%}",
            "seconds": f"{result['train_seconds']:.0f}",
        }
        for group, result in results.items()
    )
    shown = clamped[["threshold", "clamped_share", "top1", "loss"]].assign(
        threshold=clamped["threshold"].map("{:g}".format),
        clamped_share=clamped["clamped_share"].map("{:.1%}".format),
        top1=clamped["top1"].map("{:.1%}".format),
        loss=clamped["loss"].map("{:.3f}".format),
    )
    environment = results["bn"]["environment"]
    return page(
        "What a random network learns through gamma and beta",
        f"{NETWORK} with random convolutions that never change, on scikit-learn's digits: five groups of parameters, "
        f"each trained for {EPOCHS} epochs from the same seed ({seed}).",
        [
            section("learning_curves", "Accuracy by trained group", table=table),
            section(
                "gamma_histograms",
                "Gamma",
                ["When nothing else trains, gamma is the only way to choose among random features."],
            ),
            section(
                "clamp_curves",
                "Clamping small gammas to zero",
                [_sentence(clamped).capitalize() + "."],
                shown.rename(columns={"clamped_share": "channels clamped", "top1": "test top-1"}),
            ),
            Section(
                "Stored as a seed",
                [
                    "The convolutions come from the seed, so a file needs only the two numbers a channel that "
                    "BatchNorm comes down to. net.safetensors beside this page is the first of these; a fresh "
                    "process has read it, drawn the weights again and compared every digest.",
                    "Bytes are those of whole files, test top-1 is measured from them, and all weights in float32 "
                    "are what they are compared with.",
                ],
                table=forms.assign(
                    bytes=forms["bytes"].map("{:,}".format),
                    **{"times smaller": forms["times smaller"].map("{:.0f}".format)},
                    before=forms["before"].map("{:.1%}".format),
                    after=forms["after"].map("{:.1%}".format),
                ),
            ),
        ],
        f"Made by `bnonly demo` {environment['bnonly']} with torch {environment['torch']} on {environment['device']} "
        f"({environment['device_name']}, threads: {environment['threads']}), float32. Digits are not CIFAR-10: "
        "nothing here is compared with the paper.",
    )
