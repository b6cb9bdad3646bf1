"""Ways to make zip and tar files that are dangerous, or lie."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from numpy.random import Generator

from fuzzing.nonsense import Spoilt, spoil_bytes
from fuzzing.products import files_below

NAMES = (
    "../evil.tif", "../../outside/evil.tif", "a/../../../evil_B03.tif", "{outside}/evil_B03.tif",
    "..\\evil.tif", "C:\\evil_B03.tif", "/B03.tif", "//B03.tif", "./B03.tif", "B03.tif/", "", ".",
    "..", "B03\n.tif", "B03\x1b[31m.tif", "\udce4B03.tif", "x" * 300 + "_B03.tif",
    "a/" * 500 + "B03.tif",
    "B03.tif\0.txt", "{B03}.tif", "}B03.tif", "con/B03.tif", "B03.tif/B04.tif", "~/B03.tif",
    "GRANULE/../MTD_MSIL1C.xml", "MTD_MSIL1C.xml", "a_MTL.txt", "%s%n_B03.tif", "B03.tif ",
)  # fmt: skip
ZEROS = bytes(2**24)


def spoil_archive(source: Path, kind: str, rng: Generator, outside: Path) -> Spoilt:
    """Return an archive of the files below a folder that has something wrong with it.

    Args:
        source: Of what would be a sound product.
        kind: `zip`, `tar` or `tar.gz`.
        rng: Of the case.
        outside: A folder that nothing may be written to.
    """
    files = [(name, path.read_bytes()) for name, path in files_below(source)]
    if rng.random() < 0.3:
        whole = _zip(files) if kind == "zip" else _tar(files, kind)
        return spoil_bytes(whole, rng)
    if kind == "zip":
        zip_ways: tuple[Callable[..., Spoilt], ...] = (
            _zip_strange_names, _zip_strange_names, _zip_link, _zip_twice, zip_bomb,
            _zip_claims, _zip_claims, _zip_encrypted, _zip_method, _zip_many, _zip_in_zip,
            _zip_with_head, _zip_empty, _zip_overlapping,
        )  # fmt: skip
        return zip_ways[rng.integers(len(zip_ways))](files, rng, outside)
    tar_ways: tuple[Callable[..., Spoilt], ...] = (
        _tar_strange_names, _tar_strange_names, _tar_link, _tar_device, _tar_twice, _tar_claims,
        _tar_pax, _tar_bomb, _tar_many, _tar_empty, _tar_sparse,
    )  # fmt: skip
    return tar_ways[rng.integers(len(tar_ways))](files, kind, rng, outside)


Files = list[tuple[str, bytes]]


def _strange(rng: Generator, outside: Path) -> str:
    return NAMES[rng.integers(len(NAMES))].replace("{outside}", str(outside))


# Zip


def _zip(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def _zip_strange_names(files: Files, rng: Generator, outside: Path) -> Spoilt:
    """Name one member, or a second copy of it, so that it lies elsewhere."""
    i = int(rng.integers(len(files)))
    name, way = _strange(rng, outside), rng.integers(2)
    # zipfile changes names that it is given, so a stand-in of the same length is replaced.
    raw = name.encode(errors="surrogateescape")
    stand_in = b"\x01" * len(raw)
    named = [*files[:i], *files[i + way :], (stand_in.decode(), files[i][1])]
    whole = _zip(named).replace(stand_in, raw) if raw else _zip([*files, ("", b"x")])
    return Spoilt(whole, f"{files[i][0]} is called {name[:60]!r}{' too' if not way else ''}")


def _zip_link(files: Files, rng: Generator, outside: Path) -> Spoilt:
    i = int(rng.integers(len(files)))
    buffer = io.BytesIO()
    target = str(outside / "secret.tif") if rng.random() < 0.5 else "../../outside/secret.tif"
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in [*files[:i], *files[i + 1 :]]:
            archive.writestr(name, content)
        link = zipfile.ZipInfo(files[i][0])
        link.create_system = 3
        link.external_attr = 0o120777 << 16
        archive.writestr(link, target)
    return Spoilt(buffer.getvalue(), f"{files[i][0]} is a link to {target}")


def _zip_twice(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    i, j = (int(n) for n in rng.integers(len(files), size=2))
    # zipfile warns of a repeated name: give another one of the same length, then change it.
    name = files[i][0]
    stand_in = "\x01" * len(name)
    whole = _zip([*files, (stand_in, files[j][1])]).replace(stand_in.encode(), name.encode())
    return Spoilt(whole, f"{name} twice, once with what is in {files[j][0]}")


def zip_bomb(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    """Make one member large that is small as it is packed: 10 GB in 10 MB, or twice packed."""
    i = int(rng.integers(len(files)))
    gigabytes = int(rng.choice([1, 10]))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    blocks = gigabytes * 64
    packed = once * blocks + b"\x03\x00"  # an empty last block
    crc, size = 0, min(blocks * len(ZEROS), 2**32 - 1)
    whole = _zip([*files[:i], *files[i + 1 :]])
    return Spoilt(
        _with_member(whole, files[i][0], packed, crc=crc, size=size),
        f"{files[i][0]} unpacks to {gigabytes} GB",
    )


def _with_member(
    whole: bytes, name: str, packed: bytes, *, crc: int, size: int, method: int = 8
) -> bytes:
    """Add a member as it is packed to a zip file without a comment."""
    end = len(whole) - 22
    count, length, start = struct.unpack_from("<HII", whole, end + 10)
    called = name.encode()
    fixed = struct.pack("<HHHHHIII", 20, 0, method, 0, 0x21, crc, len(packed), size)
    local = b"PK\3\4" + fixed + struct.pack("<HH", len(called), 0) + called + packed
    entry = b"PK\1\2" + struct.pack("<H", 20) + fixed
    entry += struct.pack("<HHHHHII", len(called), 0, 0, 0, 0, 0, start) + called
    directory = whole[start : start + length] + entry
    tail = struct.pack(
        "<4sHHHHIIH", b"PK\5\6", 0, 0, count + 1, count + 1, len(directory), start + len(local), 0
    )
    return whole[:start] + local + directory + tail


def _patch(whole: bytes, field: int, width: str, value: int, rng: Generator) -> bytes:
    """Set a field of some entries of the central directory."""
    spoilt = bytearray(whole)
    (start,) = struct.unpack_from("<I", whole, len(whole) - 6)
    place = start
    while whole[place : place + 4] == b"PK\1\2":
        names = sum(struct.unpack_from("<HHH", whole, place + 28))
        if rng.random() < 0.5:
            struct.pack_into(width, spoilt, place + field, value)
        place += 46 + names
    return bytes(spoilt)


def _zip_claims(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    """Let the directory claim sizes, offsets, checksums and lengths of names that are not so."""
    fields = {
        "checksum": (16, "<I"), "packed size": (20, "<I"), "size": (24, "<I"),
        "length of the name": (28, "<H"), "length of extra": (30, "<H"), "disk": (34, "<H"),
        "mode": (38, "<I"), "offset": (42, "<I"),
    }  # fmt: skip
    what = list(fields)[rng.integers(len(fields))]
    field, width = fields[what]
    claim = int(rng.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1]))
    claim &= 0xFFFF if width == "<H" else 0xFFFFFFFF
    return Spoilt(_patch(_zip(files), field, width, claim, rng), f"{what} {claim}")


def _zip_encrypted(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    return Spoilt(_patch(_zip(files), 8, "<H", 1, rng), "members encrypted")


def _zip_method(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    method = int(rng.choice([1, 6, 9, 12, 14, 93, 95, 99]))
    return Spoilt(_patch(_zip(files), 10, "<H", method, rng), f"members packed by method {method}")


def _zip_many(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    count = int(rng.choice([5_000, 60_000]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
        for i in range(count):
            archive.writestr(zipfile.ZipInfo(f"many/{i}_B03.tif"), b"")
    return Spoilt(buffer.getvalue(), f"{count} more members")


def _zip_in_zip(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    whole = _zip(files)
    depth = int(rng.choice([1, 50]))
    for _ in range(depth):
        whole = _zip([("S2A_MSIL1C.SAFE.zip", whole)])
    return Spoilt(whole, f"a zip file in a zip file, {depth} times")


def _zip_with_head(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    head = bytes(rng.choice([b"MZ" + bytes(510), b"II*\0" + bytes(60), b"<?xml?>", b"{}"]))
    return Spoilt(head + _zip(files), f"{head[:8]!r} before it")


def _zip_empty(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    return Spoilt(_zip([]), "nothing in it")


def _zip_overlapping(files: Files, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    return Spoilt(_patch(_zip(files), 42, "<I", 0, rng), "members that are all the first one")


# Tar


def _tar(
    files: Files,
    kind: str,
    extra: Sequence[tuple[tarfile.TarInfo, bytes]] = (),
    *,
    open_end: bool = False,
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tape:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tape.addfile(member, io.BytesIO(content))
        for member, content in extra:
            member.size = member.size or len(content)
            tape.addfile(member, io.BytesIO(content) if content else None)
        end = tape.offset if open_end else None  # after it come blocks of zeros
    return _packed(buffer.getvalue()[:end], kind)


def _packed(whole: bytes, kind: str) -> bytes:
    return gzip.compress(whole, 1, mtime=0) if kind == "tar.gz" else whole


def _tar_strange_names(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:
    i = int(rng.integers(len(files)))
    name, way = _strange(rng, outside), rng.integers(2)
    extra = [(tarfile.TarInfo(name), files[i][1])]
    named = [*files[:i], *files[i + way :]]
    what = f"{files[i][0]} is called {name[:60]!r}{' too' if not way else ''}"
    return Spoilt(_tar(named, kind, extra), what)


def _tar_link(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:
    i = int(rng.integers(len(files)))
    link = tarfile.TarInfo(files[i][0])
    link.type = tarfile.SYMTYPE if rng.random() < 0.5 else tarfile.LNKTYPE
    places = (str(outside / "secret.tif"), "../../outside/secret.tif", files[i][0], "nowhere")
    link.linkname = places[rng.integers(len(places))]
    named = [*files[:i], *files[i + 1 :]]
    return Spoilt(_tar(named, kind, [(link, b"")]), f"{files[i][0]} is a link to {link.linkname}")


def _tar_device(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    i = int(rng.integers(len(files)))
    member = tarfile.TarInfo(files[i][0])
    member.type = bytes(rng.choice([tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]))
    named = [*files[:i], *files[i + 1 :]]
    return Spoilt(_tar(named, kind, [(member, b"")]), f"{files[i][0]} is of type {member.type!r}")


def _tar_twice(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    i, j = (int(n) for n in rng.integers(len(files), size=2))
    extra = [(tarfile.TarInfo(files[i][0]), files[j][1])]
    return Spoilt(_tar(files, kind, extra), f"{files[i][0]} twice, once with {files[j][0]} in it")


def _tar_claims(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    """Let a header claim a size, a kind or a time that is not so, with a sound checksum."""
    whole = bytearray(_tar(files, "tar"))
    claims = (b"77777777777", b"\x80" + b"\xff" * 11, b"-0000000001", b"abc", b"00000000000")
    size = claims[rng.integers(len(claims))].ljust(12, b"\0")
    field = int(rng.choice([124, 136, 100]))  # size, time, mode
    size = size[:8] if field == 100 else size
    whole[field : field + len(size)] = size
    whole[148:156] = b" " * 8
    whole[148:156] = f"{sum(whole[:512]):06o}\0 ".encode()
    return Spoilt(_packed(bytes(whole), kind), f"the field at {field} says {size!r}")


def _tar_pax(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:
    member = tarfile.TarInfo("extra_B03.tif")
    what = ("size", "path", "linkpath", "mtime", "GNU.sparse.map", "hdrcharset")[rng.integers(6)]
    value = ("-1", "1e400", "9" * 400, f"{outside}/x_B03.tif", "nan", "\udce4", "")[rng.integers(7)]
    member.pax_headers = {what: value}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tape:
        tape.addfile(member)
        for name, content in files:
            inner = tarfile.TarInfo(name)
            inner.size = len(content)
            tape.addfile(inner, io.BytesIO(content))
    whole = _packed(buffer.getvalue(), kind)
    return Spoilt(whole, f"{what} in its extended header: {value[:40]!r}")


def _tar_bomb(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    """Make a member of many gigabytes, which a compressed tar file holds in little space."""
    gigabytes = int(rng.choice([8, 40, 400]))
    member = tarfile.TarInfo("bomb_B03.tif")
    member.size = gigabytes * 2**30
    head = member.tobuf(tarfile.GNU_FORMAT)
    if kind == "tar":
        return Spoilt(_tar(files, "tar", open_end=True) + head, f"a member claims {gigabytes} GB")
    once = gzip.compress(ZEROS, 9, mtime=0)
    times = min(gigabytes, 8) * 64
    seen = rng.random() < 0.5  # what comes after the end, only GDAL reads
    whole = _packed(_tar(files, "tar", open_end=seen) + head, kind) + once * times
    after = "" if seen else " after the end"
    return Spoilt(whole, f"a member of {gigabytes} GB of zeros{after}")


def _tar_many(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    empty = tarfile.TarInfo("many_B03.tif").tobuf()
    count = int(rng.choice([1_000, 200_000]))
    whole = _tar(files, "tar", open_end=True) + empty * count + bytes(1024)
    return Spoilt(_packed(whole, kind), f"{count} empty members of one name")


def _tar_empty(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    return Spoilt(_tar([], kind), "nothing in it")


def _tar_sparse(files: Files, kind: str, rng: Generator, outside: Path) -> Spoilt:  # noqa: ARG001
    """Add a sparse member that claims terabytes of holes."""
    member = tarfile.TarInfo("sparse_B03.tif")
    member.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s_B03.tif",
        "GNU.sparse.realsize": str(2**42),
    }  # fmt: skip
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tape:
        for name, content in files:
            inner = tarfile.TarInfo(name)
            inner.size = len(content)
            tape.addfile(inner, io.BytesIO(content))
        member.size = 512
        sparse_map = str(rng.choice(["1\n0\n0\n", "-1\n", "99999999\n", "abc\n", ""]))
        tape.addfile(member, io.BytesIO(sparse_map.encode().ljust(512, b"\0")))
    return Spoilt(_packed(buffer.getvalue(), kind), f"a sparse member with the map {sparse_map!r}")
