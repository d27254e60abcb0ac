"""What a reader of anything from outside may do with it: take it, or refuse it in one sentence, soon."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from bnonly.errors import BnonlyError

SENTENCE = 2000
"""Characters that a sentence may have, however long the input."""


class Fault(Exception):
    """Anything else. name: where it came from, the same for the same fault."""

    def __init__(self, name: str, what: str):
        super().__init__(f"{name}: {what}")
        self.name = name


def judged(
    call: Callable[[], object], refusals: type[BnonlyError], *, seconds: float = 10.0, sentence: int = SENTENCE
) -> str:
    """What it comes to: "taken", or the name of the refusal. seconds: of CPU time. Raises Fault for all else."""
    began = time.process_time()
    try:
        call()
        outcome = "taken"
    except refusals as error:
        outcome, said = type(error).__name__, str(error)
        if len(said.splitlines()) != 1 or len(said) > sentence:
            raise Fault(f"{outcome} {_place(error)}", f"not one short sentence: {said[:300]!r}") from error
    except (Exception, SystemExit) as error:
        raise Fault(f"{type(error).__name__} {_place(error)}", f"{error!r:.300}") from error
    if (took := time.process_time() - began) > seconds:
        raise Fault(f"late {outcome}", f"{took:.1f} s")
    return outcome


def _place(error: BaseException) -> str:
    """File and line of the project's last frame on the way to the error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/bnonly/" in frame.filename] or frames
    return f"{own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}"
