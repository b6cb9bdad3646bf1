"""One file that holds all bands: GeoTIFF, COG, VRT, or whatever else GDAL reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geounet.bands import SENSORS, Band, is_quality, parse_band
from geounet.errors import BandError
from geounet.scene import dates, names
from geounet.scene.product import (
    Identity,
    Product,
    SceneOptions,
    geobox_of,
    identify,
    layer_of,
    nodata_source,
    refuse_duplicates,
    tags_of,
)
from geounet.scene.quality import QualityCandidate, choose_quality, quality_kind
from geounet.scene.raster import alpha_index, open_raster
from geounet.scene.remote import without_query
from geounet.scene.sidecar import find_band_lists

LEAVE_OUT = "-"
SAMPLE_SIDE = 64
"""Pixels of the squares that are looked at where bands have no names."""
SAMPLES_PER_SIDE = 5
MASK_VALUES = 3
"""Different numbers that a mask of land, water and nodata has, at most."""
EXAMPLES: Mapping[int, tuple[str, ...]] = {
    1: ("B08",),
    3: ("B04", "B03", "B02"),
    4: ("B02", "B03", "B04", "B08"),
    10: ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    12: tuple(band.name for band in SENSORS["s2"] if band.name != "B10"),
}
"""Bands of Sentinel-2 that often come in one file, by their number."""


def read_file(source: str, options: SceneOptions) -> Product:
    """Find out what a raster file with all bands of a scene holds.

    Raises:
        BandError: Its bands have no names, names whose sensor is not known, or the same twice.
        SceneError: It is not a raster, or has no CRS or geotransform.
    """
    with open_raster(source) as dataset:
        geobox = geobox_of(dataset)  # before its bands: a grid is missing more often than names
        texts, named_by = band_texts(dataset, source, options)
        identity = identify(
            names.name_parts(Path(without_query(source)), in_folder=False),
            tags_of(dataset),
            options,
            [text for text in texts.values() if text],
        )
        bands, left_out = parse_texts(texts, source, identity)
        refuse_duplicates(((band, f"number {i}") for i, band in bands.items()), source)
        layers = tuple(layer_of(dataset, i, band, geobox=geobox) for i, band in bands.items())
        return Product(
            name=names.safe_name(Path(without_query(source)).stem),
            source=source,
            kind="file",
            layers=layers,
            options=options,
            driver=dataset.driver,
            identity=identity,
            left_out=left_out,
            sources={"bands": named_by, "nodata": nodata_source(layers, options)},
            quality=choose_quality(
                [QualityCandidate(text, dataset.name, i) for i, text in texts.items() if text]
            ),
        )


def band_texts(
    dataset: rasterio.DatasetReader, source: str, options: SceneOptions
) -> tuple[dict[int, str | None], str]:
    """Return the names of a file's bands as they are written, and where that is.

    Returns:
        Names by band index, from 1, in file order, without the alpha mask; None for a band to
        leave out. And the place, for people.

    Raises:
        BandError: There are no names, not as many as bands, or those of several dates.
    """
    alpha = alpha_index(dataset)
    indexes = [index for index in dataset.indexes if index != alpha]
    if options.bands is not None:
        texts = _texts_given(options.bands, indexes, dataset.count, source)
        # Only what comes back: a user may well call an extra layer by its date.
        given = {index: text for index, text in texts.items() if text is not None}
        _refuse_dates(dates.split_by_name(given), indexes, f"{source}, by --bands,", options)
        return texts, "--bands"
    written = {i: text for i in indexes if (text := dataset.descriptions[i - 1])}
    _refuse_dates(dates.split_by_date(written), indexes, source, options)
    descriptions = {i: names.band_in_description(written.get(i, "")) for i in indexes}
    if all(text is not None for text in descriptions.values()):
        return descriptions, "band descriptions"
    if len(indexes) == 1 and (name := names.band_in_name(Path(without_query(source)).stem)):
        return {indexes[0]: name}, "file name"
    listed, remarks = _texts_listed(source, indexes, options)
    if listed:
        return listed
    unnamed = [index for index in indexes if descriptions[index] is None]
    raise BandError(_why_unnamed(dataset, source, indexes, unnamed, remarks))


def _texts_listed(
    source: str, indexes: Sequence[int], options: SceneOptions
) -> tuple[tuple[dict[int, str | None], str] | None, list[str]]:
    """Return what a list beside the file says as `band_texts` does; or why the lists do not fit.

    Raises:
        BandError: A list is of several dates.
    """
    remarks = list[str]()
    for found in find_band_lists(source):
        if len(found.names) != len(indexes):
            remarks.append(f"{found.source} beside it lists {len(found.names)} names")
            continue
        taken = {i: n for i, n in zip(indexes, found.names, strict=True) if n != LEAVE_OUT}
        who = f"{source}, by {found.source},"
        _refuse_dates(dates.split_by_date(taken), indexes, who, options)
        texts = {i: names.band_in_description(name) for i, name in taken.items()}
        if unknown := [str(i) for i, text in texts.items() if text is None]:
            remarks.append(f"{found.source} beside it does not name number {', '.join(unknown)}")
            continue
        return ({i: texts.get(i) for i in indexes}, f"{found.source} beside the file"), remarks
    return None, remarks


def _refuse_dates(
    groups: Sequence[dates.Dated], indexes: Sequence[int], who: str, options: SceneOptions
) -> None:
    if groups:
        raise BandError(f"{who} {dates.explain(groups, indexes, options.sensor)}")


def _why_unnamed(
    dataset: rasterio.DatasetReader,
    source: str,
    indexes: Sequence[int],
    unnamed: Sequence[int],
    remarks: Sequence[str],
) -> str:
    """Return what to say of a file whose bands have no names, and what to type."""
    if len(indexes) == 1 and (why := _why_no_scene(dataset, source, indexes[0])):
        return why
    which = "" if len(unnamed) == len(indexes) else f" (number {', '.join(map(str, unnamed))})"
    beside = "".join(f"; {remark}" for remark in remarks)
    count = f"{len(indexes)} bands are" if len(indexes) > 1 else "1 band is"
    start = f"{source} does not say which its {count}{which}{beside}"
    wanted = len(unnamed) == len(indexes) >= dates.FEWEST
    samples = _samples(dataset, indexes) if wanted else None
    period = None
    if samples is not None:
        period = dates.repeated_after(samples[:, (samples != 0).any(axis=0)])
    if period is None:
        order = "Name them all in file order" if len(indexes) > 1 else "Name it"
        return (
            f"{start}. {order} with --bands, for instance {_example(dataset, len(indexes))}; "
            "- leaves one out."
        )
    return (
        f"{start}, and they look like {len(indexes) // period} dates of {period} bands, one after "
        "the other. A scene is one date: name its bands in file order and leave out the others, "
        f"for instance --bands {dates.example_of(period, len(indexes))} "
        "--sensor s2."
    )


def _example(dataset: rasterio.DatasetReader, count: int) -> str:
    """Return how so many bands may be named, of the sensor that the file or its name tells of."""
    parts = names.name_parts(Path(without_query(dataset.name)), in_folder=False)
    found = names.find_sensor(tags_of(dataset), parts)
    sensor = found.value if found else "s2"
    if sensor == "s2":
        called = EXAMPLES.get(count, [band.name for band in SENSORS[sensor]])
    else:
        called = [band.name for band in SENSORS[sensor]]
    shown = [*called[:count], *[LEAVE_OUT] * (count - len(called))]
    return f"--bands {','.join(shown)} --sensor {sensor}"


def _why_no_scene(dataset: rasterio.DatasetReader, source: str, index: int) -> str | None:
    """Return what a raster of one band is instead of a scene, by its name or numbers, if it is."""
    stem = Path(without_query(source)).stem
    if quality_kind(stem):
        return (
            f"{source} says where clouds are by its name, and is no scene. Give it as --cloud-mask "
            "with one, or give the folder of its product."
        )
    if is_quality(stem):
        return f"{source} is a quality layer by its name, no scene. Give the folder of its product."
    samples = _samples(dataset, [index])
    if samples is None or np.dtype(dataset.dtypes[index - 1]).kind not in "iub":
        return None
    values = np.unique(samples)
    if len(values) > MASK_VALUES:
        return None
    return (
        f"{source} is one band of {', '.join(f'{value:g}' for value in values)}, which looks like "
        "a mask and not like a scene. Give it with one, as --labels, --cloud-mask or --reference; "
        "or say which band it is with --bands."
    )


def _samples(dataset: rasterio.DatasetReader, indexes: Sequence[int]) -> NDArray[Any] | None:
    """Return pixels of a file from places all over it, (bands, pixels); None if that takes long."""
    if dataset.name.startswith("/vsi"):
        return None
    rows, cols = (min(SAMPLE_SIDE, size) for size in dataset.shape)
    parts = []
    for row in np.linspace(0, dataset.height - rows, SAMPLES_PER_SIDE, dtype=int):
        for col in np.linspace(0, dataset.width - cols, SAMPLES_PER_SIDE, dtype=int):
            window = Window(col_off=int(col), row_off=int(row), width=cols, height=rows)
            try:
                parts.append(dataset.read(indexes, window=window).reshape(len(indexes), -1))
            except RasterioError:
                return None  # said better when pixels are asked for
    samples = np.concatenate(parts, axis=1).astype(np.float64)
    return samples[:, np.isfinite(samples).all(axis=0)]


def _texts_given(
    given: Sequence[str], indexes: Sequence[int], count: int, source: str
) -> dict[int, str | None]:
    # A user who counts the alpha mask too is right, as long as it is left out.
    if len(given) == count != len(indexes):
        alpha = next(i for i in range(1, count + 1) if i not in indexes)
        if given[alpha - 1] == LEAVE_OUT:
            given = [text for i, text in enumerate(given, start=1) if i != alpha]
    if len(given) != len(indexes):
        mask = "" if count == len(indexes) else " besides its alpha mask"
        raise BandError(
            f"--bands names {len(given)} bands, but {source} has {len(indexes)}{mask}. "
            "Name them all, in file order; - leaves one out."
        )
    return {
        index: None if text == LEAVE_OUT else text
        for index, text in zip(indexes, given, strict=True)
    }


def parse_texts(
    texts: dict[int, str | None], source: str, identity: Identity
) -> tuple[dict[int, Band], tuple[tuple[str, str], ...]]:
    """Return the bands that names mean, by index, and what is left out with the reason.

    Raises:
        BandError: A name needs a sensor, is not one of the sensor's, or all are left out.
    """
    bands, left_out = dict[int, Band](), list[tuple[str, str]]()
    for index, text in texts.items():
        if text is None:
            left_out.append((f"band {index}", "left out with -"))
        elif is_quality(text):
            left_out.append((text, "quality band"))
        else:
            bands[index] = parse_of(text, source, identity)
    if not bands:
        raise BandError(
            f"{source} has no spectral bands, only {', '.join(n for n, _ in left_out)}."
        )
    return bands, tuple(left_out)


def parse_of(text: str, source: str, identity: Identity) -> Band:
    """Return the band that a name means in this scene; errors say which scene."""
    try:
        return parse_band(text, identity.sensor)
    except BandError as error:
        raise BandError(f"{source}: {error}") from error
