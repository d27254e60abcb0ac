"""The front door: `bnonly VERB ...`. A verb's module is imported when it is called."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import bnonly
from bnonly.errors import BadInput, guarded

VERBS = {
    "demo": ("experiments.demo:main", "the whole story on bundled digits, in under two minutes"),
    "networks": ("bnonly.networks.command:main", "list the architectures and their numbers of parameters"),
    "experiment": ("experiments.command:main", "grids of runs: list, show, run, status"),
    "fit": ("bnonly.training.command:main", "train one run; again: resume it"),
    "measure": ("bnonly.examine.commands.measure:main", "gamma, ReLUs and channels of a trained network, in numbers"),
    "ablate": ("bnonly.examine.commands.ablate:main", "set gammas to zero and score the network"),
    "shift": ("bnonly.examine.commands.shift:main", "do shifted images get the same answer? consistency, accuracy"),
    "export": ("bnonly.seedfile.commands.export:main", "store a finished run as a seed+BN file"),
    "inspect": ("bnonly.seedfile.commands.inspect:main", "what a seed+BN file holds"),
    "verify": ("bnonly.seedfile.commands.verify:main", "compare every digest of a seed+BN file, and its answers"),
    "inflate": ("bnonly.seedfile.commands.inflate:main", "the plain state_dict of a seed+BN file"),
    "deploy": ("bnonly.deploy.command:main", "write a seed+BN file's network as ONNX or for torch.export"),
    "stylize": ("bnonly.features.command:main", "paint a picture in another one's style, by random features"),
    "report": ("analysis.command:main", "draw runs as one page, with figures and tables beside it"),
    "schema": ("bnonly.config.command:main", "print the configuration's JSON schema or its reference page"),
    "completion": ("bnonly.completion.command:main", "print a script that completes all this in bash, zsh or fish"),
    "images": ("bnonly.data.command:main", "look for files that are no images in an image folder"),
    "weights": ("bnonly.randomness.command:main", "print the generator's values or their SHA-256"),
}

# Of the checkout, not of the wheel.
LABORATORY = ("experiments", "analysis")


def usage() -> str:
    """The text of `bnonly --help`."""
    verbs = "\n".join(f"  {verb:<12}{says}" for verb, (_, says) in VERBS.items())
    return (
        "usage: bnonly VERB [options]    (bnonly VERB --help says more)\n\n"
        "Networks of random features: freeze every weight, train gamma and beta, watch what they do.\n\n"
        f"{verbs}\n\n  --version   print the version"
    )


def main(argv: list[str] | None = None) -> int:
    """Run a verb; the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a label in a terminal that has no such letter
    return guarded(lambda: _run(arguments))


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"bnonly {bnonly.__version__}")
        return 0
    return _function(argv[0])(argv[1:])


def _function(verb: str) -> Callable[[list[str]], int]:
    return getattr(module(verb), VERBS[verb][0].partition(":")[2])


def module(verb: str) -> ModuleType:
    """The module of a verb, imported: it holds the function of VERBS, and its argparse parser as parser().

    Raises BadInput for an unknown verb, and for one of the laboratory where only the wheel is installed.
    """
    if verb not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}"
        raise BadInput(f"unknown verb {verb!r}: {hint}")
    name = VERBS[verb][0].partition(":")[0]
    room = name.partition(".")[0]
    if room in LABORATORY and find_spec(room) is None:
        raise BadInput(
            f"`bnonly {verb}` is part of the laboratory, which the installed package does not carry: clone the "
            "repository and run it there"
        )
    return import_module(name)


if __name__ == "__main__":
    sys.exit(main())
