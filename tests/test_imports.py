"""What is imported before there is work for it: by the package, and by commands that only tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "lightning", "wandb", "sklearn", "pandas", "matplotlib", "seaborn", "numpy", "PIL"}
HEAVY |= {"safetensors", "filelock", "asyncio", "pydantic_settings", "rich", "jinja2"}
MORE = HEAVY | {"pydantic", "yaml"}
CLI = "from bnonly.cli import main; assert main({argv}) == 0"


@pytest.mark.parametrize(
    ("script", "unused"),
    [
        ("import bnonly", MORE | {"argparse", "json", "inspect"}),
        (CLI.format(argv=["--help"]), MORE | {"argparse", "json", "inspect"}),
        (CLI.format(argv=["networks"]), MORE),
        (CLI.format(argv=["experiment", "list"]), MORE),
        (CLI.format(argv=["experiment", "status", "depth"]), HEAVY),
    ],
    ids=["import bnonly", "bnonly --help", "networks", "experiment list", "experiment status"],
)
def test_nothing_is_imported_without_need(script, unused, tmp_path):
    script += f"\nimport sys; assert not sys.modules.keys() & {unused}, sys.modules.keys() & {unused}"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
