"""`bnonly fit`: one run. Without torch until there is something to train."""

from __future__ import annotations

import sys

from bnonly.config.command_line import parse_run, run_parser, to_yaml
from bnonly.progress import console
from bnonly.runs import RunFolder


def main(argv: list[str]) -> int:
    parser = run_parser("bnonly fit", "Train one group of a random network; the same command again resumes the run.")
    parser.add_argument("--print-config", action="store_true", help="print the whole configuration and stop")
    config, options = parse_run(parser, argv)
    if options.print_config:
        print(f"# run {config.id}\n{to_yaml(config)}", end="")
        return 0
    folder, err = RunFolder.of(config), console()
    if (result := folder.result()) is not None:
        err.print(f"this run is finished: {result['evaluated']} top-1 {result['test']['top1']:.2%}", markup=False)
        print(folder.path)
        return 0
    err.print(f"run {config.id}: {config.network.name}, group {config.group}, seed {config.seed}", markup=False)
    from bnonly.training.fit import fit
    from bnonly.training.terminal import Terminal
    from bnonly.training.tracking import mirror

    with Terminal(config) as terminal, mirror(config) as listeners:
        fit(config, (terminal, *listeners))
    sys.stderr.flush()
    print(folder.path)
    return 0
