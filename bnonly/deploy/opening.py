"""What it costs onnxruntime to open a file, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bnonly.errors import ExportFailed

# VmHWM, not getrusage: a new process takes its parent's peak over there.
_SCRIPT = """
import json, sys, time
from pathlib import Path
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.log_severity_level = 4
begin = time.perf_counter()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
opened = time.perf_counter() - begin
(images,) = session.get_inputs()
feed = {images.name: np.zeros([1, *images.shape[1:]], np.float32)}
times = []
for _ in range(11):
    begin = time.perf_counter()
    session.run(None, feed)
    times.append(time.perf_counter() - begin)
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
peak = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
print(json.dumps([opened, sorted(times)[5], peak]))
"""


@dataclass(frozen=True)
class Opening:
    """Seconds until the session is ready, seconds for one image (median of 11), and the process's peak in bytes.

    peak: None where the system does not say (Linux does); it holds Python and onnxruntime too.
    """

    seconds: float
    image: float
    peak: int | None


def opening(path: Path) -> Opening:
    """Open an ONNX file of one input by onnxruntime, on the CPU with its default options, and run it on one image."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT, str(path)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ExportFailed(f"{path} was written, but a process of its own could not open it: {last}")
    return Opening(*json.loads(done.stdout))
