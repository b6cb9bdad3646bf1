"""Vector layers in the formats people ask for, made of the finished GeoPackage in chunks.

The GeoPackage is always written: styles lie in it, the project shows it, and `evaluate`, `report`
and `transects` read it. Other formats join it, one file a layer, with the same rows and columns.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError

from geounet.errors import OutputError
from geounet.layers import dated, embed_styles
from geounet.outputs import Stage
from geounet.reprojection import Reprojection, round_degrees, split_at_180
from geounet.vectors import WGS84, Geometries, crs_of

FEATURES_IN_CHUNK = 4096
"""Read and written at a time: memory does not grow with a coast."""
Format = Literal["gpkg", "geoparquet", "fgb", "geojson"]
SUFFIXES: Mapping[Format, str] = {"geoparquet": ".parquet", "fgb": ".fgb", "geojson": ".geojson"}
"""Of the formats that join the GeoPackage."""
_BOX = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VectorOptions:
    """What the user says about vector files."""

    formats: tuple[Format, ...] = ("gpkg",)
    """Which to write; the GeoPackage comes with every other."""
    crs: str | None = None
    """CRS of all but GeoJSON, which is WGS 84; None is the scene's."""

    @classmethod
    def from_text(cls, formats: Sequence[str] = (), crs: str | None = None) -> Self:
        """Return the options as the command line has them.

        Args:
            formats: Names of formats, each text one or several by commas; none is the GeoPackage.
            crs: Anything pyproj knows a CRS by: `EPSG:4326`, WKT.

        Raises:
            OutputError: A format or the CRS is not known, or it is no CRS of a map.
        """
        asked = [name.strip().lower() for text in formats for name in text.split(",")]
        known = get_args(Format)
        for name in asked:
            if name not in known:
                raise OutputError(
                    f"--format {name} is not known; there are {', '.join(known)}. "
                    "Give one, or several by commas."
                )
        return cls(tuple(one for one in known if one == "gpkg" or one in asked), _checked(crs))


def _checked(text: str | None) -> str | None:
    """Return a CRS in as few words as it has."""
    if text is None:
        return None
    try:
        crs = CRS.from_user_input(text)
    except CRSError:
        raise OutputError(
            f"--crs {text} is no coordinate reference system that PROJ knows. "
            "Give one as in --crs EPSG:4326."
        ) from None
    if not (crs.is_geographic or crs.is_projected):
        raise OutputError(
            f"--crs {text} ({crs.name}) has no map to draw lines on. "
            "Give a projected or a geographic one, such as EPSG:4326."
        )
    crs = crs.to_2d()  # lines have no heights
    epsg = crs.to_epsg(min_confidence=100)
    return f"EPSG:{epsg}" if epsg else crs.to_wkt()


def finish_layers(
    stage: Stage,
    geobox: GeoBox,
    styles: Mapping[str, str],
    time: datetime,
    options: VectorOptions = VectorOptions(),
) -> None:
    """Bring the layers of a set's GeoPackage into the CRS asked for, and write other formats.

    Args:
        stage: Where `NAME.gpkg` lies, with all its features; `NAME_LAYER.parquet` and the like,
            each with `NAME_LAYER.qml`, are written beside it.
        geobox: The grid that the layers were drawn on.
        styles: Name of each layer → QML.
        time: The date inside the files.
        options: What to write.

    Raises:
        OutputError: The CRS has no place for a part of the scene.
    """
    path = drawn = stage.path(".gpkg")
    if options.crs is not None:
        drawn = path.rename(stage.temporary("drawn.gpkg"))
        move = Reprojection(crs_of(geobox), CRS.from_user_input(options.crs), geobox)
        for layer in styles:
            with _opened(drawn, layer) as source, dated(time):
                _write_ogr(source.moved(move, options.crs), path, "GPKG", VERSION="1.3")
    embed_styles(path, styles, time)
    for one in options.formats:
        if one == "gpkg":
            continue
        for layer, qml in styles.items():
            stage.path(f"_{layer}.qml").write_text(qml, encoding="utf-8")
            file = stage.path(f"_{layer}{SUFFIXES[one]}")
            with _opened(drawn if one == "geojson" else path, layer) as source:
                if one == "geoparquet":
                    _write_parquet(source, file)
                elif one == "fgb":
                    _write_ogr(source, file, "FlatGeobuf", SPATIAL_INDEX="YES")
                else:
                    _write_geojson(source, file, geobox)


@dataclass(frozen=True)
class _Layer:
    """A layer as it passes by, in chunks."""

    name: str
    geometry_type: str
    crs: str
    schema: pa.Schema
    """Its geometries are WKB, in `geom`."""
    chunks: Iterator[pa.RecordBatch] = field(compare=False)

    def moved(self, move: Callable[[Geometries], Geometries], crs: str) -> "_Layer":
        """Return it with all geometries moved."""
        at = self.schema.get_field_index("geom")
        # What GDAL notes of the CRS there is of the old one.
        plain = self.schema.set(at, pa.field("geom", pa.binary()))

        def chunks() -> Iterator[pa.RecordBatch]:
            for chunk in self.chunks:
                shapes = move(_shapes(chunk))
                columns = list(chunk.columns)
                columns[at] = pa.array(shapely.to_wkb(shapes), pa.binary())
                yield pa.RecordBatch.from_arrays(columns, schema=plain)

        return _Layer(self.name, self.geometry_type, crs, plain, chunks())


@contextmanager
def _opened(path: Path, layer: str) -> Iterator[_Layer]:
    opened = pyogrio.open_arrow(path, layer=layer, batch_size=FEATURES_IN_CHUNK, use_pyarrow=True)
    with opened as (about, reader):
        yield _Layer(layer, about["geometry_type"], about["crs"], reader.schema, iter(reader))


def _shapes(chunk: pa.RecordBatch) -> Geometries:
    return shapely.from_wkb(chunk.column("geom").to_numpy(zero_copy_only=False))


def _write_ogr(layer: _Layer, path: Path, driver: str, **options: str) -> None:
    """Have GDAL write a layer chunk by chunk; an empty one has its columns and type, too."""
    failures: list[BaseException] = []

    def chunks() -> Iterator[pa.RecordBatch]:
        try:
            yield from layer.chunks
        except BaseException as error:
            failures.append(error)
            raise

    try:
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(layer.schema, chunks()),
            path,
            layer=layer.name,
            driver=driver,
            geometry_name="geom",
            geometry_type=layer.geometry_type,
            crs=layer.crs,
            **options,
        )
    except RuntimeError as error:
        # Of what goes wrong on our side of the stream, GDAL says only that something did.
        if failures:
            raise failures[0] from error
        raise


def _write_geojson(layer: _Layer, path: Path, geobox: GeoBox) -> None:
    """Write a layer as RFC 7946 has it: longitude and latitude, right-handed, cut at 180°."""
    to_wgs84 = Reprojection(crs_of(geobox), WGS84, geobox, whole=False)

    def move(shapes: Geometries) -> Geometries:
        return round_degrees(split_at_180(to_wgs84(shapes)))

    # A line across 180° becomes several in one feature.
    mixed = _Layer(layer.name, "Unknown", layer.crs, layer.schema, layer.chunks)
    _write_ogr(mixed.moved(move, "OGC:CRS84"), path, "GeoJSON", RFC7946="YES", WRITE_BBOX="NO")


def _write_parquet(layer: _Layer, path: Path) -> None:
    """Write a layer as GeoParquet 1.1, with the box of each shape in a column `bbox`."""
    from pyarrow import parquet  # 4 MiB, which no other format needs

    box_type = pa.struct([(side, pa.float64()) for side in _BOX])
    at = layer.schema.get_field_index("geom")
    schema = layer.schema.set(at, pa.field("geometry", pa.binary()))
    schema = schema.append(pa.field("bbox", box_type)).remove_metadata()
    least, most = np.full(2, np.inf), np.full(2, -np.inf)
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        for chunk in layer.chunks:
            boxes = shapely.bounds(_shapes(chunk))  # (features, 4)
            least = np.fmin(least, boxes[:, :2].min(axis=0, initial=np.inf))
            most = np.fmax(most, boxes[:, 2:].max(axis=0, initial=-np.inf))
            sides = [pa.array(side) for side in boxes.T]
            box = pa.StructArray.from_arrays(sides, fields=list(box_type))
            file.write_batch(pa.RecordBatch.from_arrays([*chunk.columns, box], schema=schema))
        file.add_key_value_metadata({"geo": json.dumps(_about(layer, [*least, *most]))})


def _about(layer: _Layer, bounds: Sequence[float]) -> dict[str, Any]:
    """Return what GeoParquet 1.1 says of a file, https://geoparquet.org/releases/v1.1.0/."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [],
        "crs": CRS.from_user_input(layer.crs).to_json_dict(),
        "covering": {"bbox": {side: ["bbox", side] for side in _BOX}},
    }
    if np.isfinite(bounds).all():
        column["geometry_types"] = [layer.geometry_type]
        column["bbox"] = [float(side) for side in bounds]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
