"""A local HTTP server that behaves badly on purpose, as a test tells it to."""

import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise


class FlakyServer(ThreadingHTTPServer):
    """Serves `files` (name -> bytes); what it does wrong is set by the attributes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}  # name -> ETag
        self.asked: list[tuple[str, str | None]] = []  # (name, Range) of every request
        self.statuses: list[int] = []  # the first requests are answered by these
        self.cuts: Iterator[int] = iter(())  # bytes after which each connection ends, while they last
        self.resets = True  # whether it ends by a reset, which takes unread bytes along, or just ends
        self.stalls = 0  # connections that go silent in the middle
        self.ranges = True  # whether Range is heeded
        self.lying = False  # whether If-Range is not
        self.pause = 0.0  # seconds after every 64 KiB
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One more answer is being sent."""
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self.lock:
                self.at_once -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: FlakyServer

    def do_GET(self) -> None:
        server, name, wanted = self.server, self.path.rsplit("/", 1)[-1], self.headers.get("Range")
        server.asked.append((name, wanted))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
        elif name not in server.files:
            self.send_error(404)
        else:
            self._answer(name, wanted)

    def _answer(self, name: str, wanted: str | None) -> None:
        server, content, version = self.server, self.server.files[name], self.server.versions.get(name, "")
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and server.ranges else 0
        if self.headers.get("If-Range", version) != version and not server.lying:
            start = 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if version:
            self.send_header("ETag", version)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = next(server.cuts, None)
        stalling, server.stalls = server.stalls > 0, max(server.stalls - 1, 0)
        if stalling:
            end = (len(content) - start) // 2
        self._send(content[start : start + end if end is not None else None])
        if stalling:
            time.sleep(5)
        elif end is not None and server.resets:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset

    def _send(self, body: bytes) -> None:
        pieces = [body[a:b] for a, b in pairwise([*range(0, len(body), 1 << 16), len(body)])]
        with self.server.counted():  # not the last one: who has it may ask for the next file at once
            for piece in pieces[:-1]:
                self._send_piece(piece)
        for piece in pieces[-1:]:
            self._send_piece(piece)

    def _send_piece(self, piece: bytes) -> None:
        self.wfile.write(piece)
        self.wfile.flush()
        time.sleep(self.server.pause)

    def log_message(self, format: str, *args: object) -> None:
        pass


def cuts(seed: int, most: int) -> Iterator[int]:
    """Each connection ends after a number of bytes drawn from 0 to `most`."""
    draw = random.Random(seed)
    while True:
        yield draw.randint(0, most)


@contextmanager
def serving() -> Iterator[FlakyServer]:
    with FlakyServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
