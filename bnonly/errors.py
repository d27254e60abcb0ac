"""What goes wrong on purpose: every error a user may meet is one sentence, and one of these."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


class BnonlyError(Exception):
    """The package's own errors. The command line prints the sentence and exits with `status`."""

    status = 1

    def __str__(self) -> str:
        return printable(super().__str__())  # one line, whatever it tells of


class BadInput(BnonlyError, ValueError):
    """What was asked for cannot be: the sentence says what, where, what is allowed and what to do."""

    status = 2


class GeneratorBroken(BnonlyError):
    """This machine does not reproduce the generator's published answers."""


class RunRefused(BadInput):
    """A run's folder cannot be used: another process has it, or it belongs to another run."""


class InUse(RunRefused):
    """Another process has the run's folder: it may be free later."""


class TrainingFailed(BnonlyError):
    """Training cannot go on, for example on a loss that is no number."""


class ExportFailed(BnonlyError):
    """A file for another runtime could not be made, or does not give the network's logits."""


class Interrupted(BnonlyError):
    """Training was asked to stop, has saved, and can go on."""

    status = 130


def printable(text: str) -> str:
    """With control characters spelled out: a text from outside must not move the cursor or begin a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def guarded(call: Callable[[], int | None]) -> int:
    """The exit status of a command. What is the user's or the machine's to mend ends in one sentence, not a trace."""
    try:
        return call() or 0
    except BnonlyError as error:
        sentence, status = str(error), error.status
    except BrokenPipeError:
        # Whoever read us has gone, as `head` does; nothing more can or need be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sentence, status = f"{error.filename or 'a file'}: {error.strerror or error}", 1
    except MemoryError as error:
        sentence, status = f"not enough memory{f' ({error})' if str(error) else ''}: ask for less", 1
    except KeyboardInterrupt:
        sentence, status = "stopped", 130
    print(f"bnonly: {printable(sentence)}", file=sys.stderr)
    return status
