"""The Slurm of one machine that docs/slurm.md begins and ends, in a temporary folder."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "slurm.md"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")


def missing() -> str:
    """Why there can be no such cluster here, or nothing."""
    if os.getuid():
        return "slurmd runs as root"
    lacks = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"there is no {', no '.join(lacks)} here" if lacks else ""


def block(what: str) -> str:
    """Of the page, by the end of the remark above it."""
    (text,) = re.findall(rf"<!-- [^\n]*{what} -->\n```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return text


class Cluster:
    """Use as a context manager; `environment` makes Slurm's commands speak to it."""

    def __enter__(self) -> Cluster:
        self._folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path, for munge's socket
        self._folder.chmod(0o755)
        self.node = socket.gethostname().partition(".")[0]
        port = {"FOLDER": str(self._folder), "PORT": str(_two_free_ports())}
        self.environment = {**os.environ, **port, "SLURM_CONF": str(self._folder / "slurm.conf")}
        try:
            self._bash(block("begins the cluster"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.emptied()
        self._bash(block("ends the cluster"), check=False)
        for name in ("slurmd", "slurmctld", "munged"):  # each removes its file as it ends
            end = time.monotonic() + 20
            while (self._folder / f"{name}.pid").exists() and time.monotonic() < end:
                time.sleep(0.1)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _bash(self, text: str, check: bool = True) -> None:
        with (self._folder / "said").open("a+") as said:  # no pipe: the daemons would keep it open
            done = subprocess.run(
                ["bash", "-euc", text], env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            said.seek(0)
            assert not check or done.returncode == 0, said.read() + "".join(
                f"\n{path.name}:\n{path.read_text()[-2000:]}" for path in self._folder.glob("*.log")
            )

    def call(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def emptied(self) -> None:
        """Cancel what there is, and wait for its end."""
        self.call("scancel", "--me", check=False)
        end = time.monotonic() + 40
        while self.queue() and time.monotonic() < end:
            time.sleep(0.2)

    def state(self) -> str:
        return self.call("sinfo", "--noheader", "--format=%T")

    def node_is_back(self) -> None:
        """After a drain by hand; a node that was down comes back by itself, as it says that it is there."""
        if self.state() != "idle":
            self.call("scontrol", "update", f"nodename={self.node}", "state=resume", check=False)

    def node_is(self, state: str) -> None:
        self.call("scontrol", "update", f"nodename={self.node}", f"state={state}", "reason=test")

    def queue(self, *states: str) -> list[str]:
        """Numbers of jobs that wait or run, or those in these states."""
        chosen = [f"--states={','.join(states)}"] if states else []
        return self.call("squeue", "--me", "--array", "--noheader", "--format=%i", *chosen, check=False).split()


def _two_free_ports() -> int:
    """The first of two neighbours."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            return port
