"""`bnonly fit`: one run. Without torch until there is something to train."""

from __future__ import annotations

import signal
import sys

from bnonly.config.command_line import RunParser, parse_run, run_parser
from bnonly.progress import console
from bnonly.runs import RunFolder


def parser() -> RunParser:
    parser = run_parser("bnonly fit", "Train one group of a random network; the same command again resumes the run.")
    parser.add_argument("--print-config", action="store_true", help="print the whole configuration and stop")
    return parser


def main(argv: list[str]) -> int:
    config, options = parse_run(parser(), argv)
    if options.print_config:
        print(f"# run {config.id}\n{config.to_yaml()}", end="")
        return 0
    folder, err = RunFolder.of(config), console()
    if folder.result_of(config) is not None:
        return _finished(folder, "this run is finished")
    # Until training has its own way to stop: a scheduler's SIGTERM ends like Ctrl-C, with status 130.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    from bnonly.training.fit import fit
    from bnonly.training.team import Team
    from bnonly.training.terminal import Terminal
    from bnonly.training.tracking import mirror

    team = Team.of(config)
    if not team.first:  # of torchrun's processes the first one speaks
        fit(config, team=team)
        return 0
    blur = "" if config.network.antialias == "none" else f" (antialias {config.network.antialias})"
    what = f"{config.network.name}{blur} on {config.data.source}, group {config.group}, seed {config.seed}"
    err.print(f"run {config.id}: {what}; its folder is {folder.path}", markup=False)
    if config.training.devices > 1:
        over = "the whole batch" if config.training.sync_bn else "each device's share of a batch (training.sync_bn)"
        err.print(f"{config.training.devices} devices; BatchNorm takes its statistics over {over}", markup=False)
    if not config.network.start.storable:
        err.print(
            f"{config.network.weights} weights cannot be stored as a seed: this run is not exportable", markup=False
        )
    with Terminal(config) as terminal, mirror(config) as listeners:
        fit(config, (terminal, *listeners), team)
    return _finished(folder, "done")


def _finished(folder: RunFolder, what: str) -> int:
    """One sentence on standard error; the folder, alone and last, on standard output."""
    result = folder.result()
    assert result is not None, "fit returns when there is one"
    counts = f"{result['trained_parameters']:,} of {result['parameters']:,} parameters trained"
    test, many = result["test"], len(result["classes"]) > 10
    hits = f"{result['evaluated']} top-1 {test['top1']:.2%}" + (f" top-5 {test['top5']:.2%}" if many else "")
    console().print(f"{what}: {counts}, {hits}", markup=False)
    sys.stderr.flush()
    print(folder.path)
    return 0
