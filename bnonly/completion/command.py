"""`bnonly completion SHELL`: the script to be sourced."""

from __future__ import annotations

import argparse

from bnonly.completion.scripts import SHELLS
from bnonly.config.parser import Parser

HOW = """\
in bash, in ~/.bashrc:                     eval "$(bnonly completion bash)"
in zsh, in ~/.zshrc after compinit:        eval "$(bnonly completion zsh)"
in fish, in ~/.config/fish/config.fish:    bnonly completion fish | source

The script is static. A shell starts faster that sources a file it was kept in:

  bnonly completion bash > ~/.local/share/bash-completion/completions/bnonly
  bnonly completion zsh > ~/.zfunc/_bnonly     (a folder of $fpath)
  bnonly completion fish > ~/.config/fish/completions/bnonly.fish
"""


def parser() -> Parser:
    says = "Print a script that completes verbs, flags and known values."
    shape = argparse.RawDescriptionHelpFormatter
    parser = Parser("bnonly completion", says, epilog=HOW, formatter_class=shape)
    parser.add_argument("shell", choices=SHELLS, help="whose script")
    return parser


def main(argv: list[str]) -> int:
    shell = parser().parse_args(argv).shell
    from bnonly.completion.words import verbs

    print(SHELLS[shell](verbs()), end="")
    return 0
