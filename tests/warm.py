"""Processes that begin where imports end: forked from a server that has torch and lightning loaded.

Starting Python and importing both takes seconds, and tests start dozens of processes. What runs in one is as separate
as any process: its own memory, signals, working folder and environment.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.warm_imports"])


class Warm:
    """As much of subprocess.Popen, with text pipes, as tests need. script: Python source, argv: its arguments."""

    def __init__(self, script: str, argv: Sequence[str] = (), cwd: Any = None, env: Mapping[str, str] | None = None):
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        environment = dict(os.environ if env is None else env)
        arguments = (script, list(argv), str(cwd or Path.cwd()), environment, DupFd(out_end), DupFd(err_end))
        self._process = _CONTEXT.Process(target=_run, args=arguments)
        self._process.start()
        os.close(out_end)
        os.close(err_end)
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def communicate(self, timeout: float = 120.0) -> tuple[str, str]:
        """The rest of both outputs, once the process has ended; it is killed after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.is_alive():
            self.kill()
            self._process.join()
            raise TimeoutError(f"still running after {timeout} s")
        with self.stdout, self.stderr:
            return self.stdout.read(), self.stderr.read()

    def send_signal(self, kind: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self.pid, kind)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(script: str, argv: list[str], cwd: str, env: dict[str, str], out: Any, err: Any) -> None:
    os.dup2(out.detach(), 1)
    os.dup2(err.detach(), 2)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w"), write_through=True) for number in (1, 2))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["-c", *argv]
    status = 0
    try:
        exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
