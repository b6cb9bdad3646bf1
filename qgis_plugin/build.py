"""Pack the plugin as QGIS installs it: `build/geounet-qgis-VERSION.zip`.

    python qgis_plugin/build.py [FOLDER]

The version is that of geounet, and the same sources give the same bytes.
"""

import re
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = Path(__file__).with_name("geounet_qgis")
ENDINGS = {".py", ".svg", ".txt"}
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can say."""


def read_version() -> str:
    """Return the version of geounet, without importing it."""
    text = (ROOT / "geounet" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, flags=re.MULTILINE)
    assert found, "geounet/__init__.py says no version"
    return found[1]


def contents(version: str) -> dict[str, bytes]:
    """Return what the plugin consists of, by path in the zip file."""
    files = {
        f"{PACKAGE.name}/{file.name}": file.read_bytes()
        for file in PACKAGE.iterdir()
        if file.suffix in ENDINGS
    }
    metadata = f"{PACKAGE.name}/metadata.txt"
    text, count = re.subn(
        r"^version=.*$", f"version={version}", files[metadata].decode(), flags=re.MULTILINE
    )
    assert count == 1, "metadata.txt has no place for the version"
    return files | {
        metadata: text.encode(),
        f"{PACKAGE.name}/LICENSE": (ROOT / "LICENSE").read_bytes(),
    }


def build(folder: Path) -> Path:
    """Write the zip file into a folder, which is made if absent; return its path."""
    version = read_version()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"geounet-qgis-{version}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(contents(version).items()):
            member = zipfile.ZipInfo(name, LONG_AGO)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16  # who may read it does not depend on the checkout
            archive.writestr(member, data)
    return path


if __name__ == "__main__":
    built = build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build")
    sys.stdout.write(f"{built}\n")
