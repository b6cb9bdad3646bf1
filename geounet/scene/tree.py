"""Files of a product where they lie: a folder, or a zip or tar file that is read in place."""

import gzip
import logging
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple

from geounet.errors import SceneError, reason

logger = logging.getLogger(__name__)

DOCUMENT_LIMIT = 64 * 2**20
"""Bytes; the largest metadata of real products are below 2 MiB."""
MOST_FILES = 50_000
"""In a tree; old Sentinel-2 products of many granules have a few thousand."""
MOST_FOLDERS = 10_000
DEEPEST = 12
"""Folders within folders; products have at most six."""
LARGEST_HEADER = 2**20
"""Bytes of what a tar file says of one member."""
MOST_UNPACKED = 64 * 2**30
"""Bytes in a compressed tar file, which has to be unpacked once to know what is in it."""
MOST_DENSE = 100
"""Times its size that a compressed tar file may unpack to, above 1 GiB; images do to a few."""

_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError),
    # zipfile's own for encrypted files, unknown compression, and numbers that make no sense
    *(RuntimeError, NotImplementedError, ValueError, OverflowError),
)
_ENDINGS = (".zip", ".tar.gz", ".tgz", ".tar")


class _Member(NamedTuple):
    """A file in an archive."""

    name: str
    """As the archive has it (`./a`, `a\\b`)."""
    plain: bool
    """Whether it is a file that can be read, and no link or device."""
    span: tuple[int, int] | None = None
    """Where its bytes begin, and how many they are, if GDAL cannot find it by name."""


@dataclass(frozen=True)
class Tree:
    """The files of a folder or an archive."""

    source: str
    """As the user gave it."""
    name: str
    """Of the folder, or of the archive without `.zip` or `.tar.gz`."""
    kind: Literal["folder", "zip", "tar", "tar.gz"]
    files: tuple[str, ...]
    """Plain files, relative to the top, with `/`, sorted."""
    _members: dict[str, _Member] = field(repr=False, compare=False, default_factory=dict)
    """In an archive: where each file is."""

    def gdal_path(self, file: str) -> str:
        """Return what GDAL opens for one of the files."""
        absolute = Path(self.source).absolute()
        if self.kind == "folder":
            return str(absolute / file)
        if span := self._members[file].span:
            unpacked = f"/vsigzip/{absolute}" if self.kind == "tar.gz" else absolute
            return f"/vsisubfile/{span[0]}_{span[1]},{unpacked}"
        # In braces, the archive may be called anything; what it is GDAL tells by its name.
        if self.kind == "tar.gz" and not _named_as_compressed(absolute):
            return f"/vsitar/{{/vsigzip/{absolute}}}/{file}"
        return f"/vsi{self.kind.removesuffix('.gz')}/{{{absolute}}}/{file}"

    def read(self, file: str, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return the content of one of the files.

        Args:
            file: One of `files`.
            limit: Bytes that it may have.

        Raises:
            SceneError: It has more, or cannot be read.
        """
        try:
            with self._open(file) as stream:
                content = stream.read(limit + 1)  # whatever size a header claims
        except _DAMAGE as error:
            raise SceneError(
                f"{file} in {self.source} cannot be read: {reason(error)}. "
                "Download or make it again."
            ) from error
        if len(content) > limit:
            raise SceneError(
                f"{file} in {self.source} has more than {limit / 2**20:.3g} MiB, too many for "
                "metadata. Download it again."
            )
        return content

    @contextmanager
    def _open(self, file: str) -> Iterator[IO[bytes]]:
        if self.kind == "folder":
            with (Path(self.source) / file).open("rb") as stream:
                yield stream
        elif self.kind == "zip":
            with (
                zipfile.ZipFile(self.source) as archive,
                archive.open(self._members[file].name) as stream,
            ):
                yield stream
        else:
            with tarfile.open(self.source) as tape:
                member = tape.extractfile(self._members[file].name)
                assert member is not None  # `files` are plain
                with member:
                    yield member


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip or tar file, by its content."""
    return _archive_kind(path) is not None


def _archive_kind(path: Path) -> Literal["zip", "tar", "tar.gz"] | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
        if compressed := start[:2] == b"\x1f\x8b":
            with gzip.open(path) as unpacked:
                start = unpacked.read(512)
    except _DAMAGE:
        return None
    if start[257:262] == b"ustar":
        return "tar.gz" if compressed else "tar"
    return "zip" if start[:4] in {b"PK\x03\x04", b"PK\x05\x06"} else None


def _named_as_compressed(path: Path) -> bool:
    """Return whether GDAL takes a tar file for a compressed one."""
    return path.name.lower().endswith((".tar.gz", ".tgz"))


def open_tree(path: Path) -> Tree:
    """Return the files of a folder, or of a zip or tar file, without unpacking it.

    Members of an archive that are links or devices, or whose names lead out of it, are left out,
    and that is said.

    Raises:
        SceneError: It is neither, damaged, too large to be one product, or has a file twice.
    """
    if path.is_dir():
        files = _files_below(path)
        return Tree(str(path), path.absolute().name, "folder", tuple(sorted(files)))
    if not _is_balanced(str(path.absolute())):
        raise SceneError(
            f"{path} has a brace without its other in its name or that of its folder, and GDAL "
            "reads no archive that is called so. Rename it."
        )
    kind = _archive_kind(path)
    if kind is None:
        raise SceneError(f"{path} is neither a folder nor a zip or tar file.")
    if kind == "tar" and _named_as_compressed(path):
        raise SceneError(f"{path} is a tar file that is not compressed. Rename it to end in .tar.")
    try:
        listed = list((_zip_members if kind == "zip" else _tar_members)(path))
    except _DAMAGE as error:
        raise SceneError(
            f"{path} cannot be read: {reason(error)}. Download or make it again."
        ) from error
    members = _sound_members(listed, path)
    return Tree(str(path), _archive_name(path), kind, tuple(sorted(members)), members)


def _is_balanced(text: str) -> bool:
    """Return whether each brace has its other: GDAL wants an archive's name within a pair."""
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def _archive_name(path: Path) -> str:
    name = path.absolute().name
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)] or name


def _files_below(folder: Path) -> Iterator[str]:
    """Yield the plain files below a folder; folders that are links are not entered."""
    files = 0

    def complain(error: OSError) -> None:
        raise SceneError(f"{error.filename} cannot be listed: {error.strerror}.")

    for folders, (place, inner, names) in enumerate(os.walk(folder, onerror=complain), 1):
        here = Path(place)
        below = here.relative_to(folder)
        files += len(names)
        if files > MOST_FILES or folders > MOST_FOLDERS or len(below.parts) > DEEPEST:
            raise SceneError(
                f"{folder} holds too much for one product: more than {MOST_FILES} files or "
                f"{MOST_FOLDERS} folders, or folders deeper than {DEEPEST}. Give the folder of one."
            )
        inner[:] = sorted(name for name in inner if name[0] != ".")
        for name in names:
            if name[0] != "." and _is_text(name) and (here / name).is_file():
                yield (below / name).as_posix()


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                # High bits: the mode that Unix gives a file; 0 where another system made it.
                mode = member.external_attr >> 16 & 0o170000
                plain = mode in {0, 0o100000} and not member.flag_bits & 1
                yield _Member(member.orig_filename, plain)


class _Headers:
    """A tar file whose headers are read: tarfile takes as much memory as one of them claims."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header claims to have {size} bytes")
        content: bytes = self._stream.read(size)
        return content


def _tar_members(path: Path) -> Iterator[_Member]:
    unpacked, most = 0, min(MOST_UNPACKED, max(2**30, MOST_DENSE * path.stat().st_size))
    compressed = _archive_kind(path) == "tar.gz"
    with gzip.open(path) if compressed else path.open("rb") as stream:
        headers: Any = _Headers(stream)
        with tarfile.open(fileobj=headers, mode="r:") as archive:
            for count, member in enumerate(archive, 1):
                unpacked += member.size
                if count > 2 * MOST_FILES or (compressed and unpacked > most):
                    raise SceneError(f"{path} holds too much for one product. Unpack it.")
                if not member.isdir():
                    # Names of more than 100 characters as POSIX has them are nothing to GDAL 3.10.
                    by_span = "path" in member.pax_headers
                    yield _Member(
                        name=member.name,
                        plain=member.isfile() and not member.issparse(),
                        span=(member.offset_data, member.size) if by_span else None,
                    )
        # What comes after the end of the tar file is nothing, but GDAL unpacks it.
        while compressed and stream.read(2**20):
            if stream.tell() > most:
                raise SceneError(f"{path} holds too much for one product. Unpack it.")


def _sound_members(listed: Iterable[_Member], path: Path) -> dict[str, _Member]:
    """Return the files that lie in the archive `path` by name and by nature."""
    members, skipped = dict[str, _Member](), list[str]()
    for member in listed:
        place = PurePosixPath(member.name.replace("\\", "/"))
        if (
            not member.plain
            or not _is_text(member.name)
            or place.is_absolute()
            or ".." in place.parts
            or not place.parts
        ):
            skipped.append(member.name)
            continue
        # What macOS puts beside each file in an archive, and other hidden files.
        if any(part[0] == "." or part == "__MACOSX" for part in place.parts):
            continue
        if place.as_posix() in members:
            raise SceneError(
                f"{path} holds {place} twice; which one counts, nobody knows. Make it again."
            )
        members[place.as_posix()] = member
        if len(members) > MOST_FILES:
            raise SceneError(
                f"{path} holds more than {MOST_FILES} files, too many for one product."
            )
    if skipped:
        logger.warning(
            "%s: %d members are left out, being links, encrypted, or named to lie elsewhere: %s",
            *(path, len(skipped), ", ".join(ascii(name[:80]) for name in skipped[:3])),
        )
    return members


def _is_text(name: str) -> bool:
    """Return whether a name can be printed and given to GDAL."""
    return name.isprintable() and not any("\ud800" <= char <= "\udfff" for char in name)
