"""A server that speaks as much of wandb's protocol as a run needs to be sent to it, and remembers what came."""

from __future__ import annotations

import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Runs by id: what UpsertBucket said last, the history's lines by their place, the summary."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.said: list[tuple[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.summary: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def history(self, run: str) -> list[dict[str, Any]]:
        return [line for _, line in sorted(self.lines[run].items())]


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, body: Any, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def do_GET(self) -> None:
        self._body()
        self._answer({})

    def do_PUT(self) -> None:
        self._body()
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/file_stream"):
            run = self.path.split("/")[-2]
            self.server.said.append((self.path, None))
            files = json.loads(body).get("files") or {}
            for name, file in files.items():
                lines = [json.loads(line) for line in file["content"]]
                if name == "wandb-history.jsonl":
                    self.server.lines[run] |= dict(enumerate(lines, file["offset"]))
                elif name == "wandb-summary.json":
                    self.server.summary[run] = lines[-1]
            self._answer({"exitcode": None, "limits": {}})
            return
        if self.path != "/graphql":
            self._answer({})
            return
        asked = json.loads(body)
        query, variables = asked["query"], asked.get("variables") or {}
        self.server.said.append((query.split("(")[0].split("{")[0].strip(), variables))
        self._answer({"data": self._data(query, variables)})

    def _data(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The fields that wandb's query asks for."""
        run, project = variables.get("name"), {"id": "p", "name": "bnonly", "entity": {"id": "e", "name": "someone"}}
        if "upsertBucket" in query:
            inserted = run not in self.server.runs
            given = {key: value for key, value in variables.items() if value is not None}
            self.server.runs.setdefault(run, {}).update(given)
            bucket = {
                "id": run,
                "name": run,
                "displayName": run,
                "sweepName": None,
                "config": "{}",
                "project": project,
            }
            bucket["historyLineCount"] = len(self.server.lines[run])
            return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}
        if "query RunResumeStatus" in query:
            return {"model": project | {"bucket": self._resumed(run)}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.server.url}/put/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}
        if "query Viewer" in query:
            return {"viewer": {"id": "v", "entity": "someone", "username": "someone", "flags": "{}", "teams": None}}
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        return {}

    def _resumed(self, run: str) -> dict[str, Any] | None:
        """Where a known run stands: its last line, twice coded, as wandb's server says it."""
        if run not in self.server.runs:
            return None
        lines = self.server.history(run)
        config = self.server.runs[run].get("config", "{}")
        return {
            "id": run,
            "name": run,
            "displayName": run,
            "tags": self.server.runs[run].get("tags", []),
            "summaryMetrics": json.dumps(self.server.summary.get(run, {})),
            "logLineCount": 0,
            "historyLineCount": len(lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(line) for line in lines[-1:]]),
            "eventsTail": "[]",
            "config": config,
            "wandbConfig": "{}",
        }
