import json
import math
from datetime import UTC, date, datetime
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geounet.bands import parse_band
from geounet.errors import SceneError
from geounet.scene.landsat import LARGEST, is_mtl, parse_mtl

SUN = 30.0  # its sine is a half

COLLECTION_1 = {
    "METADATA_FILE_INFO": {"LANDSAT_PRODUCT_ID": "LE07_L1TP_204052_20010504_20170201_01_T1"},
    "PRODUCT_METADATA": {
        "DATA_TYPE": "L1TP",
        "SPACECRAFT_ID": "LANDSAT_7",
        "SENSOR_ID": "ETM",
        "WRS_PATH": "204",
        "WRS_ROW": "052",
        "DATE_ACQUIRED": "2001-05-04",
        "SCENE_CENTER_TIME": "11:21:32.0753139Z",
    },
    "IMAGE_ATTRIBUTES": {"SUN_ELEVATION": "30.00000000"},
    "MIN_MAX_PIXEL_VALUE": {"QUANTIZE_CAL_MIN_BAND_1": "1", "QUANTIZE_CAL_MIN_BAND_4": "1"},
    "RADIOMETRIC_RESCALING": {
        "RADIANCE_MULT_BAND_4": "9.6929E-01",
        "RADIANCE_ADD_BAND_4": "-6.06929",
        "RADIANCE_MULT_BAND_6_VCID_1": "6.7087E-02",
        "RADIANCE_ADD_BAND_6_VCID_1": "-0.06709",
        "REFLECTANCE_MULT_BAND_4": "2.7591E-03",
        "REFLECTANCE_ADD_BAND_4": "-0.017277",
    },
}
COLLECTION_2 = {
    "PRODUCT_CONTENTS": {
        "LANDSAT_PRODUCT_ID": "LC09_L2SP_029030_20240616_20240617_02_T1",
        "PROCESSING_LEVEL": "L2SP",
        "COLLECTION_NUMBER": "02",
    },
    "IMAGE_ATTRIBUTES": {
        "SPACECRAFT_ID": "LANDSAT_9",
        "SENSOR_ID": "OLI_TIRS",
        "WRS_PATH": "29",
        "WRS_ROW": "30",
        "DATE_ACQUIRED": "2024-06-16",
        "SCENE_CENTER_TIME": "17:10:58.5278200Z",
        "SUN_ELEVATION": "30",
    },
    "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
        "QUANTIZE_CAL_MIN_BAND_5": "1",
        "REFLECTANCE_MULT_BAND_5": "2.75e-05",
        "REFLECTANCE_ADD_BAND_5": "-0.2",
    },
    "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS": {
        "TEMPERATURE_MULT_BAND_ST_B10": "0.00341802",
        "TEMPERATURE_ADD_BAND_ST_B10": "149.0",
    },
    # The same keys once more, for the level 1 product that this one was made of.
    "LEVEL1_PROCESSING_RECORD": {"PROCESSING_LEVEL": "L1TP"},
    "LEVEL1_MIN_MAX_PIXEL_VALUE": {"QUANTIZE_CAL_MIN_BAND_5": "1"},
    "LEVEL1_RADIOMETRIC_RESCALING": {
        "RADIANCE_MULT_BAND_10": "3.8000E-04",
        "RADIANCE_ADD_BAND_10": "0.10000",
        "REFLECTANCE_MULT_BAND_5": "2.0000E-05",
        "REFLECTANCE_ADD_BAND_5": "-0.100000",
    },
}


def as_text(groups, root="LANDSAT_METADATA_FILE"):
    lines = [f"GROUP = {root}"]
    for name, group in groups.items():
        lines += [f"  GROUP = {name}", *(f'    {k} = "{v}"' for k, v in group.items())]
        lines += [f"  END_GROUP = {name}"]
    return "\n".join([*lines, f"END_GROUP = {root}", "END", ""])


def as_json(groups, root="LANDSAT_METADATA_FILE"):
    return json.dumps({root: groups})


def as_xml(groups, root="LANDSAT_METADATA_FILE"):
    inner = "".join(
        f"<{name}>{''.join(f'<{k}>{escape(v)}</{k}>' for k, v in group.items())}</{name}>"
        for name, group in groups.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inner}</{root}>'


def changed(groups, group, **values):
    """Return groups with other values; None takes a key away."""
    fresh = {**groups[group], **values}
    return {**groups, group: {k: v for k, v in fresh.items() if v is not None}}


def reflectance(scaling, dn):
    return (dn + scaling.offset) * scaling.scale


@pytest.mark.parametrize("write", [as_text, as_json, as_xml])
def test_collection_2_says_the_same_in_every_format(write):
    mtl = parse_mtl(write(COLLECTION_2))
    assert (mtl.sensor, mtl.level, mtl.tile) == ("l9", "L2", "029030")
    assert mtl.time == datetime(2024, 6, 16, 17, 10, 58, 527820, tzinfo=UTC)
    assert mtl.product == "LC09_L2SP_029030_20240616_20240617_02_T1"
    assert mtl.surface == {"5": (2.75e-5, -0.2)}
    assert mtl.top == {"5": (2e-5, -0.1)}
    assert mtl.temperature == {"ST_B10": (0.00341802, 149.0)}
    assert mtl.fill == 0
    assert mtl.complaint is None


@pytest.mark.parametrize("as_bytes", [False, True])
def test_collection_1_is_understood(as_bytes):
    text = as_text(COLLECTION_1, "L1_METADATA_FILE")
    # Windows' ends of lines and the padding of old files do not matter.
    mtl = parse_mtl(text.replace("\n", "\r\n").encode() + b"\0" * 100 if as_bytes else text)
    assert (mtl.sensor, mtl.level, mtl.tile) == ("l7", "L1", "204052")
    assert mtl.time == datetime(2001, 5, 4, 11, 21, 32, 75313, tzinfo=UTC)
    assert mtl.date == date(2001, 5, 4)
    assert mtl.surface == {}


def test_reflectance_at_the_top_of_the_atmosphere_is_over_the_sine_of_the_suns_elevation():
    mtl = parse_mtl(as_text(COLLECTION_1, "L1_METADATA_FILE"), "LE07_MTL.txt")
    scaling = mtl.scaling(parse_band("B4", "l7"), "LE07_L1TP_204052_20010504_20170201_01_T1_B4")
    for dn in (1, 100, 255):
        expected = (2.7591e-3 * dn - 0.017277) / 0.5
        assert reflectance(scaling, dn) == pytest.approx(expected, abs=1e-12)
    assert scaling.source == (
        "REFLECTANCE_MULT, _ADD over the sine of SUN_ELEVATION 30° in LE07_MTL.txt"
    )


@pytest.mark.parametrize(
    ("stem", "scale", "offset"),
    [
        ("LC09_L2SP_029030_20240616_20240617_02_T1_SR_B5", 2.75e-5, -0.2),
        ("SR_B5", 2.75e-5, -0.2),
        ("B5", 2.75e-5, -0.2),  # the product is of level 2
        ("LC09_L1TP_029030_20240616_20240616_02_T1_B5", 4e-5, -0.2),
    ],
)
def test_a_key_counts_in_its_own_group_only(stem, scale, offset):
    scaling = parse_mtl(as_text(COLLECTION_2)).scaling(parse_band("B5", "l9"), stem)
    dn = np.array([1, 7272, 65_535])
    np.testing.assert_allclose(reflectance(scaling, dn), dn * scale + offset, atol=1e-9)


def test_thermal_bands_keep_their_own_quantity():
    band = parse_band("B10", "l9")
    mtl = parse_mtl(as_text(COLLECTION_2))
    kelvin = mtl.scaling(band, "LC09_L2SP_029030_20240616_20240617_02_T1_ST_B10")
    assert reflectance(kelvin, 44_000) == pytest.approx(0.00341802 * 44_000 + 149)
    radiance = mtl.scaling(band, "LC09_L1TP_029030_20240616_20240616_02_T1_B10")
    assert reflectance(radiance, 25_000) == pytest.approx(3.8e-4 * 25_000 + 0.1)
    gains = parse_mtl(as_text(COLLECTION_1)).scaling(parse_band("B6_VCID_1", "l7"), "X_B6_VCID_1")
    assert reflectance(gains, 130) == pytest.approx(6.7087e-2 * 130 - 0.06709)
    assert "RADIANCE" in gains.source


def test_offsets_that_are_whole_numbers_stay_whole():
    stem = "LC09_L1TP_029030_20240616_20240616_02_T1_B5"
    mtl = parse_mtl(as_text(changed(COLLECTION_2, "IMAGE_ATTRIBUTES", SUN_ELEVATION="65.7581683")))
    scaling = mtl.scaling(parse_band("B5", "l9"), stem)
    assert scaling.offset == -5000
    assert scaling.scale == pytest.approx(2e-5 / math.sin(math.radians(65.7581683)), rel=1e-12)


@pytest.mark.parametrize("elevation", ["-3.5", "0", None, "low"])
def test_without_a_sun_there_is_no_reflectance(elevation):
    groups = changed(COLLECTION_1, "IMAGE_ATTRIBUTES", SUN_ELEVATION=elevation)
    mtl = parse_mtl(as_text(groups))
    assert mtl.scaling(parse_band("B4", "l7"), "B4").scale is None
    assert mtl.scaling(parse_band("B6_VCID_1", "l7"), "B6_VCID_1").scale == 6.7087e-2
    assert "SUN_ELEVATION" in mtl.complaint


@pytest.mark.parametrize("value", ["NULL", "nan", "", None])
def test_a_band_without_numbers_has_no_scaling(value):
    groups = changed(COLLECTION_1, "RADIOMETRIC_RESCALING", REFLECTANCE_ADD_BAND_4=value)
    mtl = parse_mtl(as_text(groups))
    assert mtl.scaling(parse_band("B4", "l7"), "B4").scale is None
    assert "no factors of reflectance" in mtl.complaint


@pytest.mark.parametrize("factor", ["0", "1e-320"])
def test_an_impossible_factor_is_refused(factor):
    groups = changed(COLLECTION_1, "RADIOMETRIC_RESCALING", REFLECTANCE_MULT_BAND_4=factor)
    with pytest.raises(SceneError, match=r"impossible scale .*Give --scale"):
        parse_mtl(as_text(groups)).scaling(parse_band("B4", "l7"), "B4")


@pytest.mark.parametrize(
    ("craft", "instrument", "sensor"),
    [
        ("LANDSAT_4", "TM", "l5"),
        ("LANDSAT_5", "TM", "l5"),
        ("Landsat7", "ETM+", "l7"),
        ("LANDSAT_8", "OLI_TIRS", "l8"),
        ("LANDSAT_8", "OLI", "l8"),
        ("LANDSAT_5", "MSS", None),
        ("LANDSAT_1", "MSS", None),
        ("SENTINEL_2", "MSI", None),
        (None, None, None),
    ],
)
def test_the_instrument_counts_besides_the_spacecraft(craft, instrument, sensor):
    groups = changed(COLLECTION_1, "PRODUCT_METADATA", SPACECRAFT_ID=craft, SENSOR_ID=instrument)
    if sensor:
        assert parse_mtl(as_text(groups)).sensor == sensor
    else:
        with pytest.raises(SceneError, match="Supported are TM of Landsat 4 and 5"):
            parse_mtl(as_text(groups))


@pytest.mark.parametrize(
    ("key", "value", "fact"),
    [
        ("DATE_ACQUIRED", "yesterday", "date"),
        ("DATE_ACQUIRED", None, "time"),
        ("SCENE_CENTER_TIME", "25:00:00Z", "time"),
        ("SCENE_CENTER_TIME", "noon", "time"),
        ("WRS_ROW", "999", "tile"),
        ("WRS_PATH", "one", "tile"),
    ],
)
def test_facts_that_are_none_are_not_known(key, value, fact):
    groups = changed(COLLECTION_1, "PRODUCT_METADATA", **{key: value})
    assert getattr(parse_mtl(as_text(groups)), fact) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no Landsat MTL file"),
        ("a letter", "no Landsat MTL file"),
        (as_text(COLLECTION_1)[:700], "ends within its group"),
        (as_json(COLLECTION_2)[:400], "is not valid JSON"),
        (as_xml(COLLECTION_2)[:400], "is not valid XML"),
        ("[" * 100_000, "no Landsat MTL file"),
        ('{"a":' * 100_000, "is not valid JSON"),
        ('{"LANDSAT_METADATA_FILE": [1]}', "no Landsat MTL file"),
        ('{"LANDSAT_METADATA_FILE": {"IMAGE_ATTRIBUTES": 3}}', "no Landsat MTL file"),
        ("<html><body>Log in</body></html>", "no Landsat MTL file"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><LANDSAT_METADATA_FILE/>', "is not valid XML"),
        (as_text(changed(COLLECTION_1, "PRODUCT_METADATA", DATA_TYPE="L0RP")), "of level L0RP"),
        (as_text(changed(COLLECTION_1, "PRODUCT_METADATA", DATA_TYPE=None)), "nothing it says"),
        ("x" * (LARGEST + 1), "is no MTL file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, message):
    with pytest.raises(SceneError, match=message) as caught:
        parse_mtl(text, "LC08_MTL.txt")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("LC08_MTL.txt ")


@settings(max_examples=60)
@given(st.data(), st.sampled_from([as_text, as_json, as_xml]))
def test_whatever_is_in_it_one_error_tells(data, write):
    content = bytearray(write(COLLECTION_2).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            del content[at : at + data.draw(st.integers(1, 300))]
        if not content:
            break
    try:
        mtl = parse_mtl(bytes(content))
        mtl.scaling(parse_band("B5", "l9"), "SR_B5")
    except SceneError as error:
        assert "\n" not in str(error)  # noqa: PT017  either is right


@pytest.mark.parametrize("name", ["LC08_X_MTL.txt", "LC08_X_MTL.json", "lc08_x_mtl.xml"])
def test_mtl_files_are_known_by_name(name):
    assert is_mtl(name)


@pytest.mark.parametrize("name", ["LC08_X_ANG.txt", "MTL.tif", "LC08_MTL.txt.aux.xml"])
def test_other_files_are_no_mtl_files(name):
    assert not is_mtl(name)
