"""`bnonly report`, and `python -m analysis report`: run folders as one page, with figures and tables beside it."""

from __future__ import annotations

from pathlib import Path

from bnonly.config.parser import Parser, user_path
from bnonly.errors import BadInput


def parser(prog: str = "bnonly report") -> Parser:
    parser = Parser(prog, "Draw runs, finished or not, as one page that needs no network.")
    parser.add_argument(
        "runs", nargs="+", type=user_path, metavar="RUNS", help="folders of runs: of --out, an experiment, or one run"
    )
    parser.add_argument(
        "-o", "--output", type=user_path, default=Path("report.html"), metavar="FILE",
        help="the page (default: report.html); figures and tables go to a folder beside it, report_files",
    )  # fmt: skip
    parser.add_argument("--no-files", action="store_true", help="the page alone, no SVG, PDF and CSV files")
    return parser


def main(argv: list[str], prog: str = "bnonly report") -> int:
    options = parser(prog).parse_args(argv)
    beside = None if options.no_files else options.output.with_name(f"{options.output.stem}_files")
    _check(options.output, beside)
    from analysis.writing import write

    write(options.runs, options.output, beside)
    print(options.output)
    return 0


def _check(output: Path, beside: Path | None) -> None:
    """Raise BadInput where something is in the way that no earlier report has put there."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise BadInput(f"-o {output} is no page: give it a name that ends in .html")
    former = False
    if output.exists():
        with output.open("rb") as file:
            former = b'<meta name="generator" content="bnonly">' in file.read(2048)
        if not former:
            raise BadInput(f"{output} is there and no report: choose another -o, or move it away")
    if beside is not None and beside.exists() and not former:
        raise BadInput(f"{beside} is there and {output} is not: move it away, choose another -o, or give --no-files")
