"""Writing what was measured into `RESULTS.md`, with the machine and the versions."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = (
    "torch", "numpy", "rasterio", "geounet", "torchgeo", "monai", "terratorch", "geoai-py",
)  # fmt: skip


def machine() -> str:
    """Return on what it was measured, in one line."""
    told = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", told.read_text()) if told.exists() else []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    installed = []
    for package in PACKAGES:
        try:
            installed.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, {memory:.0f} GiB; "
        f"Python {platform.python_version()}, {', '.join(installed)}; {datetime.now(UTC):%Y-%m-%d}"
    )


def write_results(name: str, title: str, text: str, results: Path = RESULTS) -> None:
    """Put `text` in the place of what `RESULTS.md` had under `name`, or at its end.

    Args:
        name: Of the marks around it, `<!-- name -->` and `<!-- /name -->`.
        title: Its heading.
        text: Markdown.
        results: The file.
    """
    before, begin, end = (
        results.read_text(encoding="utf-8"),
        f"<!-- {name} -->",
        f"<!-- /{name} -->",
    )
    section = f"{begin}\n## {title}\n\n{machine()}\n\n{text.strip()}\n{end}"
    if begin in before and end in before:
        head, _, rest = before.partition(begin)
        after = head + section + rest.partition(end)[2]
    else:
        after = f"{before.rstrip()}\n\n{section}\n"
    results.write_text(after, encoding="utf-8")
