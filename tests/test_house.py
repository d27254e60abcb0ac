"""The house's own rules: who imports whom, style, types, and commands that documents show."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A room may import rooms above it in this list, and itself.
ROOMS = [
    "errors",
    "files",
    "progress",
    "locking",
    "randomness",
    "networks",
    "groups",
    "trainable",
    "fused",
    "measure",
    "regrow",
    "data",
    "config",
    "runs",
    "training",
    "features",
    "seedfile",
    "examine",
    "deploy",
]
# Command files are doors: they may use the parser of the configuration.
DOORS = ("command.py", "cli.py", "__main__.py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", sources("bnonly"), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_rooms_to_their_left(path):
    inside = path.relative_to(ROOT / "bnonly").parts
    room = inside[0].removesuffix(".py")
    for name in imports(path):
        head, *rest = name.split(".")
        assert head not in ("experiments", "analysis"), f"{path} imports {name}"
        if head == "bnonly" and rest and rest[0] in ROOMS and room in ROOMS and path.name not in DOORS:
            assert ROOMS.index(rest[0]) <= ROOMS.index(room), f"{path} imports {name}, a room to its right"


@pytest.mark.parametrize("path", sources("analysis"), ids=lambda path: path.name)
def test_analysis_imports_no_torch(path):
    for name in imports(path):
        assert name.split(".")[0] not in ("torch", "torchvision", "lightning", "experiments")
        if name.startswith("bnonly."):
            assert name.split(".")[1] in ("runs", "config", "errors", "files", "networks")


def test_analysis_and_the_library_load_no_torch():
    script = "import sys, analysis.figures, analysis.report, bnonly, bnonly.runs, bnonly.cli\n"
    script += "assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["pyright"]], ids=" ".join)
def test_style_and_types(command):
    if command[0] == "pyright" and shutil.which("node") is None:
        pytest.skip("pyright would download node")
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_can_be_read_in_one_sitting():
    for folder in ("bnonly", "experiments", "analysis"):
        for path in sources(folder):
            assert len(path.read_text().splitlines()) <= 350, f"{path} is long: one subject each?"


def test_the_readme_shows_the_two_commands_and_ci_runs_one_of_them():
    readme = (ROOT / "README.md").read_text()
    assert "pip install uv && uv run bnonly demo" in readme
    script = (ROOT / ".ci" / "run").read_text()
    pattern = "sed -n '/<!-- tests -->/,/```$/{/^pip/p}' README.md"
    assert pattern in script
    command = subprocess.run(["bash", "-c", pattern], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    assert command == "pip install uv && uv run pytest"
