"""The page of docs/browser in Chromium: a network trained here classifies pictures there, with the same logits."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import bnonly
from bnonly.cli import main
from tests.deploy import chromium

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.CHROMIUM is None, reason="the page is opened in Chromium, which is not here"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm fetches onnxruntime-web, and is not here"),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def place(tmp_path):
    """The page, onnxruntime-web of the version that the document names, and a server's address."""
    web = shutil.copytree(ROOT / "docs" / "browser", tmp_path / "web")
    (wanted,) = set(re.findall(r"onnxruntime-web@[\d.]+", (ROOT / "docs" / "deploy.md").read_text()))
    done = subprocess.run(["npm", "install", "--prefix", str(web), wanted], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm could not fetch {wanted}: {done.stderr.strip().splitlines()[-1:]}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(web)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield web, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_picture_dropped_on_the_page(place, tmp_path, monkeypatch):
    web, address = place
    monkeypatch.chdir(tmp_path)
    fit = ["fit", "--network.name", "cifar_resnet8", "--training.epochs", "3", "--group", "bn+output"]
    assert main([*fit, "--experiment", "browser", "--tracking", "off"]) == 0
    (run,) = (tmp_path / "runs" / "browser").iterdir()
    assert main(["export", str(run), "-o", "net.safetensors", "--dtype", "fp16"]) == 0
    assert main(["deploy", "net.safetensors", "-o", str(web / "net.onnx"), "--self-inflating"]) == 0
    net = bnonly.load("net.safetensors")
    known = net.stored.input
    runtime = onnxruntime.InferenceSession(str(web / "net.onnx"), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    with chromium.Page(tmp_path / "profile", address) as page:
        assert page.wait("window.opened ?? window.failed ?? null") < 60
        assert page.evaluate("document.getElementById('network').innerText").startswith("cifar_resnet8: ")
        for number in range(3):
            pixels = generator.integers(0, 256, (*known.shape[1:], 3), np.uint8)
            path = tmp_path / f"{number}.png"
            Image.fromarray(pixels).save(path)
            page.evaluate("window.answer = null")
            page.drop("#place", path)
            got = np.array(page.wait("window.answer"))
            scaled = (pixels / np.float32(255) - np.float32(known.mean)) / np.float32(known.std)
            images = scaled.transpose(2, 0, 1)[None].astype(np.float32)
            with torch.no_grad():
                wanted = net(torch.from_numpy(images)).numpy()[0]
            for other in (wanted, runtime.run(None, {"images": images})[0][0]):
                assert np.abs(got - other).max() <= 1e-4 * np.abs(other).max()
            assert page.evaluate("document.querySelector('#answer td').innerText") == known.labels[wanted.argmax()]
        page.evaluate("window.answer = null")
        (tmp_path / "no.png").write_text("no picture")
        page.drop("#place", tmp_path / "no.png")
        assert page.wait("document.querySelector('#answer').innerText.startsWith('This is no picture') || null")
    with chromium.Page(tmp_path / "other", f"{address}?network=none.onnx") as page:
        assert "none.onnx is not there (404)" in page.wait("window.failed ?? null")
