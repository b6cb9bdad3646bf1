"""Small sound products of every kind that geounet reads, to be spoilt."""

import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

SIDE = 48
"""Pixels of a band of 10 m along each side."""
LEFT, TOP = 600_000, 5_100_000
CRS = "EPSG:32630"
BANDS = ("B02", "B03", "B04", "B08")
PRODUCT = "S2A_MSIL2A_20190809T220921_N0213_R129_T01KCV_20190809T235948"
GRANULE = "L1C_T30TXR_A026117_20200622T105647"
STAMP = "T30TXR_20200622T105631"
LANDSAT = "LC08_L1TP_204052_20190504_20190520_01_T1"


@dataclass(frozen=True)
class Sound:
    """A product as it should be."""

    top: str
    """The file or folder in the case's folder that all of it lies in."""
    give: str
    """What a user gives: a path from there."""


def make_products(folder: Path) -> dict[str, Sound]:
    """Make one of each kind, in a folder of its own below `folder`, and return them by name."""
    makers = {
        "stack": _stack, "jp2": _jp2, "vrt": _vrt, "sidecar": _sidecar, "bands": _bands,
        "yaml": _yaml, "l1c": _l1c, "l2a": _l2a, "old": _old, "stac": _stac, "stac11": _stac11,
        "items": _items, "landsat1": _landsat1, "landsat2": _landsat2, "mtl-json": _landsat_json,
        "mtl-xml": _landsat_xml,
    }  # fmt: skip
    made = dict[str, Sound]()
    for name, make in makers.items():
        place = folder / name
        place.mkdir(parents=True)
        made[name] = make(place)
    for name, packed in {"l1c": "zip", "l2a": "tar.gz", "landsat2": "tar"}.items():
        place = folder / f"{name}-{packed}"
        place.mkdir()
        made[place.name] = _pack(folder / name, made[name], place, packed)
    return made


def real_products(data: Path, folder: Path) -> dict[str, Sound]:
    """Copy metadata and small files of real products, and return them by name."""
    made = dict[str, Sound]()
    wanted = [
        *sorted((data / "safe_metadata").iterdir()),
        *sorted((data / "stac_items").glob("*.json")),
        *sorted((data / "gironde_s2_l1c_safe").glob("*.SAFE")),
        data / "bijagos_landsat8",
    ]
    for i, source in enumerate(wanted):
        place = folder / f"real{i}"
        place.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, place / source.name)
        else:
            shutil.copy(source, place)
        made[f"real{i}"] = Sound(source.name, source.name)
    return made


def write_raster(
    path: Path,
    *,
    names: tuple[str, ...] = (),
    res: int = 10,
    value: int = 0,
    tags: Mapping[str, str] | None = None,
    **profile: Any,
) -> Path:
    """Write a raster of half land and half water, uint16."""
    side = SIDE * 10 // res
    count = profile.pop("count", max(1, len(names)))
    dtype = profile.pop("dtype", "uint16")
    dn = np.full((count, side, side), value or 1600, dtype=dtype)
    if not value:
        # Water is dark in the near infrared, which is the last band of a stack.
        infrared = -1 if names else slice(int(re.search(r"B(?:08|5)\b|B08_", path.name) is None), 1)
        dn[infrared, :, : side // 2] = 1150
        dn[infrared, :, side // 2 :] = 4000
        dn[:, :3, :3] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "crs": CRS, "transform": Affine(res, 0, LEFT, 0, -res, TOP),
        "tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate",
    } | profile  # fmt: skip
    if profile["driver"] != "GTiff":
        for key in ("tiled", "blockxsize", "blockysize", "compress"):
            del profile[key]
    with rasterio.open(
        path, "w", count=count, height=side, width=side, dtype=dtype, **profile
    ) as dst:
        dst.write(dn)
        if names:
            dst.descriptions = names
        if tags:
            dst.update_tags(**tags)
    return path


def _stack(place: Path) -> Sound:
    path = write_raster(
        place / "S2A_20240517.tif", names=BANDS, nodata=0, tags={"sensor": "s2", "level": "L2A"}
    )
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = [0.0001] * 4, [-0.1] * 4
    return Sound(path.name, path.name)


def _jp2(place: Path) -> Sound:
    write_raster(place / f"{STAMP}_B03.jp2", driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    for beside in place.glob("*.aux.xml"):
        beside.unlink()
    return Sound(f"{STAMP}_B03.jp2", f"{STAMP}_B03.jp2")


def _vrt(place: Path) -> Sound:
    folder = place / "vrt"
    write_raster(folder / "B03.tif")
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{i}"><Description>{name}</Description>'
        '<SimpleSource><SourceFilename relativeToVRT="1">B03.tif</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for i, name in enumerate(BANDS, start=1)
    )
    (folder / f"{PRODUCT}.vrt").write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>{CRS}</SRS>'
        f"<GeoTransform>{LEFT}, 10, 0, {TOP}, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    return Sound("vrt", f"vrt/{PRODUCT}.vrt")


def _sidecar(place: Path) -> Sound:
    write_raster(place / "listed" / f"{PRODUCT}.tif", count=4)
    (place / "listed" / f"{PRODUCT}.txt").write_text("B02\nB03\nB04\nB08\n")
    return Sound("listed", f"listed/{PRODUCT}.tif")


def _bands(place: Path) -> Sound:
    for band in BANDS:
        write_raster(place / PRODUCT / f"T01KCV_20190809T220921_{band}_10m.tif")
    return Sound(PRODUCT, PRODUCT)


def _yaml(place: Path) -> Sound:
    folder = place / "manifest"
    for band in BANDS:
        write_raster(folder / f"{band}.tif")
    lines = [f"  {band}: {band}.tif\n" for band in BANDS]
    (folder / "scene.yaml").write_text(
        "sensor: s2\nlevel: L2A\nscale: 0.0001\noffset: -1000\nnodata: 0\nbands:\n" + "".join(lines)
    )
    return Sound("manifest", "manifest/scene.yaml")


# Sentinel-2

PHYSICAL = (*(f"B{i}" for i in range(1, 9)), "B8A", *(f"B{i}" for i in range(9, 13)))


def _l1c(place: Path) -> Sound:
    name = "S2A_MSIL1C_20200622T105631_N0500_R094_T30TXR_20231110T094313.SAFE"
    granule = place / name / "GRANULE" / GRANULE
    images = [f"GRANULE/{GRANULE}/IMG_DATA/{STAMP}_{band}" for band in BANDS]
    for band in BANDS:
        write_raster(granule / "IMG_DATA" / f"{STAMP}_{band}.jp2")  # a GeoTIFF, as some are
    _write_product(place / name / "MTD_MSIL1C.xml", "1C", name, images)
    _write_granule(granule / "MTD_TL.xml", "1C")
    (granule / "QI_DATA").mkdir()
    (granule / "QI_DATA" / "MSK_CLOUDS_B00.gml").write_text(_gml())
    return Sound(name, name)


def _l2a(place: Path) -> Sound:
    name = "S2A_MSIL2A_20200622T105631_N0500_R094_T30TXR_20231110T094313.SAFE"
    inner = GRANULE.replace("L1C", "L2A")
    granule = place / name / "GRANULE" / inner
    images = list[str]()
    for band, res in {**dict.fromkeys(BANDS, 10), "B11": 20, "SCL": 20}.items():
        image = f"IMG_DATA/R{res}m/{STAMP}_{band}_{res}m"
        images.append(f"GRANULE/{inner}/{image}")
        write_raster(granule / f"{image}.jp2", res=res, **({"value": 4} if band == "SCL" else {}))
    _write_product(place / name / "MTD_MSIL2A.xml", "2A", name, images)
    _write_granule(granule / "MTD_TL.xml", "2A")
    return Sound(name, name)


def _old(place: Path) -> Sound:
    """Return a granule as mirrors on the net have it: its metadata beside its bands."""
    name = "S2A_OPER_MSI_L2A_TL_VGS1_20220401T110010_A035382_T34LBQ"
    for band in BANDS:
        write_raster(place / name / "R10m" / f"{band}.tif")
    _write_granule(place / name / "metadata.xml", "2A")
    (place / name / "tileInfo.json").write_text(
        json.dumps(
            {
                "path": "tiles/34/L/BQ/2022/4/1/0", "timestamp": "2022-04-01T08:56:05.031Z",
                "utmZone": 30, "latitudeBand": "L", "gridSquare": "BQ",
                "datastrip": {"id": "S2A_OPER_MSI_L2A_DS_VGS1_20220401T110010_N04.00"},
                "productName": "S2A_MSIL2A_20220401T084601_N0400_R107_T34LBQ_20220401T110010",
                "tileOrigin": {"coordinates": [LEFT, TOP]},
            }
        )
    )  # fmt: skip
    return Sound(name, name)


def _write_product(path: Path, level: str, name: str, images: list[str]) -> None:
    key = "RADIO" if level == "1C" else "BOA"
    quantified = (
        '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
        if level == "1C"
        else "<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE "
        'unit="none">10000</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>'
    )
    lines = "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8" standalone="no"?>',
            f'<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD">',
            "<n1:General_Info>\n<Product_Info>",
            "<PRODUCT_START_TIME>2020-06-22T10:56:31.024Z</PRODUCT_START_TIME>",
            f"<PRODUCT_URI>{name}</PRODUCT_URI>",
            f"<PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>",
            f"<PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE>",
            "<PROCESSING_BASELINE>05.00</PROCESSING_BASELINE>",
            '<Datatake datatakeIdentifier="GS2A_20200622T105631_026117_N05.00">',
            "<SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>",
            "<DATATAKE_SENSING_START>2020-06-22T10:56:31.024Z</DATATAKE_SENSING_START>",
            "<SENSING_ORBIT_NUMBER>94</SENSING_ORBIT_NUMBER>\n</Datatake>",
            "<Product_Organisation><Granule_List>",
            '<Granule granuleIdentifier="S2A_OPER_MSI_TL_A026117_T30TXR_N05.00">',
            *(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images),
            "</Granule>\n</Granule_List></Product_Organisation>\n</Product_Info>",
            "<Product_Image_Characteristics>\n<Special_Values>",
            "<SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>",
            "<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>\n</Special_Values>",
            quantified,
            f"<{key}_ADD_OFFSET_VALUES_LIST>" if key == "BOA" else "<Radiometric_Offset_List>",
            *(f'<{key}_ADD_OFFSET band_id="{i}">-1000</{key}_ADD_OFFSET>' for i in range(13)),
            f"</{key}_ADD_OFFSET_VALUES_LIST>" if key == "BOA" else "</Radiometric_Offset_List>",
            "<Spectral_Information_List>",
            *(
                f'<Spectral_Information bandId="{i}" physicalBand="{band}"/>'
                for i, band in enumerate(PHYSICAL)
            ),
            "</Spectral_Information_List>\n</Product_Image_Characteristics>\n</n1:General_Info>",
            f"</n1:Level-{level}_User_Product>\n",
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lines)


def _write_granule(path: Path, level: str) -> None:
    sizes = "\n".join(
        f'<Size resolution="{res}"><NROWS>{SIDE * 10 // res}</NROWS>'
        f"<NCOLS>{SIDE * 10 // res}</NCOLS></Size>"
        for res in (10, 20, 60)
    )
    places = "\n".join(
        f'<Geoposition resolution="{res}"><ULX>{LEFT}</ULX><ULY>{TOP}</ULY>'
        f"<XDIM>{res}</XDIM><YDIM>-{res}</YDIM></Geoposition>"
        for res in (10, 20, 60)
    )
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<n1:Level-{level}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD">\n'
        "<n1:General_Info>\n"
        f"<TILE_ID>S2A_OPER_MSI_L{level}_TL_S2RP_20231110T094313_A026117_T30TXR_N05.00</TILE_ID>\n"
        "<SENSING_TIME>2020-06-22T11:08:38.840367Z</SENSING_TIME>\n</n1:General_Info>\n"
        "<n1:Geometric_Info>\n<Tile_Geocoding>\n"
        "<HORIZONTAL_CS_NAME>WGS84 / UTM zone 30N</HORIZONTAL_CS_NAME>\n"
        f"<HORIZONTAL_CS_CODE>{CRS}</HORIZONTAL_CS_CODE>\n{sizes}\n{places}\n"
        "</Tile_Geocoding>\n</n1:Geometric_Info>\n"
        f"</n1:Level-{level}_Tile_ID>\n"
    )


def _gml() -> str:
    right, low = LEFT + 160, TOP - 160
    ring = f"{LEFT} {TOP} {right} {TOP} {right} {low} {LEFT} {low} {LEFT} {TOP}"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" '
        'xmlns:gml="http://www.opengis.net/gml/3.2" gml:id="S2A_OPER_MSK_CLOUDS_B00">\n'
        "<gml:name>MSK_CLOUDS pixels mask</gml:name>\n<gml:boundedBy>\n"
        '<gml:Envelope srsName="urn:ogc:def:crs:EPSG:8.7:32630">\n'
        f"<gml:lowerCorner>{LEFT} {TOP - 160}</gml:lowerCorner>\n"
        f"<gml:upperCorner>{LEFT + 160} {TOP}</gml:upperCorner>\n"
        "</gml:Envelope>\n</gml:boundedBy>\n<eop:maskMembers>\n"
        '<eop:MaskFeature gml:id="OPAQUE.0">\n'
        '<eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">OPAQUE</eop:maskType>\n'
        '<eop:extentOf><gml:Polygon gml:id="OPAQUE.0_Polygon"><gml:exterior><gml:LinearRing>\n'
        f'<gml:posList srsDimension="2">{ring}</gml:posList>\n'
        "</gml:LinearRing></gml:exterior></gml:Polygon></eop:extentOf>\n"
        "</eop:MaskFeature>\n</eop:maskMembers>\n</eop:Mask>\n"
    )


# STAC

COMMON = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
WAVES = {"B02": 0.49, "B03": 0.56, "B04": 0.665, "B08": 0.842}


def item(name: str, *, version: str = "1.0.0") -> dict[str, Any]:
    """Return an item whose assets are `B02.tif` to `B08.tif` beside it."""
    assets = dict[str, Any]()
    for band in BANDS:
        asset: dict[str, Any] = {
            "href": f"./{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data", "reflectance"],
        }
        if version == "1.1.0":
            asset["bands"] = [
                {
                    "name": band, "eo:common_name": COMMON[band],
                    "eo:center_wavelength": WAVES[band], "raster:scale": 0.0001,
                    "raster:offset": -0.1,
                }
            ]  # fmt: skip
            asset["nodata"], asset["data_type"] = 0, "uint16"
        else:
            asset["eo:bands"] = [
                {"name": band, "common_name": COMMON[band], "center_wavelength": WAVES[band]}
            ]
            asset["raster:bands"] = [
                {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}
            ]
        assets[COMMON[band]] = asset
    corners = [[-1.7, 46.0], [-1.6, 46.0], [-1.6, 46.1], [-1.7, 46.1], [-1.7, 46.0]]
    return {
        "type": "Feature", "stac_version": version, "id": name,
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "bbox": [-1.7, 46.0, -1.6, 46.1],
        "properties": {
            "datetime": "2024-05-17T10:56:21Z", "platform": "sentinel-2a",
            "constellation": "sentinel-2", "instruments": ["msi"], "proj:epsg": 32630,
            "s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": False,
            "grid:code": "MGRS-30TXR", "sat:relative_orbit": 94, "eo:cloud_cover": 3.2,
        },
        "collection": "sentinel-2-l2a", "links": [], "assets": assets,
    }  # fmt: skip


def _stac(place: Path, version: str = "1.0.0") -> Sound:
    for band in BANDS:
        write_raster(place / "item" / f"{band}.tif", nodata=0)
    content = json.dumps(item("S2A_30TXR_20240517_0_L2A", version=version), indent=1)
    (place / "item" / "item.json").write_text(content)
    return Sound("item", "item/item.json")


def _stac11(place: Path) -> Sound:
    return _stac(place, "1.1.0")


def _items(place: Path) -> Sound:
    sound = _stac(place)
    features = [item("S2A_30TXR_20240517_0_L2A"), item("S2A_30TXR_20240519_0_L2A")]
    (place / sound.give).write_text(
        json.dumps({"type": "FeatureCollection", "features": features}, indent=1)
    )
    return Sound(sound.top, f"{sound.give}#S2A_30TXR_20240519_0_L2A")


# Landsat


def mtl_groups(collection: int) -> dict[str, dict[str, str]]:
    """Return what the MTL file of a Landsat 8 product says, by group."""
    bands = ("2", "3", "4", "5")
    names = {f"FILE_NAME_BAND_{band}": f"{LANDSAT}_B{band}.TIF" for band in bands}
    who = {
        "SPACECRAFT_ID": "LANDSAT_8", "SENSOR_ID": "OLI_TIRS", "WRS_PATH": "204",
        "WRS_ROW": "52", "DATE_ACQUIRED": "2019-05-04", "SCENE_CENTER_TIME": "11:21:32.0753130Z",
    }  # fmt: skip
    said = {"LANDSAT_PRODUCT_ID": LANDSAT, "COLLECTION_NUMBER": f"0{collection}"}
    factors = {f"REFLECTANCE_MULT_BAND_{band}": "2.0000E-05" for band in bands}
    factors |= {f"REFLECTANCE_ADD_BAND_{band}": "-0.100000" for band in bands}
    smallest = {f"QUANTIZE_CAL_MIN_BAND_{band}": "1" for band in bands}
    sun = {"SUN_AZIMUTH": "76.77387471", "SUN_ELEVATION": "65.75816831"}
    if collection == 1:
        return {
            "METADATA_FILE_INFO": said,
            "PRODUCT_METADATA": {"DATA_TYPE": "L1TP", **who, **names},
            "IMAGE_ATTRIBUTES": sun,
            "MIN_MAX_PIXEL_VALUE": smallest,
            "RADIOMETRIC_RESCALING": factors,
        }
    return {
        "PRODUCT_CONTENTS": {**said, "PROCESSING_LEVEL": "L1TP", **names},
        "IMAGE_ATTRIBUTES": {**who, **sun},
        "LEVEL1_MIN_MAX_PIXEL_VALUE": smallest,
        "LEVEL1_RADIOMETRIC_RESCALING": factors,
    }


def _landsat_bands(folder: Path) -> None:
    for band in ("2", "3", "4", "5"):
        write_raster(folder / f"{LANDSAT}_B{band}.TIF", dtype="uint16")


def _landsat1(place: Path, collection: int = 1) -> Sound:
    root = "L1_METADATA_FILE" if collection == 1 else "LANDSAT_METADATA_FILE"
    lines = [f"GROUP = {root}"]
    for name, group in mtl_groups(collection).items():
        lines += [f"  GROUP = {name}", *(f'    {key} = "{v}"' for key, v in group.items())]
        lines += [f"  END_GROUP = {name}"]
    _landsat_bands(place / LANDSAT)
    text = "\n".join([*lines, f"END_GROUP = {root}", "END", ""])
    (place / LANDSAT / f"{LANDSAT}_MTL.txt").write_text(text)
    return Sound(LANDSAT, LANDSAT)


def _landsat2(place: Path) -> Sound:
    return _landsat1(place, 2)


def _landsat_json(place: Path) -> Sound:
    _landsat_bands(place / LANDSAT)
    content = json.dumps({"LANDSAT_METADATA_FILE": mtl_groups(2)}, indent=1)
    (place / LANDSAT / f"{LANDSAT}_MTL.json").write_text(content)
    return Sound(LANDSAT, f"{LANDSAT}/{LANDSAT}_MTL.json")


def _landsat_xml(place: Path) -> Sound:
    _landsat_bands(place / LANDSAT)
    groups = "\n".join(
        f"<{name}>\n" + "".join(f"<{k}>{v}</{k}>\n" for k, v in group.items()) + f"</{name}>"
        for name, group in mtl_groups(2).items()
    )
    (place / LANDSAT / f"{LANDSAT}_MTL.xml").write_text(
        f"<LANDSAT_METADATA_FILE>\n{groups}\n</LANDSAT_METADATA_FILE>\n"
    )
    return Sound(LANDSAT, LANDSAT)


# Archives


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder, by their path from it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _pack(source: Path, sound: Sound, place: Path, kind: str) -> Sound:
    name = f"{sound.top}.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(place / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for inner, path in files_below(source):
                archive.write(path, inner)
    else:
        with tarfile.open(place / name, "w:gz" if kind == "tar.gz" else "w") as tape:
            for inner, path in files_below(source / sound.top):
                tape.add(path, inner)  # as USGS and others do, without a folder
    return Sound(name, name)
