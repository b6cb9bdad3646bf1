"""What all tests share."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, so that what fails is what was changed; `make soak` draws others.
settings.register_profile("same", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("drawn", deadline=None, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scenes, beside the project where there is one."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real scenes in {folder}")
    return folder


@dataclass(frozen=True)
class Run:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr that says what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, f"not one error line:\n{self.err}"
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def geounet(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Run]]:
    """The command line, in this process: `geounet("tile", scene, "--out", folder)`."""
    from geounet_cli.main import main

    logger = logging.getLogger("geounet")
    before = logger.level, logger.handlers, logger.propagate
    on_stop = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> Run:
        capfd.readouterr()
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        else:
            status = 0
        said = capfd.readouterr()
        return Run(status, said.out, said.err)

    yield run
    # A command is a process of its own elsewhere; here what it set would be the next test's.
    logger.setLevel(before[0])
    logger.handlers, logger.propagate = before[1], before[2]
    for number, handler in on_stop.items():
        signal.signal(number, handler)
