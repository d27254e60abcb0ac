"""The same frozen bits whatever the machine does: instruction sets, threads, byte order, versions of numpy.

Each case is a process of its own, since these are settings of a process. The part of a reader that draws the weights
needs numpy (and rfc8785, which is plain Python) alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from bnonly.seedfile.container import payload_sha256
from bnonly.seedfile.contents import read
from tests.seedfile.anywhere import written
from tests.seedfile.made import CASES, GOLDEN, golden

ROOT = Path(__file__).parents[2]
FROZEN = {name: read(golden(name)).header.frozen_sha256 for name in CASES}

NUMPY_ALONE = """
import json, platform, sys
from pathlib import Path
sys.modules["torch"] = sys.modules["safetensors"] = None
import numpy
from tests.seedfile.anywhere import digests
found = {path.stem: digests(path) for path in sorted(Path(sys.argv[1]).glob("*.safetensors"))}
print(json.dumps([numpy.__version__, [platform.machine(), sys.byteorder], found]))
"""
WITH_TORCH = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[2]))
from bnonly.seedfile.loading import load
nets = {path.stem: load(path) for path in sorted(Path(sys.argv[1]).glob("*.safetensors"))}
digests = {name: net.stored.frozen_sha256 for name, net in nets.items()}
print(json.dumps([torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), digests]))
"""


def told(script: str, *argv: str, python: tuple[str, ...] = (sys.executable,), env: dict[str, str] | None = None):
    done = subprocess.run(
        [*python, "-c", script, str(GOLDEN), *argv],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@cache
def wanted() -> dict[str, list[str]]:
    """By `anywhere.digests`: of the headers, of the file of digests, and of the headers again.

    rans-1 takes its scales anew, so that its buffer is compared with what this machine writes, whose bytes
    `test_golden.py` knows.
    """
    known = json.loads((GOLDEN / "digests.json").read_text())
    buffers = {}
    for name in CASES:
        contents = read(golden(name))
        own = contents.header.codec != "rans-1"
        buffers[name] = contents.header.payload_sha256 if own else payload_sha256(written(contents))
    return {name: [FROZEN[name], known[name], buffers[name]] for name in CASES}


def told_by_numpy(
    python: tuple[str, ...] = (sys.executable,), env: dict[str, str] | None = None
) -> tuple[str, list[str]]:
    version, processor, found = told(NUMPY_ALONE, python=python, env=env)
    assert found == wanted()
    return version, processor


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
        {"NPY_DISABLE_CPU_FEATURES": "SSE41 SSE42 AVX F16C FMA3 AVX2 POPCNT SSSE3 SSE3"},
        {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"},
    ],
    ids=lambda env: " ".join(env.values()) or "as it is",
)
def test_numpy_alone_reads_and_writes_the_same(env):
    told_by_numpy(env=env | {"PYTHONWARNINGS": "ignore"})  # numpy warns of features it has not got


@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_torch_loads_them_whatever_its_instruction_set(capability, threads):
    """All probes too: logits within the tolerance under every set of kernels."""
    if capability == "avx512" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("the processor has no AVX-512, and torch would use it all the same")
    used, count, found = told(WITH_TORCH, threads, env={"ATEN_CPU_CAPABILITY": capability})
    assert found == FROZEN
    assert count == int(threads)
    if capability == "default":
        assert used == "DEFAULT"


def test_a_machine_of_the_other_byte_order():
    """As far as one can see from here: arrays of swapped bytes hash, decode and draw alike."""
    from bnonly.randomness import bngen
    from bnonly.seedfile.growing import Digest

    values = bngen.he_weights(7, 3, 1000, 27)
    swapped = values.astype(values.dtype.newbyteorder())
    assert swapped.tobytes() != values.tobytes()
    digests = []
    for array in (values, swapped):
        with Digest() as digest:
            digest.add(array)
            digests.append(digest.hexdigest())
    assert digests[0] == digests[1] == bngen.sha256(values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numpy", "newest"), [("1.26.0", 12), ("1.26.4", 12), ("2.0.2", 12), ("2.1.3", 13), ("2.2.6", 13), ("2", 99)]
)
def test_versions_of_numpy(numpy, newest):
    """From the package index, into environments of their own: `uv` must be there, and a network.

    newest: the last Python 3 that this numpy has wheels for.
    """
    if (uv := shutil.which("uv")) is None:
        pytest.skip("uv is not installed")
    if sys.version_info.minor > newest:
        pytest.skip(f"numpy {numpy} has no wheel for this Python")
    spec = f"numpy=={numpy}" if "." in numpy else f"numpy>={numpy}"
    options = ("--isolated", "--no-build", "--python", sys.executable, "--with", spec, "--with", "rfc8785")
    version, _ = told_by_numpy((uv, "run", "--no-project", *options, "python"))
    assert version.startswith(numpy)


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "order"), [("aarch64", "little"), ("s390x", "big")])
def test_other_processors(machine, order):
    """Under qemu-user, s390x being big-endian. `tests/seedfile/foreign.sh MACHINE FOLDER` installs what it takes."""
    folder = Path(os.environ.get("BNONLY_FOREIGN", Path.home() / ".cache" / "bnonly-foreign")) / machine
    if not (folder / "python.sh").exists():
        pytest.skip(f"run tests/seedfile/foreign.sh {machine} {folder} first")
    _, processor = told_by_numpy(("sh", str(folder / "python.sh")))
    assert processor == [machine, order]
