"""A page in a headless Chromium, spoken to by the DevTools protocol."""

import base64
import io
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import requests
import websocket
from numpy.typing import NDArray

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--remote-debugging-port=0",
)  # fmt: skip
PATIENCE_S = 60


class Browser:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(
            address, suppress_origin=True, timeout=PATIENCE_S
        )
        self._number = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; what happens meanwhile is among `events`."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            said = json.loads(self._socket.recv())
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    def run(self, script: str) -> Any:
        """Return what JavaScript comes to."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, path: Path, *, width: int = 1280, height: int = 900) -> None:
        """Open a page and wait until it says that it is drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.call("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + PATIENCE_S
        while not self.run("document.documentElement?.dataset.drawn === 'yes'"):
            assert time.monotonic() < end, self.complaints()
            time.sleep(0.1)
        time.sleep(0.5)  # pictures are decoded

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def screenshot(self, clip: dict[str, float] | None = None) -> NDArray[np.float32]:
        """Return what is to be seen, (height, width, 3 or 4), 0–1."""
        extra = {"clip": {**clip, "scale": 1}} if clip else {}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, **extra)
        return matplotlib.image.imread(io.BytesIO(base64.b64decode(shot["data"])), format="png")

    def requested(self) -> list[str]:
        """Return all addresses that were asked for, without what is part of the page."""
        urls = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """Return errors and warnings of the console, and exceptions."""
        said = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(json.dumps(params["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded":
                said.append(params["entry"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in (
                "error", "warning", "assert",
            ):  # fmt: skip
                said.append(json.dumps(params["args"]))
        return said


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a Chromium with an empty profile; skip the test where there is none."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = _port(Path(profile) / "DevToolsActivePort", process)
            tabs = requests.get(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE_S).json()
            (address, *_) = [t["webSocketDebuggerUrl"] for t in tabs if t["type"] == "page"]
            browser = Browser(address)
            try:
                yield browser
            finally:
                browser.close()
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _port(path: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + PATIENCE_S
    while not (path.is_file() and path.read_text().count("\n")):
        assert process.poll() is None, f"the browser ended with {process.returncode}"
        assert time.monotonic() < end, "the browser does not say its port"
        time.sleep(0.1)
    return path.read_text().splitlines()[0]
