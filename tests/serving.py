"""A web server on loopback that keeps to ranges, counts what it sends, and fails as it is told."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """What was asked for, and how many bytes of a file went out for it."""

    method: str
    path: str
    range: str | None
    status: int
    sent: int


class Fault:
    """What goes wrong instead of an answer."""


class Refuse(Fault):
    """The answer is an error."""

    def __init__(self, status: int) -> None:
        self.status = status


class Stall(Fault):
    """The header and some of the body come, then nothing for as long as the server runs."""

    def __init__(self, after: int = 100) -> None:
        self.after = after


class Silence(Fault):
    """Nothing comes, not even a header."""


class Die(Fault):
    """Some of the body comes, then the connection is cut."""

    def __init__(self, after: int = 100) -> None:
        self.after = after


FaultOf = Callable[[str, int], Fault | None]
"""From the path that is asked for, and how many requests for it there were before, what goes
wrong; None is nothing."""


def refuse_first(times: int, status: int = 503) -> FaultOf:
    """Every path is refused a number of times."""
    return lambda _, before: Refuse(status) if before < times else None


@dataclass
class Server:
    """What it does, and what was asked of it."""

    folder: Path
    url: str = ""
    fault: FaultOf = lambda _path, _before: None
    requests: list[Request] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, ending: str = "") -> int:
        """Bytes of files that went out, of paths with this ending."""
        return sum(request.sent for request in self.requests if request.path.endswith(ending))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        state = self.state
        with state.lock:
            fault = state.fault(path, state.seen[path])
            state.seen[path] += 1
        if isinstance(fault, Silence):
            self._note(0, 0)
            state.over.wait()
            self.close_connection = True
        elif isinstance(fault, Refuse):
            self._short(fault.status)
        elif not (file := state.folder / path.lstrip("/")).is_file():
            self._short(404)
        else:
            self._send(file.read_bytes(), body, fault)

    def _short(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self._note(status, 0)

    def _send(self, content: bytes, body: bool, fault: Fault | None) -> None:
        start, stop, status = 0, len(content), 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start = int(asked[1])
            stop = min(len(content), int(asked[2]) + 1 if asked[2] else len(content))
            if start >= len(content):
                self._short(416)
                return
            status = 206
        self.send_response(status)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        part = content[start:stop] if body else b""
        if isinstance(fault, Stall | Die):
            part = part[: fault.after]
        self._note(status, len(part))
        try:
            self.wfile.write(part)
            self.wfile.flush()
        except OSError:  # the reader has had enough
            self.close_connection = True
        if isinstance(fault, Stall):
            self.state.over.wait()
        if fault is not None:
            self.close_connection = True

    def _note(self, status: int, sent: int) -> None:
        with self.state.lock:
            self.state.requests.append(
                Request(
                    method=self.command,
                    path=self.path.partition("?")[0],
                    range=self.headers.get("Range"),
                    status=status,
                    sent=sent,
                )
            )


@contextmanager
def serving(folder: Path, fault: FaultOf | None = None) -> Iterator[Server]:
    """Serve a folder on loopback; `Server.url` is its address, without a slash at the end."""
    state = Server(folder)
    if fault is not None:
        state.fault = fault
    handler = type("Handler", (_Handler,), {"state": state})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.over.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()
