"""The demo's whole way, short; the full one is slow."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest

from bnonly.cli import main
from bnonly.runs import RunFolder
from bnonly.seedfile import load
from experiments import demo


class Page(HTMLParser):
    """Counts a page's tags and collects what it would load."""

    def __init__(self):
        super().__init__()
        self.tags, self.loads = {}, []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.loads += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]


def check_page(path):
    page = Page()
    page.feed(path.read_text())
    assert page.tags["svg"] == 3
    assert page.tags["table"] == 3
    assert not page.tags.get("script") and not page.loads


def test_a_short_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "EPOCHS", 1)
    monkeypatch.setattr(demo, "NETWORK", "cifar_resnet8")
    monkeypatch.setattr(demo, "MARGINS", ())
    assert main(["demo", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "report.html")
    assert "verified in a fresh process" in said.err
    assert load(tmp_path / "net.safetensors").stored.info["group"] == "bn"
    assert {path.name for path in tmp_path.iterdir()} == {"net.safetensors", "report.html", "runs"}
    assert all(group in said.err for group in demo.GROUPS)
    check_page(tmp_path / "report.html")
    runs = list((tmp_path / "runs" / "demo").iterdir())
    assert len(runs) == 5 and all(RunFolder(run).result() for run in runs)


def test_a_story_that_does_not_hold_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "EPOCHS", 1)
    monkeypatch.setattr(demo, "NETWORK", "cifar_resnet8")
    monkeypatch.setattr(demo, "MARGINS", (("bn", "output", 0.9),))
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "less than the 90 points" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo(tmp_path, seed):
    started = time.monotonic()
    assert main(["demo", "--out", str(tmp_path), "--seed", str(seed)]) == 0
    check_page(tmp_path / "report.html")
    assert time.monotonic() - started < 600  # a guard against a hang, not a measurement
