import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.bands import (
    QUALITY_NAMES,
    SENSORS,
    Band,
    find_band,
    is_quality,
    match_bands,
    parse_band,
    parse_level,
    parse_sensor,
)
from geounet.errors import BandError

ALL_BANDS = [band for bands in SENSORS.values() for band in bands]
S2 = SENSORS["s2"]
sensors = st.sampled_from(sorted(SENSORS))


def test_sentinel2_has_its_thirteen_bands():
    names = "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12"
    assert [band.name for band in S2] == names.split()


def test_wavelengths_lie_where_their_common_names_say():
    # Ranges of STAC's eo extension, in nanometres.
    ranges = {
        "coastal": (400, 450),
        "blue": (450, 530),
        "green": (510, 600),
        "red": (620, 690),
        "rededge071": (690, 730),
        "rededge075": (730, 750),
        "rededge078": (750, 790),
        "pan": (400, 1000),
        "nir": (760, 1000),
        "nir08": (800, 900),
        "nir09": (850, 1050),
        "cirrus": (1350, 1400),
        "swir16": (1550, 1750),
        "swir22": (2080, 2350),
        "lwir": (10400, 12500),
        "lwir11": (10500, 11500),
        "lwir12": (11500, 12500),
    }
    for band in ALL_BANDS:
        low, high = ranges[band.common_name]
        assert low <= band.wavelength_nm <= high, band.id


@given(st.sampled_from(ALL_BANDS))
def test_every_way_to_write_a_band_means_the_same(band):
    number = band.name.removeprefix("B")
    spellings = {band.name, band.name.lower(), f"B0{number.lstrip('0')}", f"B{number.lstrip('0')}"}
    for text in spellings:
        assert parse_band(text, band.sensor) == band
        assert parse_band(f"{band.sensor}:{text}", None) == band
        assert SENSORS[band.sensor][find_band(text, SENSORS[band.sensor])] == band
    assert SENSORS[band.sensor][find_band(band.id, SENSORS[band.sensor])] == band


@pytest.mark.parametrize(
    ("sensor", "common_name"),
    [("s2", "rededge071"), ("l5", "swir16"), ("l7", "swir16"), ("l8", "nir"), ("l9", "nir")],
)
def test_b5_is_another_band_on_every_sensor(sensor, common_name):
    assert parse_band("B5", sensor).common_name == common_name


def test_a_bare_number_without_a_sensor_asks_for_it():
    with pytest.raises(BandError, match=r"B5 .*--sensor s2\|l5\|l7\|l8\|l9"):
        parse_band("B5", None)
    with pytest.raises(BandError, match="--sensor"):
        parse_band("nir", None)


def test_only_sentinel2_has_a_b8a():
    assert parse_band("b8a", None) == parse_band("B8A", "s2") != parse_band("B8", "s2")
    with pytest.raises(BandError, match="l8 has no band B8A; it has B1, B2"):
        parse_band("B8A", "l8")


@pytest.mark.parametrize(
    ("text", "sensor", "name"),
    [
        ("nir", "s2", "B08"),
        ("nir08", "s2", "B8A"),
        ("nir08", "l8", "B5"),  # the USGS's name
        ("swir16", "l5", "B5"),
        ("SWIR2", "l9", "B7"),
        ("rededge1", "s2", "B05"),
        ("lwir11", "l8", "B10"),
    ],
)
def test_common_names_mean_bands_of_a_sensor(text, sensor, name):
    assert parse_band(text, sensor).name == name


def test_other_names_are_extra_layers_of_no_sensor():
    assert parse_band("VV", "s2") == Band("VV", None, None, None)
    assert parse_band("VV", None).id == "VV"


@pytest.mark.parametrize("name", sorted(QUALITY_NAMES))
def test_a_quality_layer_is_never_a_band(name):
    for text in (name, name.lower(), f"T01KCV_20190809T220921_{name}_60m", f"LC08_X_{name}"):
        assert is_quality(text)
    with pytest.raises(BandError, match="quality"):
        parse_band(name, "s2")


def test_masks_are_quality_whatever_band_they_are_of():
    assert is_quality("MSK_DETFOO_B02")
    assert is_quality("MSK_CLDPRB_20m")


@given(st.sampled_from(ALL_BANDS))
def test_no_band_is_a_quality_layer(band):
    assert not is_quality(band.name)
    assert not is_quality(f"T01KCV_20190809T220921_{band.name}_60m")


def test_a_missing_band_is_named_with_what_there_is():
    with pytest.raises(BandError, match=r"no band B10; there are s2:B02 \(blue\), s2:B03"):
        find_band("B10", S2[1:3])
    with pytest.raises(BandError, match="s2 has no band B13; it has B01, B02"):
        parse_band("B13", "s2")


def test_a_name_that_two_bands_have_is_refused():
    with pytest.raises(BandError, match="l7:B6_VCID_1, l7:B6_VCID_2"):
        find_band("lwir", SENSORS["l7"][6:8])


@given(st.permutations(S2), st.data())
def test_bands_match_by_name_in_any_order(present, data):
    wanted = data.draw(st.permutations(S2))[: data.draw(st.integers(1, 13))]
    found = match_bands(wanted, present, where="scene", accept_sensor=False)
    assert [present[i] for i in found] == wanted


def test_near_infrareds_are_not_exchanged():
    with pytest.raises(BandError, match=r"scene\.tif has no band s2:B8A; it has s2:B08"):
        match_bands([S2[8]], [S2[7]], where="scene.tif", accept_sensor=True)


def test_another_sensor_stands_in_only_where_accepted_and_aloud(caplog):
    wanted = [parse_band(name, "s2") for name in ("green", "nir", "swir16")]
    present = SENSORS["l5"]
    with pytest.raises(BandError, match=r"l5:B2 for s2:B03 \(green\).*--accept-sensor"):
        match_bands(wanted, present, where="scene", accept_sensor=False)
    with caplog.at_level(logging.WARNING):
        found = match_bands(wanted, present, where="scene", accept_sensor=True)
    assert [present[i].name for i in found] == ["B2", "B4", "B5"]
    assert "l5:B5 for s2:B11 (swir16)" in caplog.text


def test_another_sensor_that_lacks_bands_is_named_with_what_it_could_stand_in_for():
    wanted = [parse_band(name, "s2") for name in ("green", "B05")]
    expected = (
        r"scene is of another sensor \(l8\) and has no s2:B05 .*; it has .*"
        r"By common name --accept-sensor would take l8:B3 for s2:B03 \(green\)\."
    )
    with pytest.raises(BandError, match=expected):
        match_bands(wanted, SENSORS["l8"], where="scene", accept_sensor=False)


def test_extra_layers_match_by_their_name_only():
    layer, other = parse_band("VV", None), parse_band("VH", None)
    assert match_bands([layer], [other, layer], where="x", accept_sensor=True) == [1]
    with pytest.raises(BandError, match="no band VV"):
        match_bands([layer], [other], where="x", accept_sensor=True)


@given(st.sampled_from([*ALL_BANDS, Band("VV", None, None, None)]))
def test_a_band_survives_json(band):
    assert Band.from_dict(band.to_dict()) == band


def test_sensors_and_levels_are_checked():
    assert parse_sensor(" S2 ") == "s2"
    with pytest.raises(BandError, match="there are s2, l5, l7, l8, l9"):
        parse_sensor("s3")
    assert parse_level("2a", "s2") == "L2A"
    assert parse_level("L1TP", "l8") == "L1"
    with pytest.raises(BandError, match="there are L1C, L2A"):
        parse_level("L2", "s2")


@pytest.mark.parametrize(
    "text", ["SCL, Scene Classification", "AOT, Aerosol Optical Thickness map", "QA60 bitmask"]
)
def test_a_quality_layer_is_known_by_the_first_word_of_its_description(text) -> None:
    assert is_quality(text)
    assert not is_quality("B04, central wavelength 665 nm")
