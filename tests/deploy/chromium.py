"""A page in headless Chromium, steered by the DevTools protocol through a pair of pipes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One page of a browser of its own, whose profile lies in `folder`."""

    def __init__(self, folder, url: str) -> None:
        assert CHROMIUM
        (there, self._out), (self._in, back) = os.pipe(), os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        # The browser reads commands from 3 and answers on 4.
        script = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, str(there), str(back), CHROMIUM, *flags],
            pass_fds=(there, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there)
        os.close(back)
        self._buffer, self._number, self._session = b"", 0, None
        target = self.ask("Target.createTarget", url=url)["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._out)
        os.close(self._in)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 120) -> Any:
        """The first value of a script that is not null."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (value := self.evaluate(script)) is not None:
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{script} stayed null: {self.evaluate('document.body.innerText')}")

    def drop(self, selector: str, path: object) -> None:
        """Drop a file from the desktop on an element."""
        box = self.evaluate(
            f"(({{x, y}}) => [x + 5, y + 5])(document.querySelector('{selector}').getBoundingClientRect())"
        )
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.ask("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            fresh = os.read(self._in, 1 << 20)
            assert fresh, "the browser has gone"
            self._buffer += fresh
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)
