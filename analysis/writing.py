"""From run folders to a report on the disk, whole or not at all."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from analysis.folders import find
from analysis.pictures import helping
from bnonly.files import write_together

_MANY = 100
"""Runs from which on a second process saves more time than it takes to start."""


def write(runs: Sequence[Path], output: Path, beside: Path | None) -> None:
    """Read the runs, write the page, and into `beside` figures and tables; a former report's are replaced.

    Raises BadInput where there are no runs, or a place cannot be written to.
    """
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    with _helper(len(find(runs).runs)) as helper, _without_collector():
        from analysis.frames import read  # while the helper imports, too
        from analysis.report import FILES, report

        whole = report(read(runs), made, files=beside is not None, helper=helper)
    files = {output: whole.page.encode()}
    if beside is None:
        write_together(files)
        return
    write_together(files | {beside / name: data for name, data in whole.files.items()})
    for name in FILES - whole.files.keys():
        (beside / name).unlink(missing_ok=True)  # of a former report; it would be taken for one of this


@contextmanager
def _helper(runs: int) -> Iterator[Executor | None]:
    if runs < _MANY or (os.cpu_count() or 1) == 1:
        yield None
        return
    helper = helping()
    try:
        yield helper
    finally:
        helper.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of values are made here and none in a circle worth a search."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
