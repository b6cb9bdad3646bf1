from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from geounet.scene import names

FIJI = Path(
    "S2A_MSIL2A_20190809T220921_N0213_R129_T01KCV_20190809T235948.SAFE/GRANULE/"
    "L2A_T01KCV_A021576_20190809T220922/IMG_DATA/R60m/T01KCV_20190809T220921_B03_60m.jp2"
)


@pytest.mark.parametrize(
    ("stem", "band"),
    [
        ("T01KCV_20190809T220921_B03_60m", "B03"),
        ("T30TXR_20200622T105631_B8A", "B8A"),
        ("2018-10-13, Sentinel-2B L1C, B03", "B03"),
        ("2020-01-01-00:00_2020-01-01-23:59_Sentinel-2_L2A_B08_(Raw)", "B08"),
        ("B11", "B11"),
        ("b02", "b02"),
        ("LC08_L1TP_204052_20190504_20190520_01_T1_DS_B10", "B10"),
        ("LC09_L2SP_204052_20220504_20220506_02_T1_SR_B5", "B5"),
        ("LE07_L1TP_204052_20010504_20170205_01_T1_B6_VCID_2", "B6_VCID_2"),
        ("LT05_L1TP_204052_19900504_20170205_01_T1_sr_band4", "B4"),
        ("HLS.S30.T18TYN.2019214T154911.v1.5.B8A", "B8A"),
        ("T01KCV_20190809T220921_SCL_60m", None),
        ("LC08_L1TP_204052_20190504_20190520_01_T1_DS_BQA", None),
        ("MSK_DETFOO_B02", None),
        ("ratio_B03_B08", None),
        ("B100", None),
        ("AB03", None),
        ("notes", None),
    ],
)
def test_file_names_say_which_band_they_hold(stem, band):
    assert names.band_in_name(stem) == band


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("B04", "B04"),
        ("SR_B4", "B4"),
        ("B4, central wavelength 665 nm", "B4"),
        ("l8:B5", "l8:B5"),
        ("red", "red"),
        ("VV", "VV"),
        ("QA60", "QA60"),
        ("", None),
        ("Band 1", None),
        ("band_12", None),
        ("Gray", None),
        ("3", None),
    ],
)
def test_descriptions_say_which_band_it_is_or_nothing(text, band):
    assert names.band_in_description(text) == band


@pytest.mark.parametrize(
    ("name", "sensor", "level"),
    [
        ("S2A_MSIL2A_20190809T220921_N0213_R129_T01KCV_20190809T235948.SAFE", "s2", "L2A"),
        ("S2D_MSIL1C_20250101T105441_N0511_R051_T31TDH_20250101T124911.SAFE", "s2", "L1C"),
        ("L1C_T30TXR_A026117_20200622T105647", "s2", "L1C"),
        ("T01KCV_20190809T220921_B03_60m.jp2", "s2", None),
        ("S2A_29RKH_20200219_0_L2A", "s2", "L2A"),
        ("S2A_OPER_MSI_L1C_TL_SGS__20181231T203637_A018414_T10SDG", "s2", "L1C"),
        ("LC08_L1TP_204052_20190504_20190520_01_T1_B3.TIF", "l8", "L1"),
        ("LC09_L2SP_204052_20220504_20220506_02_T1_SR_B5.TIF", "l9", "L2"),
        ("LC08_L1TP_204052_20190504_20190520_01_T1_sr_band3.tif", "l8", "L2"),
        ("LC08_L1TP_204052_20190504_20190520_01_T1_bt_band10.tif", "l8", "L1"),
        ("LE07_L1GT_204052_20010504_20170205_01_T1_B1.TIF", "l7", "L1"),
        ("LT05_B1.TIF", "l5", None),
        ("LC82040522019124LGN00_B3.TIF", "l8", None),
        ("LM05_L1TP_029030_19840415_20200903_02_T2_B4.TIF", None, None),  # MSS: other bands
        ("LT04_L1TP_204052_19900504_20170205_01_T1_B1.TIF", "l5", "L1"),
        ("coast.tif", None, None),
        ("ALC08_x.tif", None, None),
    ],
)
def test_product_names_say_sensor_and_level(name, sensor, level):
    parts = [names.NamePart(name, "name", own=False)]
    assert (found := names.find_sensor({}, parts)) is None or found.value == sensor
    assert (found is None) == (sensor is None)
    assert (found := names.find_level({}, parts)) is None or found.value == level
    assert (found is None) == (level is None)


def test_words_count_in_a_scenes_own_name_only():
    text = "2018-10-13, Sentinel-2B L1C, B03.tiff"
    own = [names.NamePart(text, "file name", own=True)]
    assert names.find_sensor({}, own).value == "s2"
    assert names.find_level({}, own).value == "L1C"
    assert names.find_time({}, own)[0] == date(2018, 10, 13)
    above = [names.NamePart(text, "folder name", own=False)]
    assert names.find_sensor({}, above) is None
    assert names.find_time({}, above) is None
    run = names.NamePart("run_20240101T120000", "folder name", own=False)
    assert names.find_time({}, [run]) is None


def test_tags_count_before_names():
    parts = [names.NamePart("S2A_MSIL1C_20190809T220921_x", "name", own=True)]
    tags = {"sensor": "l8", "level": "L2", "ACQUISITIONDATETIME": "2021-02-03 04:05:06"}
    assert names.find_sensor(tags, parts).value == "l8"
    assert names.find_level(tags, parts).value == "L2"
    moment, source = names.find_time(tags, parts)
    assert moment == datetime(2021, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert source == "tag ACQUISITIONDATETIME"
    assert names.find_sensor({"SATELLITEID": "LANDSAT_8"}, []).value == "l8"
    assert names.find_sensor({"sensor": "MSI camera"}, []) is None


def test_the_granules_time_is_taken_before_the_datatakes():
    parts = names.name_parts(FIJI, in_folder=True)
    assert names.find_time({}, parts)[0] == datetime(2019, 8, 9, 22, 9, 22, tzinfo=UTC)
    assert names.find_sensor({}, parts).value == "s2"
    assert names.find_level({}, parts).value == "L2A"
    assert names.find_baseline(parts) == (2, 13)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("20231217.tif", date(2023, 12, 17)),
        ("LC08_L1TP_204052_20190504_20190520_01_T1_B3.TIF", date(2019, 5, 4)),
        ("coast_12345678.tif", None),
        ("coast_20231345.tif", None),
        ("T01KCV_20190809T220921_B03.jp2", datetime(2019, 8, 9, 22, 9, 21, tzinfo=UTC)),
    ],
)
def test_times_are_found_in_names_as_far_as_they_go(name, moment):
    found = names.find_time({}, [names.NamePart(name, "file name", own=True)])
    assert (found and found[0]) == moment


def test_gdals_beginning_of_time_is_no_time():
    # GDAL writes this when it cannot make sense of an MTL file.
    assert names.find_time({"ACQUISITIONDATETIME": "1970-01-01 00:00:00"}, []) is None
    assert names.find_time({"ACQUISITIONDATETIME": "yesterday"}, []) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2018-10-13, Sentinel-2B L1C", "2018-10-13_Sentinel-2B_L1C"),
        ("a.b", "a.b"),
        ("île/../x", "île_.._x"),
        ("...", "scene"),
        (".hidden", "hidden"),
    ],
)
def test_names_can_begin_file_names(text, name):
    assert names.safe_name(text) == name
