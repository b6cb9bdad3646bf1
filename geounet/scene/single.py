"""One file that holds all bands: GeoTIFF, COG, VRT, or whatever else GDAL reads."""

from collections.abc import Sequence
from pathlib import Path

import rasterio

from geounet.bands import Band, is_quality, parse_band
from geounet.errors import BandError
from geounet.scene import names
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
from geounet.scene.quality import QualityCandidate, choose_quality
from geounet.scene.raster import alpha_index, open_raster

LEAVE_OUT = "-"


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
            names.name_parts(Path(source), in_folder=False),
            tags_of(dataset),
            options,
            [text for text in texts.values() if text],
        )
        bands, left_out = parse_texts(texts, source, identity)
        refuse_duplicates(((band, f"number {i}") for i, band in bands.items()), source)
        layers = tuple(
            layer_of(dataset, i, band, options, geobox=geobox) for i, band in bands.items()
        )
        return Product(
            name=names.safe_name(Path(source).stem),
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
        BandError: There are no names, or not as many as bands.
    """
    alpha = alpha_index(dataset)
    indexes = [index for index in dataset.indexes if index != alpha]
    if options.bands is not None:
        return _texts_given(options.bands, indexes, dataset.count, source), "--bands"
    descriptions = [
        names.band_in_description(dataset.descriptions[index - 1] or "") for index in indexes
    ]
    if all(text is not None for text in descriptions):
        return dict(zip(indexes, descriptions, strict=True)), "band descriptions"
    if len(indexes) == 1 and (name := names.band_in_name(Path(source).stem)):
        return {indexes[0]: name}, "file name"
    unnamed = [str(i) for i, text in zip(indexes, descriptions, strict=True) if text is None]
    which = "" if len(unnamed) == len(indexes) else f" (number {', '.join(unnamed)})"
    raise BandError(
        f"{source} does not say which its {len(indexes)} bands are{which}. Name them all in file "
        "order with --bands, for instance --bands B02,B03,B04,B08 --sensor s2; - leaves one out."
    )


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
