"""A server on this machine that behaves as badly as it is told, and remembers what it was asked for."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler", int | None], None]


class Server(ThreadingHTTPServer):
    """`answers` by path; `asked`: path and first byte of every request; `sent`: bytes of bodies."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, int | None]] = []
        self.sent = 0
        self.go_on = threading.Event()

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what is tested


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else None
        self.server.asked.append((self.path, start))
        self.server.answers.get(self.path, status(404))(self, start)

    def log_message(self, format, *args):
        pass

    def begin(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.server.sent += len(data)  # before the client can have it and look
        self.wfile.write(data)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def status(code: int, **headers: object) -> Answer:
    return lambda handler, start: handler.begin(code, headers)


def file(
    data: bytes,
    *,
    ranges: bool = True,
    cuts: tuple[int, ...] = (),
    reset: bool = False,
    hold: int | None = None,
    piece: int | None = None,
    pause: float = 0.0,
    length: bool = True,
    kind: str = "application/gzip",
) -> Answer:
    """A file. cuts: bytes that the first, second, ... answers break off after. hold: bytes after which the server
    sends no more until it may `go_on`. piece, pause: bytes sent at a time and seconds between them."""
    left = list(cuts)

    def answer(handler: Handler, start: int | None) -> None:
        start = start if ranges else None
        if start is not None and start >= len(data):
            return handler.begin(416, {"Content-Range": f"bytes */{len(data)}"})
        headers: dict[str, object] = {"Content-Type": kind}
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start or 0 :]
        if length:
            headers["Content-Length"] = len(body)
        handler.begin(200 if start is None else 206, headers)
        cut = left.pop(0) if left else None
        whole, body = body, body[:cut]
        if hold is not None and not handler.server.go_on.is_set():
            handler.send(body[:hold])
            handler.server.go_on.wait(30)
            body = body[hold:]
        for place in range(0, len(body), piece or len(body)):
            handler.send(body[place : place + (piece or len(body))])
            time.sleep(pause)
        if reset and len(body) < len(whole):
            time.sleep(0.1)  # what was sent arrives, then the line breaks
            handler.reset()
        return None

    return answer


def says(code: int, body: bytes, **headers: object) -> Answer:
    """Always the same answer, whatever part was asked for."""

    def answer(handler: Handler, start: int | None) -> None:
        handler.begin(code, {name.replace("_", "-"): value for name, value in headers.items()})
        handler.send(body)

    return answer
