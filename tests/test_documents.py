"""What the documents show is run: every block of sh and python, in order, in a folder with a clone's files."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.pictures import image_folder, write_cifar
from tests.warm import Warm

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Why a block is not run here: the README's two commands are the tests themselves and a test of their own.
EXEMPT = {"demo", "tests"}
BLOCK = re.compile(r"(?:<!-- ([^\n]*?) -->\n)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(document: Path) -> list[tuple[str | None, str, str]]:
    """Remark before it, language and text of each fenced block."""
    return [(remark or None, language, text) for remark, language, text in BLOCK.findall(document.read_text())]


@pytest.fixture
def beginner(tmp_path, monkeypatch):
    """A folder with what a clone has, and a home with some data in it and no account anywhere."""
    home, place = tmp_path / "home", tmp_path / "clone"
    place.mkdir()
    for name in ("configs", "experiments", "analysis"):
        (place / name).symlink_to(ROOT / name)
    write_cifar(home / "cifar", "cifar10", 4, images=4)
    image_folder(home / "imagenet", classes=3, train=8, test=3)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("WANDB_MODE", "disabled")  # auto heeds it; what asks for wandb by name gets it
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    return place


def pieces(text: str) -> Iterator[tuple[str, list[str] | str]]:
    """A block of sh as plain calls of bnonly, which begin warm, and whatever else there is, for bash."""
    rest = ""
    for line in text.splitlines(keepends=True):
        if re.match(r"bnonly [^$|>&;*]*(#.*)?$", line):
            if rest.strip():
                yield "bash", rest
            rest = ""
            yield "bnonly", [os.path.expanduser(part) for part in shlex.split(line, comments=True)[1:]]  # noqa: PTH111
        else:
            rest += line
    if rest.strip():
        yield "bash", rest


# Up to a minute each, and what they run is tested in rooms of their own.
LONG = ("deploy", "imagenet", "measures", "perceptual", "report", "seedfile", "style")
RUN = [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in LONG), id=path.stem) for path in DOCUMENTS]


@pytest.mark.parametrize("document", RUN)
def test_every_block_runs(document, beginner):
    for remark, language, text in blocks(document):
        if language not in ("sh", "python") or remark in EXEMPT or (remark or "").startswith("not run: "):
            continue
        for kind, piece in pieces(text) if language == "sh" else [("python", text)]:
            if kind == "bnonly":
                process = Warm("import sys; from bnonly.cli import main; sys.exit(main())", piece, beginner)
                said = process.communicate(timeout=300)
                status = process.returncode
            else:
                command = [sys.executable] if kind == "python" else ["bash", "-euo", "pipefail"]
                done = subprocess.run(
                    [*command, "-c", piece], cwd=beginner, capture_output=True, text=True, timeout=300
                )
                said, status = (done.stdout, done.stderr), done.returncode
            assert status == 0, f"{piece}\n{said}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_what_is_not_run_is_understood_at_least(document, beginner):
    """Scripts parse; and fit's flags, also behind torchrun, are flags."""
    from bnonly.cli import main

    os.chdir(beginner)
    for remark, language, text in blocks(document):
        if language in ("sh", "bash"):
            subprocess.run(["bash", "-n", "-c", text], check=True)
        if (remark or "").startswith("not run: "):
            for flags in re.findall(r"\bbnonly fit (.*)", text):
                assert main(["fit", *flags.split(), "--print-config"]) == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


def test_groups_are_all_there_with_their_counts():
    from bnonly.groups import GROUPS
    from bnonly.networks import network
    from bnonly.trainable import freeze_all_but, trained_of

    table = re.findall(r"^\| `(.+?)` \| .+? \| (.+) \|$", (ROOT / "docs" / "groups.md").read_text(), re.MULTILINE)
    assert {name for name in GROUPS if name != "random:K"} | {"random:2", "bn+output"} == {name for name, _ in table}
    names = ("cifar_resnet14", "cifar_resnet56", "cifar_wrn14_4", "resnet18", "resnet50")
    nets = [network(name, seed=0, classes=10 if "cifar" in name else 1000) for name in names]
    for group, row in table:
        for net in nets:
            freeze_all_but(net, group)
        assert row == " | ".join(f"{trained_of(net)[0]:,}" for net in nets), group
