"""A web server on loopback that keeps to ranges, counts what it sends, and fails as it is told.

It runs in a process of its own, because GDAL is at times asked with Python's lock held: a server
in a thread could not answer then. Run as a program, this file is that process.
"""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

LOG = "/requests-so-far"


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and with which requests."""

    kind: Literal["refuse", "stall", "silence", "die"]
    """An error status; some of the body, then nothing; nothing at all; some of the body, then the
    connection is cut."""
    first: int = 0
    """How many requests for a path go well before."""
    times: int = 1_000_000
    """How many requests for a path go wrong."""
    ending: str = ""
    """Only paths that end so."""
    status: int = 503
    after: int = 100
    """Bytes of the body that come."""

    def strikes(self, path: str, before: int) -> bool:
        """Whether it hits a request for a path that was asked for `before` times."""
        return path.endswith(self.ending) and self.first <= before < self.first + self.times


@dataclass(frozen=True)
class Request:
    """What was asked for, and how many bytes of a file went out for it."""

    method: str
    path: str
    range: str | None
    status: int
    sent: int


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    """Without a slash at the end."""

    def requests(self, ending: str = "") -> list[Request]:
        """What was asked so far of paths with an ending."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            self.url + LOG, timeout=10
        ) as answer:
            log = [Request(**fields) for fields in json.load(answer)]
        return [request for request in log if request.path.endswith(ending)]

    def sent(self, ending: str = "") -> int:
        """Bytes of files that went out."""
        return sum(request.sent for request in self.requests(ending))


@contextmanager
def serving(folder: Path, *faults: Fault) -> Iterator[Server]:
    """Serve a folder on loopback."""
    spec = json.dumps([asdict(fault) for fault in faults])
    command = [sys.executable, "-I", "-S", __file__, str(folder), spec]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.stdin.close()  # which ends it, as the end of this process would
            process.wait(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    faults: tuple[Fault, ...]
    lock = threading.Lock()
    log: list[Request] = []  # noqa: RUF012  one server in one process
    seen: Counter[str] = Counter()  # noqa: RUF012

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        if path == LOG:
            self._send_log()
            return
        with self.lock:
            fault = next((f for f in self.faults if f.strikes(path, self.seen[path])), None)
            self.seen[path] += 1
        file = self.folder / path.lstrip("/")
        if fault and fault.kind == "silence":
            self._note(path, 0, 0)
            threading.Event().wait()
        elif fault and fault.kind == "refuse":
            self._short(path, fault.status)
        elif not file.is_file():
            self._short(path, 404)
        else:
            self._send(path, file.read_bytes(), fault)

    def _send_log(self) -> None:
        body = json.dumps([asdict(request) for request in self.log]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _short(self, path: str, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self._note(path, status, 0)

    def _send(self, path: str, content: bytes, fault: Fault | None) -> None:
        start, stop, status = 0, len(content), 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start = int(asked[1])
            stop = min(len(content), int(asked[2]) + 1 if asked[2] else len(content))
            status = 206
        if start >= stop > 0:
            self._short(path, 416)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        part = content[start:stop] if self.command == "GET" else b""
        if fault:
            part = part[: fault.after]
        self._note(path, status, len(part))
        self.wfile.write(part)
        self.wfile.flush()
        if fault and fault.kind == "stall":
            threading.Event().wait()
        if fault:
            self.close_connection = True

    def _note(self, path: str, status: int, sent: int) -> None:
        asked = self.headers.get("Range")
        with self.lock:
            self.log.append(Request(self.command, path, asked, status, sent))


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a reader who has had enough."""


def _main(folder: str, spec: str) -> None:
    _Handler.folder = Path(folder)
    _Handler.faults = tuple(Fault(**fields) for fields in json.loads(spec))
    server = _Quiet(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # threads that stall would keep it


if __name__ == "__main__":
    _main(*sys.argv[1:])
