"""Ways to spoil the headers of rasters: TIFF directories, JPEG 2000 boxes, and what they say."""

import struct
import warnings
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.random import Generator

from fuzzing.nonsense import Spoilt, spoil_bytes

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
"""Bytes of a TIFF field by type."""
CLAIMS = (0, 1, 2, 7, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
TAGS = {
    256: "ImageWidth", 257: "ImageLength", 258: "BitsPerSample", 259: "Compression",
    262: "Photometric", 270: "ImageDescription", 273: "StripOffsets", 277: "SamplesPerPixel",
    278: "RowsPerStrip", 279: "StripByteCounts", 284: "PlanarConfiguration", 317: "Predictor",
    322: "TileWidth", 323: "TileLength", 324: "TileOffsets", 325: "TileByteCounts",
    338: "ExtraSamples", 339: "SampleFormat", 33550: "ModelPixelScale", 33922: "ModelTiepoint",
    34735: "GeoKeys", 34736: "GeoDoubles", 34737: "GeoAscii", 42112: "GDALMetadata",
    42113: "GDALNoData",
}  # fmt: skip
DOUBLES = (float("nan"), float("inf"), 0.0, -1.0, 1e300, 1e-300, -10.0)


def spoil_tiff(content: bytes, rng: Generator) -> Spoilt:
    """Change one to three entries of a TIFF's first directory."""
    entries = _entries(content)
    if not entries or rng.random() < 0.25:
        return spoil_bytes(content, rng)
    spoilt, told = bytearray(content), list[str]()
    for _ in range(rng.integers(1, 4)):
        place = entries[rng.integers(len(entries))]
        told.append(_change_entry(spoilt, place, rng))
    return Spoilt(bytes(spoilt), "; ".join(told))


def _entries(content: bytes) -> list[int]:
    """Return where the entries of the first directory of a little-endian TIFF are."""
    if content[:4] != b"II*\0":
        return []
    (start,) = struct.unpack_from("<I", content, 4)
    if start + 2 > len(content):
        return []
    (count,) = struct.unpack_from("<H", content, start)
    places = [start + 2 + 12 * i for i in range(count)]
    return [place for place in places if place + 12 <= len(content)]


def _change_entry(spoilt: bytearray, place: int, rng: Generator) -> str:
    tag, kind, count = struct.unpack_from("<HHI", spoilt, place)
    name = TAGS.get(tag, str(tag))
    claim = int(rng.choice(CLAIMS))
    way = rng.integers(6)
    if way == 0:
        struct.pack_into("<I", spoilt, place + 4, claim)
        return f"{name} claims {claim} values"
    if way == 1:
        struct.pack_into("<H", spoilt, place + 2, other := int(rng.integers(20)))
        return f"{name} is of type {other}"
    if way == 2:
        struct.pack_into("<H", spoilt, place, other := int(rng.choice(list(TAGS))))
        return f"{name} is {TAGS[other]}"
    size = SIZES.get(kind, 1) * count
    (pointer,) = struct.unpack_from("<I", spoilt, place + 8)
    if size <= 4:
        struct.pack_into("<I", spoilt, place + 8, claim)
        return f"{name} is {claim}"
    if way == 3 or pointer + size > len(spoilt):
        struct.pack_into("<I", spoilt, place + 8, claim)
        return f"{name} lies at {claim}"
    if kind == 12:
        value = DOUBLES[rng.integers(len(DOUBLES))]
        i = int(rng.integers(count))
        struct.pack_into("<d", spoilt, pointer + 8 * i, value)
        return f"{name}[{i}] is {value}"
    if kind in {3, 4}:
        i, width = int(rng.integers(count)), SIZES[kind]
        struct.pack_into("<H" if kind == 3 else "<I", spoilt, pointer + width * i,
                         claim & (0xFFFF if kind == 3 else 0xFFFFFFFF))  # fmt: skip
        return f"{name}[{i}] is {claim}"
    inner = spoil_bytes(bytes(spoilt[pointer : pointer + size]), rng)
    spoilt[pointer : pointer + size] = inner.content[:size].ljust(size, b"\0")
    return f"{name}: {inner.what}"


def spoil_jp2(content: bytes, rng: Generator) -> Spoilt:
    """Change sizes in the boxes and markers of a JPEG 2000 file."""
    spoilt = bytearray(content)
    claim = int(rng.choice(CLAIMS))
    way = rng.integers(5)
    sizes = content.find(b"\xff\x51")  # the SIZ marker
    if way == 0 and sizes >= 0:
        field = int(rng.integers(8))  # width, height, offsets, tiles
        struct.pack_into(">I", spoilt, sizes + 6 + 4 * field, claim)
        return Spoilt(bytes(spoilt), f"field {field} of SIZ is {claim}")
    if way == 1 and sizes >= 0:
        struct.pack_into(">H", spoilt, sizes + 38, claim & 0xFFFF)
        return Spoilt(bytes(spoilt), f"{claim & 0xFFFF} components")
    boxes = [content.find(name) for name in (b"ihdr", b"jp2c", b"jp2h", b"colr", b"uuid", b"asoc")]
    boxes = [place for place in boxes if place >= 4]
    if way == 2 and boxes:
        place = boxes[rng.integers(len(boxes))]
        struct.pack_into(">I", spoilt, place - 4, claim)
        name = content[place : place + 4].decode()
        return Spoilt(bytes(spoilt), f"the box {name} claims {claim} bytes")
    if way == 3 and (place := content.find(b"ihdr")) >= 0:
        struct.pack_into(">I", spoilt, place + 4 + 4 * int(rng.integers(2)), claim)
        return Spoilt(bytes(spoilt), f"ihdr says {claim}")
    return spoil_bytes(content, rng)


def write_strange_raster(path: Path, rng: Generator) -> str:
    """Write a sound file that says something strange; return what."""
    profile = {
        "driver": "GTiff", "width": 32, "height": 32, "count": 2, "dtype": "uint16",
        "crs": "EPSG:32630", "transform": Affine(10, 0, 600_000, 0, -10, 5_100_000),
        "sparse_ok": True,
    }  # fmt: skip
    strange = (
        {"transform": Affine(0, 0, 0, 0, 0, 0)},
        {"transform": Affine(float("nan"), 0, 0, 0, float("nan"), 0)},
        {"transform": Affine(1e300, 0, 0, 0, -1e300, 0)},
        {"transform": Affine(1e-12, 0, 600_000, 0, -1e-12, 5_100_000)},
        {"transform": Affine(10, 0, 1e15, 0, -10, 1e15)},
        {"transform": Affine(10, 10, 600_000, 10, 10, 5_100_000)},
        {"crs": "EPSG:4326"}, {"crs": "EPSG:4978"}, {"crs": None},
        {"crs": 'LOCAL_CS["nowhere",UNIT["parsec",3e16]]'}, {"crs": "EPSG:5773"},
        {"dtype": "complex64"}, {"dtype": "int8"}, {"dtype": "float64"}, {"dtype": "complex_int16"},
        {"dtype": "float32", "nodata": float("inf")}, {"dtype": "float32", "nodata": float("nan")},
        {"nodata": 65535}, {"count": 3000},
        {"width": 2**20, "height": 2**20, "tiled": True, "blockxsize": 4096, "blockysize": 4096},
        {"width": 2**31 - 1, "height": 1}, {"width": 1, "height": 1},
        {"height": 2**31 - 1, "width": 3, "blockysize": 1},
        {"width": 200_000, "height": 200_000, "tiled": True, "blockxsize": 65536,
         "blockysize": 65536},
        {"scales": float("nan")}, {"scales": 0.0}, {"scales": float("inf")}, {"scales": -1e308},
        {"offsets": float("nan")}, {"offsets": -float("inf")}, {"scales": 1e-320},
        {"names": "B03\n\x1b[31m"}, {"names": "x" * 100_000}, {"names": ""}, {"names": "B03"},
        {"tags": {"sensor": "s9", "level": "🌊", "ACQUISITIONDATETIME": "yesterday"}},
        {"tags": {"AREA_OR_POINT": "Nowhere", "TIFFTAG_DATETIME": "0000:00:00 00:00:00"}},
    )  # fmt: skip
    one = dict(strange[rng.integers(len(strange))])
    what = ", ".join(f"{key} {str(value)[:40]!r}" for key, value in one.items())
    said = {key: one.pop(key, None) for key in ("scales", "offsets", "names", "tags")}
    path.unlink(missing_ok=True)
    with warnings.catch_warnings(), rasterio.Env(GDAL_NUM_THREADS=1):
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **(profile | one | {"BIGTIFF": "IF_SAFER"})) as dst:
            names = said["names"]
            count = dst.count
            dst.descriptions = (
                ("B03", "B08", *(f"b{i}" for i in range(2, count)))[:count]
                if names is None
                else (names,) * count
            )
            if said["scales"] is not None:
                dst.scales = [said["scales"]] * count
            if said["offsets"] is not None:
                dst.offsets = [said["offsets"]] * count
            dst.update_tags(**{"sensor": "s2"} | (said["tags"] or {}))
            if dst.width * dst.height <= 1024 and dst.dtypes[0] in {"float32", "float64"}:
                dst.write(np.full((count, dst.height, dst.width), np.nan, dtype=dst.dtypes[0]))
    return f"a raster with {what}"
