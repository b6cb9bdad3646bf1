"""Writing vector layers: GeoPackages that open styled, and are the same bytes twice."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Literal

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geounet.errors import GeounetError

WAITING_IN_MEMORY = 2**21
"""Bytes of a layer that wait in memory; more go into a file."""

# As QGIS makes it, down to the name of each column: 3.22 and 3.40 find no style otherwise.
_STYLES_TABLE = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
    f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT,
    owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)
"""

_STYLES_LISTED = """
INSERT INTO gpkg_contents(table_name, data_type, identifier, description, last_change, srs_id)
VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?, 0)
"""
# f_table_schema is '' and not NULL: QGIS asks for that.
_STYLE = """
INSERT INTO layer_styles(f_table_catalog, f_table_schema, f_table_name, f_geometry_column,
    styleName, styleQML, styleSLD, useAsDefault, description, owner, update_time)
VALUES ('', '', ?, 'geom', ?, ?, '', 1, '', '', ?)
"""


def output_time(time: datetime | None) -> datetime:
    """Return the date that outputs carry, so that the same run gives the same bytes.

    It is the scene's; else SOURCE_DATE_EPOCH's; else the first that a zip file can have.

    Raises:
        GeounetError: SOURCE_DATE_EPOCH is needed and no number of seconds.
    """
    if time is not None:
        return time.astimezone(UTC)
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "315532800")
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        raise GeounetError(
            f"SOURCE_DATE_EPOCH is {seconds!r}, not a number of seconds since 1970. "
            "Correct it, or unset it."
        ) from None


def _timestamp(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"


@contextmanager
def dated(time: datetime) -> Iterator[None]:
    """Let GDAL take `time` for the present. pyogrio's GDAL is not the one that rasterio sets up.

    Nor does it wait for the disk after each batch: what a crash of the machine leaves is a draft.
    """
    options = {"OGR_CURRENT_DATE": _timestamp(time), "OGR_SQLITE_SYNCHRONOUS": "OFF"}
    before = {option: pyogrio.get_gdal_config_option(option) for option in options}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


class LayerWriter:
    """Writes a layer of a GeoPackage; an empty one has its columns and type, too.

    Features wait in a nameless file beside it: GDAL takes all at once in a third less time than in
    batches, and a GeoPackage has only one layer written at a time. `write_while` has none wait.
    """

    def __init__(
        self, path: Path, name: str, geometry_type: Literal["LineString", "Polygon"], time: datetime
    ) -> None:
        """Begin a layer.

        Args:
            path: The GeoPackage; made if absent.
            name: Of the layer.
            geometry_type: Of all its features.
            time: What the file says is the date of its last change.
        """
        self._path, self._name, self._geometry_type, self._time = path, name, geometry_type, time
        self._waiting: tempfile.SpooledTemporaryFile[bytes] | None = None
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None
        self._crs: CRS | None = None

    def write(self, features: geopandas.GeoDataFrame) -> None:
        """Add features; the columns and the CRS are those of the first call."""
        shapes = pa.array(shapely.to_wkb(np.asarray(features.geometry.array)), pa.binary())
        columns = pd.DataFrame(features.drop(columns=features.geometry.name))
        table = pa.Table.from_pandas(columns, preserve_index=False)
        self.write_table(with_shapes(table, shapes), features.crs)

    def write_table(self, features: pa.Table, crs: CRS | None) -> None:
        """Add features, as `with_shapes` makes them; columns and CRS are those of the first."""
        if self._stream is None:
            folder = str(self._path.parent)
            self._waiting = tempfile.SpooledTemporaryFile(WAITING_IN_MEMORY, dir=folder)  # noqa: SIM115  until flush
            self._stream, self._crs = pa.ipc.new_stream(self._waiting, features.schema), crs
        if self._waiting is not None and features.nbytes > WAITING_IN_MEMORY:
            self._waiting.rollover()  # at once, or it would be copied on its way there
        self._stream.write_table(features)

    def flush(self) -> None:
        """Write the layer. To be called in the end, once."""
        if self._stream is None or self._waiting is None:
            return
        self._stream.close()
        self._waiting.seek(0)
        with self._waiting:
            self._write(pa.ipc.open_stream(self._waiting), self._crs)

    def write_while(self, made: Iterator[pa.Table], crs: CRS | None) -> None:
        """Write the layer, and nothing else, while its features are made.

        Args:
            made: Features as `with_shapes` makes them: one table at least, all of the same columns.
            crs: Of their geometries.

        Raises:
            Exception: What `made` raises.
        """
        first = next(made)
        failure: BaseException | None = None

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal failure
            try:
                for table in chain([first], made):
                    yield from table.to_batches()
            except BaseException as error:  # on its way through GDAL only its text is left
                failure = error
                raise

        try:
            self._write(pa.RecordBatchReader.from_batches(first.schema, batches()), crs)
        except Exception:
            if failure is not None:
                raise failure from None
            raise

    def _write(self, features: pa.RecordBatchReader, crs: CRS | None) -> None:
        with dated(self._time):
            pyogrio.write_arrow(
                features,
                self._path,
                layer=self._name,
                driver="GPKG",
                geometry_name="geom",
                # Without it an empty layer opens in QGIS as a table without geometry.
                geometry_type=self._geometry_type,
                crs=_crs_text(crs),
                VERSION="1.3",  # QGIS 3.22 warns of 1.4
            )


def with_shapes(columns: pa.Table, shapes: pa.Array) -> pa.Table:
    """Return features: what they say, and their geometries, as WKB, in `geom`, the last column."""
    for index, column in enumerate(columns.schema):
        if pa.types.is_null(column.type):  # GDAL knows no columns of nothing
            columns = columns.set_column(index, column.name, columns[index].cast(pa.string()))
    return columns.append_column("geom", shapes).replace_schema_metadata()


def _crs_text(crs: CRS | None) -> str | None:
    if crs is None:
        return None
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else crs.to_wkt("WKT1_GDAL")


def set_values(
    path: Path, layer: str, column: str, value: str, features: NDArray[np.int64]
) -> None:
    """Give features of a GeoPackage another value, once they are written.

    Args:
        path: The GeoPackage.
        layer: Name of the layer.
        column: Name of the column.
        value: The value.
        features: Which features, by `fid`.

    Raises:
        OSError: It cannot be written, for instance because the disk is full.
    """
    try:
        with closing(sqlite3.connect(path)) as db, db:
            # The triggers of the spatial index name it; with an unchanged fid they do not call it.
            db.create_function("ST_IsEmpty", 1, lambda _: 0)
            for corner in ("ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
                db.create_function(corner, 1, lambda _: None)
            db.executemany(
                f'UPDATE "{layer}" SET "{column}" = ? WHERE fid = ?',
                ((value, fid) for fid in features.tolist()),
            )
    except sqlite3.OperationalError as error:
        raise OSError(f"{path.name} cannot be written: {error}") from error


def embed_styles(path: Path, styles: Mapping[str, str], time: datetime) -> None:
    """Put default styles for layers into a GeoPackage, where QGIS finds them.

    Args:
        path: The GeoPackage.
        styles: Name of the layer → QML.
        time: When they were made, as far as the file says.

    Raises:
        OSError: It cannot be written, for instance because the disk is full.
    """
    when = _timestamp(time)
    try:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("PRAGMA synchronous = OFF")  # of a draft, as in `dated`
            db.execute(_STYLES_TABLE)
            db.execute(_STYLES_LISTED, (when,))
            rows = [(layer, layer, qml, when) for layer, qml in styles.items()]
            db.executemany(_STYLE, rows)
    except sqlite3.OperationalError as error:
        raise OSError(f"{path.name} cannot be written: {error}") from error
