"""What a worker does, whichever engine it belongs to: a job's stages, one after another, in the run's folder."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress

from bnonly.config import RunConfig
from bnonly.errors import BnonlyError
from bnonly.runs import RunFolder
from experiments.engines import Ended, Job
from experiments.tasks import task, unanswered

_LONGEST = 2000  # characters of a reason, which goes through a pipe


def perform(job: Job) -> float:
    """Do the stages that are not done, with the trial locked; the seconds spent in them, reading and locking aside.

    Raises what they raise, InUse where another has it.
    """
    seconds = 0.0
    config = RunConfig.model_validate(dict(job.config))
    folder = RunFolder.of(config)
    with folder.trial_locked():
        for stage in job.stages:
            if unanswered(config, [stage]):
                began = time.perf_counter()
                task(stage["task"]).run(config, folder, stage["options"])
                seconds += time.perf_counter() - began
    return seconds


def attempt(job: Job) -> Ended:
    """`perform`, and how it ended. A trace of what nobody foresaw goes to standard error: the trial's log."""
    try:
        seconds = perform(job)
    except KeyboardInterrupt:
        reason, kind = "stopped between two stages", "stopped"
    except BnonlyError as error:
        reason, kind = str(error), type(error).__name__
    except OSError as error:
        reason, kind = f"{error.filename or 'a file'}: {error.strerror or error}", "OSError"
    except MemoryError as error:
        reason, kind = f"not enough memory{f' ({error})' if str(error) else ''}", "MemoryError"
    except BaseException as error:
        with suppress(OSError):  # on a full disk
            traceback.print_exc()
        first = next(iter(str(error).strip().splitlines()), "")
        reason, kind = f"{type(error).__name__}{f': {first}' if first else ''}", type(error).__name__
    else:
        return Ended(job.id, seconds=seconds)
    return Ended(job.id, reason[:_LONGEST], kind)
