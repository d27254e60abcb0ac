"""From run folders to a report on the disk, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from analysis.frames import read
from analysis.report import FILES, report
from bnonly.files import write_together


def write(runs: Sequence[Path], output: Path, beside: Path | None) -> None:
    """Read the runs, write the page, and into `beside` figures and tables; a former report's are replaced.

    Raises BadInput where there are no runs, or a place cannot be written to.
    """
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    whole = report(read(runs), made, files=beside is not None)
    files = {output: whole.page.encode()}
    if beside is None:
        write_together(files)
        return
    write_together(files | {beside / name: data for name, data in whole.files.items()})
    for name in FILES - whole.files.keys():
        (beside / name).unlink(missing_ok=True)  # of a former report; it would be taken for one of this
