"""Vector files brought onto a scene's grid: layer, filter, CRS, and the pixels they cover."""

import logging
import math
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer
from rasterio.features import rasterize
from rasterio.transform import array_bounds

from geounet.errors import GeounetError

logger = logging.getLogger(__name__)

WGS84 = CRS.from_epsg(4326)
LINE_TYPES = (1, 2)
"""shapely's type ids of lines and rings."""
POLYGON_TYPES = (3,)
PARQUET = (".parquet", ".geoparquet")
_STRAIGHT_PX = 0.05
"""How far an edge that is straight in its file may leave its true place, in pixels."""

Bounds = tuple[float, float, float, float]
"""(left, bottom, right, top)."""
Geometries = NDArray[np.object_]
"""shapely geometries, (n,)."""


@dataclass(frozen=True)
class VectorFile:
    """One layer of a vector file, or the part of it that a filter selects."""

    path: Path
    layer: str
    where: str | None
    """SQL condition on the attributes."""
    crs: CRS
    bounds: Bounds
    """Of what is selected, in `crs`."""

    def read(self, boxes: list[Bounds]) -> Geometries:
        """Return the simple geometries that touch any of the boxes, each once, in `crs`."""
        found: dict[int, bytes] = {}
        for box in boxes:
            _, fids, wkb, _ = pyogrio.raw.read(
                self.path,
                layer=self.layer,
                where=self.where,
                bbox=box,
                # FlatGeobuf finds nothing by a column that is not read.
                columns=[] if self.where is None else None,
                return_fids=True,
                force_2d=True,
            )
            found |= dict(zip(fids.tolist(), wkb, strict=True))
        shapes = shapely.from_wkb(np.array([found[fid] for fid in sorted(found)], dtype=object))
        return simple_parts(shapes)


def open_vectors(
    text: str, *, layer: str | None, where: str | None, error: type[GeounetError]
) -> VectorFile:
    """Open a layer of a vector file.

    Args:
        text: Path, or path and layer as `file.gpkg|layer`.
        layer: Name of the layer; may be left out where there is one only.
        where: SQL condition on its attributes, or None for all features.
        error: What to raise.

    Raises:
        GeounetError: Of type `error`: it cannot be read, has no such layer, no features, or no
            CRS.
    """
    path, named = split_layer(text)
    if layer and named and layer != named:
        raise error(f"{text} names layer {named}, and the option names {layer}. Give one of them.")
    if path.suffix.lower() in PARQUET:
        path = _unpacked(path, error)
    layer = _choose_layer(path, layer or named, error)
    try:
        info = pyogrio.read_info(path, layer=layer)
        _, extents = pyogrio.read_bounds(path, layer=layer, where=where)
    except (DataSourceError, DataLayerError, ValueError) as why:
        fields = ""
        if where:
            names = ", ".join(pyogrio.read_info(path, layer=layer)["fields"])
            fields = f" The condition was {where!r}; fields are {names or 'none'}."
        raise error(f"{path} cannot be read: {_one_line(why)}.{fields}") from why
    if info["crs"] is None:
        raise error(
            f"{path} has no CRS, so nobody knows where it lies. "
            "Set one, for instance with `ogr2ogr -a_srs EPSG:4326`."
        )
    extents = extents[:, np.isfinite(extents).all(axis=0)]
    if extents.shape[1] == 0:
        chosen = f" where {where}" if where else ""
        raise error(f"Layer {layer} of {path} has no shapes{chosen}.")
    left, bottom = extents[:2].min(axis=1).tolist()
    right, top = extents[2:].max(axis=1).tolist()
    crs = CRS.from_user_input(info["crs"])
    return VectorFile(path, layer, where, crs, (left, bottom, right, top))


def _unpacked(path: Path, error: type[GeounetError]) -> Path:
    """Copy a GeoParquet file to memory in a form that GDAL reads: it seldom has the driver itself.

    Raises:
        GeounetError: Of type `error`: it cannot be read, has no shapes or no CRS.
    """
    try:
        frame = geopandas.read_parquet(path)
    except (ValueError, OSError) as why:
        raise error(f"{path} cannot be read: {_one_line(why)}.") from why
    if frame.crs is None:
        raise error(f"{path} has no CRS, so nobody knows where it lies. Set one.")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty:
        raise error(f"{path} has no shapes.")
    copy = Path("/vsimem") / sha256(str(path.resolve()).encode()).hexdigest() / f"{path.stem}.gpkg"
    kept = [name for name in frame.columns if name != "bbox"]  # a structure, of no use here
    pyogrio.write_dataframe(frame[kept], copy, driver="GPKG", layer=path.stem)
    return copy


def split_layer(text: str) -> tuple[Path, str | None]:
    """Return file and layer of `file.gpkg|layer`; the layer is None where none is named."""
    file, bar, layer = text.rpartition("|")
    # A file may itself have a bar in its name.
    if bar and layer and not Path(text).exists():
        return Path(file), layer.removeprefix("layername=")
    return Path(text), None


def _choose_layer(path: Path, layer: str | None, error: type[GeounetError]) -> str:
    try:
        layers = pyogrio.list_layers(path)
    except DataSourceError as why:
        raise error(f"{path} cannot be read: {_one_line(why)}.") from why
    # Tables without geometry, such as QGIS's layer_styles, are nothing to choose from.
    names = [str(name) for name, geometry in layers if geometry is not None]
    if layer is None and len(names) == 1:
        return names[0]
    if layer in names:
        return layer
    what = f"no layer {layer}" if layer else "several layers"
    raise error(
        f"{path} has {what}; there are {', '.join(names) or 'none'}. "
        f"Name one: '{path}|{names[-1] if names else 'layer'}'."
    )


def _one_line(why: Exception) -> str:
    return " ".join(str(why).split()).rstrip(".")


def simple_parts(shapes: Geometries) -> Geometries:
    """Return points, lines and polygons, taken out of whatever collects them."""
    shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
    while (shapely.get_type_id(shapes) > POLYGON_TYPES[0]).any():
        shapes = shapely.get_parts(shapes)
    return shapes


def repair(polygons: Geometries, *, name: str, level: int = logging.WARNING) -> Geometries:
    """Return polygons that are valid, mending those that are not and saying so."""
    broken = ~shapely.is_valid(polygons)
    if not broken.any():
        return polygons
    message = "%s: %d of %d polygons cross themselves; mended."
    logger.log(level, message, name, broken.sum(), len(polygons))
    mended = simple_parts(shapely.make_valid(polygons[broken]))
    return np.concatenate([polygons[~broken], of_type(mended, POLYGON_TYPES)])


def of_type(shapes: Geometries, types: tuple[int, ...]) -> Geometries:
    """Return the geometries of the given shapely type ids."""
    return shapes[np.isin(shapely.get_type_id(shapes), types)]


def read_around(vectors: VectorFile, geobox: GeoBox, *, margin_m: float = 0.0) -> Geometries:
    """Return the geometries near a grid, simple and whole, in the CRS of the file."""
    return vectors.read(_boxes_around(geobox, vectors.crs, margin_m))


def clip_around(
    polygons: Geometries, crs: CRS, geobox: GeoBox, *, margin_m: float = 0.0
) -> Geometries:
    """Cut polygons to the surroundings of a grid, so that far vertices cost nothing later.

    An ocean's polygon has millions of them, and some have no place in the grid's CRS at all.
    """
    pieces = [
        shapely.intersection(polygons, shapely.box(*box))
        for box in _boxes_around(geobox, crs, margin_m)
    ]
    return of_type(simple_parts(np.concatenate(pieces)), POLYGON_TYPES) if pieces else polygons[:0]


def project(shapes: Geometries, source: CRS, target: CRS, geobox: GeoBox) -> Geometries:
    """Bring geometries from one CRS to another, edges included.

    What is a straight edge in one is a curve in another, so edges get vertices in between until
    nowhere on the grid they leave their place by more than a twentieth of a pixel.

    Args:
        shapes: Geometries in `source`, near `geobox`.
        source: CRS that they are in.
        target: CRS that they are to be in.
        geobox: Grid that says where the ground is, and how large a pixel.

    Returns:
        Geometries in `target`; what has no place there is left out.
    """
    moved = shapes
    if source != target:
        forward = transformer(source, target)
        dense = shapely.segmentize(shapes, straight_length(source, target, geobox))
        moved = shapely.transform(
            dense, lambda xy: np.column_stack(forward.transform(xy[:, 0], xy[:, 1]))
        )
        moved = moved[np.isfinite(shapely.bounds(moved)).all(axis=-1)]
    if target.is_geographic:
        # A grid may run on past 180°; what lies there comes with longitudes from -180°.
        turned = [shift_x(moved, degrees) for degrees in (-360.0, 360.0)]
        moved = np.concatenate([moved, *turned])
        moved = moved[shapely.intersects(moved, shapely.box(*_grown_bounds(geobox)))]
    return moved


def shift_x(shapes: Geometries, by: float) -> Geometries:
    """Return geometries moved along x."""
    return shapely.transform(shapes, lambda xy: xy + np.array([by, 0.0]))


def covered(shapes: Geometries, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which pixels have their centre inside any of the polygons.

    Args:
        shapes: Polygons in the CRS of `geobox`.
        geobox: Grid of the result.

    Returns:
        (height, width).
    """
    if len(shapes) == 0:
        return np.zeros(geobox.shape, dtype=bool)
    burned = rasterize(shapes, out_shape=geobox.shape, transform=geobox.transform, dtype="uint8")
    return burned.astype(bool)


def pieces_of(polygons: Geometries, *, most_vertices: int = 1000) -> Geometries:
    """Cut polygons until each is small, so that a window pays only for what lies in it."""
    small = []
    while len(polygons):
        is_small = shapely.get_num_coordinates(polygons) <= most_vertices
        small.append(polygons[is_small])
        large = polygons[~is_small]
        left, bottom, right, top = shapely.bounds(large).T
        wide = right - left > top - bottom
        # Not in the middle: round coordinates would put the cut through pixel centres.
        cut_x = np.where(wide, left + 0.4877 * (right - left), right)
        cut_y = np.where(wide, top, bottom + 0.4877 * (top - bottom))
        first = shapely.box(left, bottom, cut_x, cut_y)
        second = shapely.box(np.where(wide, cut_x, left), np.where(wide, bottom, cut_y), right, top)
        halves = np.concatenate(
            [shapely.intersection(large, first), shapely.intersection(large, second)]
        )
        polygons = of_type(simple_parts(halves), POLYGON_TYPES)
    return np.concatenate(small) if small else polygons


def lonlat_bounds(bounds: Bounds, crs: CRS) -> Bounds:
    """Return bounds in WGS 84; left is greater than right where they cross 180°."""
    return transformer(crs, WGS84).transform_bounds(*bounds, densify_pts=21)


def describe_bounds(bounds: Bounds, crs: CRS) -> str:
    """Say where bounds lie, for messages."""
    left, bottom, right, top = lonlat_bounds(bounds, crs)
    return f"longitude {left:.3f} to {right:.3f}, latitude {bottom:.3f} to {top:.3f}"


def crs_of(geobox: GeoBox) -> CRS:
    """Return the CRS of a grid, as pyproj has it."""
    if geobox.crs is None:
        raise ValueError("the grid has no CRS")
    return geobox.crs.proj


def crs_name(geobox: GeoBox) -> str:
    """Return what the CRS of a grid is called: its EPSG code if it has one, else its WKT."""
    epsg = crs_of(geobox).to_epsg()
    return f"EPSG:{epsg}" if epsg else crs_of(geobox).to_wkt()


def grid_bounds(geobox: GeoBox) -> Bounds:
    """Return the bounds of a grid in its CRS."""
    height, width = geobox.shape
    left, bottom, right, top = array_bounds(height, width, geobox.transform)
    return left, bottom, right, top


def bounds_touch(bounds: Bounds, crs: CRS, geobox: GeoBox) -> bool:
    """Return whether bounds in `crs` and a grid have ground in common."""
    box = shapely.box(*bounds)
    return any(shapely.intersects(box, shapely.box(*b)) for b in _boxes_around(geobox, crs, None))


def _boxes_around(geobox: GeoBox, crs: CRS, margin_m: float | None) -> list[Bounds]:
    """Return boxes in `crs` that hold a grid and a margin around it: one, or two across 180°.

    In degrees they are there thrice: what lies at -175° may be written as 185°.
    """
    grid_crs = crs_of(geobox)
    if margin_m is None and crs == grid_crs and not crs.is_geographic:
        return [grid_bounds(geobox)]
    left, bottom, right, top = lonlat_bounds(grid_bounds(geobox), grid_crs)
    if not np.isfinite([left, bottom, right, top]).all():
        return []
    span = (right - left) % 360 or 360.0
    if margin_m is not None:
        # Curved edges bulge, and artificial edges along a cut must stay outside of the grid.
        grow_y = margin_m / 110_000 + 0.02 * (top - bottom) + 1e-3
        widest = np.cos(np.radians(min(max(abs(bottom), abs(top)) + grow_y, 89.0)))
        grow_x = margin_m / 110_000 / widest + 0.02 * span + 1e-3
        left, span = left - grow_x, min(span + 2 * grow_x, 360.0)
        bottom, top = max(bottom - grow_y, -90.0), min(top + grow_y, 90.0)
    left = (left + 180) % 360 - 180
    right = left + span
    turns = [(left, right)] if right <= 180 else [(left, 180.0), (-180.0, right - 360)]
    boxes = [
        transformer(WGS84, crs).transform_bounds(west, bottom, east, top, densify_pts=21)
        for west, east in turns
    ]
    boxes = [box for box in boxes if np.isfinite(box).all() and box[0] <= box[2]]
    around = (0.0, -360.0, 360.0) if crs.is_geographic else (0.0,)
    return [
        (west + by, south, east + by, north) for west, south, east, north in boxes for by in around
    ]


def _grown_bounds(geobox: GeoBox) -> Bounds:
    left, bottom, right, top = grid_bounds(geobox)
    x, y = right - left, top - bottom
    return left - x, bottom - y, right + x, top + y


@lru_cache(maxsize=64)
def transformer(source: CRS, target: CRS) -> Transformer:
    """Return the way from one CRS to another, x or longitude first."""
    return Transformer.from_crs(source, target, always_xy=True)


def straight_length(source: CRS, target: CRS, geobox: GeoBox) -> float:
    """Return how long an edge in `source` may be, on a grid, to stay straight enough in `target`.

    Found by trying: edges in four directions at 25 places of the grid, shorter and shorter.
    """
    to_target, to_grid = transformer(source, target), transformer(target, crs_of(geobox))
    left, bottom, right, top = grid_bounds(geobox)
    grid = np.meshgrid(np.linspace(left, right, 5), np.linspace(bottom, top, 5))
    x, y = transformer(crs_of(geobox), source).transform(grid[0].ravel(), grid[1].ravel())
    middles = np.stack([x, y])[:, np.isfinite(x) & np.isfinite(y)]  # (2, places)
    if middles.shape[1] == 0:
        return math.inf
    directions = np.array([[1, 0], [0, 1], [1, 1], [1, -1]]).T  # (2, directions)

    # The same longitude may be written in two ways, so distances are counted from the middles.
    true = np.stack(to_target.transform(*middles))[:, :, None]
    length = 2 * float(np.ptp(middles, axis=1).max()) or 1.0
    for _ in range(60):
        half = length / 2 * directions / np.hypot(*directions)
        ends = [middles[:, :, None] + sign * half[:, None, :] for sign in (-1, 1)]
        with np.errstate(invalid="ignore"):  # an end may have no place in the target
            moved = [np.stack(to_target.transform(*end)) - true for end in ends]
            if target.is_geographic:
                moved = [np.stack([(x + 180) % 360 - 180, y]) for x, y in moved]
            straight = true + np.mean(moved, axis=0)
            off = np.stack(~geobox.transform @ to_grid.transform(*straight))
            off -= np.stack(
                ~geobox.transform @ to_grid.transform(*np.broadcast_to(true, off.shape))
            )
        if np.abs(off).max() < _STRAIGHT_PX:
            break
        length /= 2
    return length
