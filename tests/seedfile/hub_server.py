"""A Hugging Face Hub of this machine: the few of its addresses that downloads and uploads of models use.

Written from the client's requests (huggingface_hub 2.4) and https://huggingface.co/docs/hub/api; in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_a_member"


@dataclass
class Repository:
    """commits: files by name, by commit, the last one last. branches: commit by name."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        whole = self.at(branch) | files
        name = hashlib.sha1(repr((branch, sorted(whole.items()))).encode()).hexdigest()
        self.commits[name], self.branches[branch] = whole, name
        self.messages.append(message)
        return name

    def at(self, revision: str) -> dict[str, bytes]:
        return self.commits.get(self.branches.get(revision, revision), {})


class Hub(ThreadingHTTPServer):
    """asked: "METHOD path" of every request. status: what every request is answered with, if set.

    altered: file names whose bytes are passed through a function on their way out, the ETag left as it is.
    after: called with a file's name once it was served. lfs: names that are uploaded by the LFS protocol.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []
        self.status: int | None = None
        self.altered: dict[str, Callable[[bytes], bytes]] = {}
        self.after: Callable[[str], None] = lambda name: None
        self.lfs: tuple[str, ...] = ()
        self.stored: dict[str, bytes] = {}
        self.bare = False  # answers like any web server, without the Hub's headers
        self.refused_card = ""

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what is tested

    def files(self) -> list[str]:
        """What was asked for, but for the list of programs that huggingface_hub fetches once a day."""
        return [request for request in self.asked if not request.endswith("/api/agent-harnesses")]


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do_HEAD(self) -> None:
        self._any()

    do_GET = do_POST = do_PUT = do_HEAD  # noqa: N815

    def _any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.status:
            return self._say(self.server.status)
        for pattern, answer in ROUTES.items():
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return answer(self, *found.groups())
        return self._say(404)

    def _say(self, code: int, body: object = None, error: str = "", **headers: str) -> None:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"X-Error-Code": error, "Content-Length": str(len(data)), **headers}.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _member(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, name: str) -> Repository | None:
        """The repository, or None once the Hub's own refusal was sent."""
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self._member()):
            self._say(404 if self._member() else 401, error="RepoNotFound")
        elif found.gated and not self._member():
            self._say(403, error="GatedRepo")
        else:
            return found
        return None

    def file(self, name: str, revision: str, path: str) -> None:
        if (repository := self._repository(name)) is None:
            return
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self._say(404, error="RevisionNotFound")
        data = repository.commits[commit].get(path)
        if data is None:
            return self._say(404, error="EntryNotFound", X_Repo_Commit=commit)
        known = {} if self.server.bare else {"X_Repo_Commit": commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        sent = data
        if self.command == "GET":
            sent = self.server.altered.get(path, bytes)(data)
        if len(sent) < len(data):  # a line that breaks
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(sent)
            self.close_connection = True
            return None
        self._say(200, sent, **known)
        if self.command == "GET":
            self.server.after(path)
        return None

    def create(self) -> None:
        asked = json.loads(self.body)
        if not self._member():
            return self._say(401, {"error": "Invalid username or password."})
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.repositories:
            return self._say(
                409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}
            )
        made = Repository(private=asked.get("visibility") == "private")
        made.commit({".gitattributes": b""})
        self.server.repositories[name] = made
        return self._say(200, {"url": f"{self.server.url}/{name}"})

    def model(self, name: str, revision: str | None = None) -> None:
        if (repository := self._repository(name)) is not None:
            commit = repository.branches[revision or "main"]
            about = {"id": name, "private": repository.private, "sha": commit, "siblings": [], "tags": []}
            self._say(200, about)

    def branch(self, name: str, branch: str) -> None:
        repository = self.server.repositories[name]
        if branch in repository.branches:
            return self._say(409, {"error": "Reference already exists"})
        repository.branches[branch] = repository.branches["main"]
        return self._say(200, {})

    def validate(self) -> None:
        if self.server.refused_card:
            return self._say(400, {"errors": [{"message": self.server.refused_card}], "warnings": []})
        return self._say(200, {"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        there = self.server.repositories[name].at(revision)
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"] in self.server.lfs else "regular",
                "shouldIgnore": False,
                "oid": _git_name(there[file["path"]]) if file["path"] in there else None,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._say(200, {"files": files})

    def batch(self, name: str) -> None:
        objects = [
            {
                "oid": wanted["oid"],
                "size": wanted["size"],
                "actions": {"upload": {"href": f"{self.server.url}/lfs/{wanted['oid']}"}},
            }
            for wanted in json.loads(self.body)["objects"]
        ]
        self._say(200, {"transfer": "basic", "objects": objects})

    def keep(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.stored[oid] = self.body
        self._say(200)

    def commit(self, name: str, revision: str) -> None:
        header, *lines = map(json.loads, self.body.splitlines())
        files = {}
        for line in lines:
            value = line["value"]
            kinds = {
                "file": lambda v: base64.b64decode(v["content"]),
                "lfsFile": lambda v: self.server.stored[v["oid"]],
            }
            files[value["path"]] = kinds[line["key"]](value)
        made = self.server.repositories[name].commit(files, revision, header["value"]["summary"])
        self._say(200, {"commitUrl": f"{self.server.url}/{name}/commit/{made}", "commitOid": made})


_NAME = r"([^/]+/[^/]+)"
ROUTES: dict[str, Callable[..., None]] = {
    rf"(?:HEAD|GET) /{_NAME}/resolve/([^/]+)/(.+)": Handler.file,
    "POST /api/repos/create": Handler.create,
    rf"GET /api/models/{_NAME}(?:/revision/(.+))?": Handler.model,
    rf"POST /api/models/{_NAME}/branch/(.+)": Handler.branch,
    "POST /api/validate-yaml": Handler.validate,
    rf"POST /api/models/{_NAME}/preupload/(.+)": Handler.preupload,
    rf"POST /{_NAME}\.git/info/lfs/objects/batch": Handler.batch,
    "PUT /lfs/([0-9a-f]{64})": Handler.keep,
    rf"POST /api/models/{_NAME}/commit/(.+)": Handler.commit,
}


def _git_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
