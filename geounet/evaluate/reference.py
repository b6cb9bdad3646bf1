"""What a prediction is held against: classes on its grid, and lines beside its line."""

import logging
from dataclasses import dataclass

import numpy as np
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet.classes import LAND
from geounet.coastline import LineSweep
from geounet.contours import cut_strips, trace
from geounet.distances import Coordinates, Pieces, Plane, place
from geounet.errors import LabelError
from geounet.labels import LabelSource, PolygonLabels, RasterLabels, is_raster, open_labels
from geounet.outputs import list_records
from geounet.ragged import Lines
from geounet.tracing import Scale
from geounet.vectors import (
    LINE_TYPES,
    POLYGON_TYPES,
    VectorFile,
    clip_around,
    crs_of,
    of_type,
    open_vectors,
    read_around,
    repair,
    split_layer,
)

logger = logging.getLogger(__name__)

BORDER_PX = 0.5
"""Reference lines nearer to the scene's border than this are the border, not a coast."""


@dataclass(frozen=True)
class ReferenceOptions:
    """What the user says about references; None is the default."""

    values: str | None = None
    """What the values of a raster mean, `0=land,1=water`."""
    water: bool | None = None
    """Whether polygons are water (the default) or land."""
    layer: str | None = None
    where: str | None = None


@dataclass(frozen=True)
class Reference:
    """A truth: an area (raster or polygons), or lines."""

    text: str
    """As the user wrote it."""
    area: LabelSource | None
    lines: VectorFile | None

    @property
    def kind(self) -> str:
        """`raster`, `polygons` or `lines`, for people and records."""
        if self.area is None:
            return "lines"
        return "polygons" if isinstance(self.area, PolygonLabels) else "raster"

    @property
    def directed(self) -> bool:
        """Whether it is known on which side of its lines the water is."""
        return self.area is not None


def open_reference(text: str, options: ReferenceOptions) -> Reference:
    """Open a reference, whatever it is.

    Args:
        text: A raster, or a vector file with polygons or lines; `file.gpkg|layer` names a layer.
        options: What the user says about it.

    Raises:
        LabelError: It is not there, cannot be read, has no CRS, or options do not fit its kind.
    """
    file, _ = split_layer(text)
    if not file.exists() and not text.startswith("/vsi"):
        raise LabelError(f"The reference {file} is not there. Check the path.")
    if file.is_dir() and (records := list_records(file)):
        raise LabelError(
            f"The reference {file} is a folder of results. Name a layer or the mask of one, for "
            f"instance '{records[0].with_suffix('.gpkg')}|water'."
        )
    if not is_raster(text):
        vectors = open_vectors(text, layer=options.layer, where=options.where, error=LabelError)
        if _has_lines(vectors):
            return Reference(text, area=None, lines=vectors)
    area = open_labels(
        text,
        values=options.values,
        water=options.water,
        layer=options.layer,
        where=options.where,
    )
    return Reference(text, area=area, lines=None)


def _has_lines(vectors: VectorFile) -> bool:
    """Whether a layer is one of lines; one that mixes kinds goes by its first shape."""
    declared = str(pyogrio.read_info(vectors.path, layer=vectors.layer)["geometry_type"])
    if "Line" in declared or "Curve" in declared.replace("CurvePolygon", ""):
        return True
    if "Polygon" in declared or "Surface" in declared:
        return False
    # FlatGeobuf finds nothing by a column that is not read.
    columns: list[str] | None = [] if vectors.where is None else None
    _, _, wkb, _ = pyogrio.raw.read(
        vectors.path, layer=vectors.layer, where=vectors.where, columns=columns, max_features=1
    )
    return bool(shapely.get_dimensions(shapely.from_wkb(wkb))[0] == 1)


def reference_pieces(
    reference: Reference, plane: Plane, *, reach: float, framed: bool = True
) -> Pieces:
    """Return a reference's lines around a scene, on the plane; land on their left if `directed`.

    Outlines of polygons that lie on the edges of the reference's own extents are where its author
    stopped, and what follows the scene's border is where it was cut: neither is a coast.

    Args:
        reference: An area, whose outlines are taken, or lines.
        plane: Of the scene.
        reach: How far around the scene lines may matter, in metres.
        framed: Whether the scene's border is one that coasts are cut at; that of a grid laid
            around someone's lines is not.

    Raises:
        LabelError: The reference cannot be read.
    """
    if isinstance(reference.area, PolygonLabels):
        crs = reference.area.vectors.crs
        outlines = _outlines(reference.area, plane.geobox, reach)
        on_extents = _on_box(outlines, reference.area.vectors.bounds)
        if _inside_scene(outlines.keep(on_extents), crs, plane).any():
            logger.info(
                "%s: its edges along its own extents are taken for where its author stopped, and "
                "not for coast.",
                reference.text,
            )
        pieces = outlines.keep(~on_extents)
    elif isinstance(reference.area, RasterLabels):
        grid = _grid_around(reference.area, plane, reach)
        water = frozenset(one.value for one in reference.area.classes if one.water)
        pieces, crs = trace_boundary(reference.area, grid, water), crs_of(grid)
    else:
        assert reference.lines is not None
        crs = reference.lines.crs
        shapes = read_around(reference.lines, plane.geobox, margin_m=reach)
        pieces = Pieces.from_lines(of_type(shapes, LINE_TYPES))
    placed = near_and_fine(pieces, crs, plane, reach).transformed(plane.from_crs(crs))
    placed = placed.near(plane.bounds(reach))
    if not framed:
        return placed
    middle = plane.to_pixels((placed.start + placed.end) / 2)
    return placed.keep(np.abs(_depth(middle, plane.geobox)) > BORDER_PX)


def _depth(pixels: Coordinates, geobox: GeoBox) -> NDArray[np.float64]:
    """Return how far inside a grid places by (col, row) are, in pixels; negative outside."""
    height, width = geobox.shape
    return np.asarray(np.minimum(pixels, [width, height] - pixels).min(axis=1))


def _inside_scene(pieces: Pieces, crs: CRS, plane: Plane) -> NDArray[np.bool_]:
    """Which pieces lie clear of the scene's border, inside it."""
    fine = near_and_fine(pieces, crs, plane, 0).transformed(plane.from_crs(crs))
    return _depth(plane.to_pixels((fine.start + fine.end) / 2), plane.geobox) > 1


def _outlines(area: PolygonLabels, geobox: GeoBox, reach: float) -> Pieces:
    """Return the edges between polygons and what is not, directed with land on the left."""
    vectors = area.vectors
    polygons = of_type(read_around(vectors, geobox, margin_m=2 * reach), POLYGON_TYPES)
    polygons = repair(polygons, name=str(vectors.path))
    polygons = clip_around(polygons, vectors.crs, geobox, margin_m=2 * reach)
    if len(polygons) > 1:  # an edge that two of them share is no coast
        polygons = shapely.get_parts(shapely.union_all(polygons))
    polygons = shapely.orient_polygons(polygons, exterior_cw=area.inside != LAND)
    return Pieces.from_lines(shapely.get_rings(polygons))


def _on_box(pieces: Pieces, bounds: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Which pieces run along a side of a box."""
    left, bottom, right, top = bounds
    near = 1e-9 * max(right - left, top - bottom)
    found = np.zeros(len(pieces), dtype=np.bool_)
    for axis, side in ((0, left), (0, right), (1, bottom), (1, top)):
        at_start = np.abs(pieces.start[:, axis] - side) <= near
        found |= at_start & (np.abs(pieces.end[:, axis] - side) <= near)
    return found


def near_and_fine(pieces: Pieces, crs: CRS, plane: Plane, reach: float) -> Pieces:
    """Leave out pieces far from the scene, and cut long ones to pixels.

    What is straight in one projection is bent in another.
    """
    to_crs = plane.to_crs(crs)
    left, bottom, right, top = plane.bounds(reach)
    side = np.linspace(0, 1, 33)
    x = np.concatenate([left + side * (right - left)] * 2 + [np.full(33, left), np.full(33, right)])
    y = np.concatenate(
        [np.full(33, bottom), np.full(33, top)] + [bottom + side * (top - bottom)] * 2
    )
    outline = to_crs(np.column_stack((x, y)))
    centre = to_crs(np.array([[0, 0], [1, 0], [0, 1]]) * plane.pixel_m)
    longest = np.hypot(*(centre[1:] - centre[0]).T).min()
    low, high = outline.min(axis=0), outline.max(axis=0)
    if np.isfinite([low, high]).all() and not _crosses_180(outline, crs):
        bulge = 0.02 * (high - low)
        pieces = pieces.near((*(low - bulge), *(high + bulge)))
    return pieces.subdivided(float(longest))


def _crosses_180(places: Coordinates, crs: CRS) -> bool:
    """Whether places around a scene lie on both sides of 180°, where longitudes jump."""
    return bool(crs.is_geographic and np.ptp(places[:, 0]) > 180)


def _grid_around(labels: RasterLabels, plane: Plane, reach: float) -> GeoBox:
    """Return the part of a raster's own grid that lies around a scene."""
    with rasterio.open(labels.path) as src:
        whole = GeoBox(src.shape, src.transform, src.crs)
    height, width = plane.geobox.shape
    side = np.linspace(0, 1, 33)
    grid = np.column_stack([axis.ravel() for axis in np.meshgrid(side * width, side * height)])
    ground = plane.to_crs(labels.crs)(plane.from_pixels(grid))
    if _crosses_180(ground, labels.crs):
        return whole  # there may be some of the scene at either end of it
    cols, rows = place(~whole.transform, ground).T
    margin = 2 + 2 * int(reach / Plane(whole).pixel_m)
    spans = []
    for places, size in ((rows, whole.shape[0]), (cols, whole.shape[1])):
        if not np.isfinite(places).all():
            raise LabelError(f"{labels.path} has no place for the scene in its CRS.")
        spans.append(
            slice(
                min(max(int(places.min()) - margin, 0), size - 1),
                max(min(int(places.max()) + 1 + margin, size), 1),
            )
        )
    return whole[spans[0], spans[1]]


def trace_boundary(labels: LabelSource, geobox: GeoBox, water: frozenset[int]) -> Pieces:
    """Draw the line between land and water through a raster of classes, strip by strip.

    Args:
        labels: What is there.
        geobox: Grid on which to read it.
        water: The classes that are water.

    Returns:
        Pieces in the CRS of `geobox`, land on their left; none along unknown pixels.
    """
    field = np.full(256, np.nan, dtype=np.float32)
    for one in labels.classes:
        field[one.value] = one.value in water

    def read(start: int, stop: int) -> NDArray[np.float32]:
        return field[labels.read(geobox[start:stop, :])]

    height, width = geobox.shape
    sweep, lines = LineSweep(), []
    for strip in cut_strips(read, (height, width), scale=Scale.plain(0.5)):
        lines.append(sweep.add(trace(strip), strip.sweep_row))
    pieces = Pieces.from_lines(shapely.force_2d(Lines.joined(lines).shapes()))
    if geobox.transform.determinant > 0:  # south up: the ground is the picture's mirror image
        pieces = pieces.reversed()
    return pieces.transformed(lambda pixels: place(geobox.transform, pixels))
