import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geounet.scene.sidecar import LARGEST, find_band_lists, parse_envi, parse_list

THREE = ("B02", "B03", "B8A")


@pytest.mark.parametrize(
    "text",
    [
        "B02\nB03\nB8A\n",
        "B02,B03,B8A",
        "B02; B03; B8A\n",
        "B02\tB03\tB8A",
        "# made by hand\n\nB02\r\nB03\r\nB8A\r\n",
        "1: B02\n2: B03\n3: B8A",
        "Band 1 = B02\nBand 2 = B03\nBand 3 = B8A",
        "3) B8A\n1) B02\n2) B03",
        "band,name\n1,B02\n2,B03\n3,B8A",
        "name,wavelength\nB02,490\nB03,560\nB8A,865",
        "index;band\n3;B8A\n1;B02\n2;B03",
        "B02,10,490\nB03,10,560\nB8A,20,865",
        '"B02","blue"\n"B03","green"\n"B8A","narrow nir"',
        "name\nB02\nB03\nB8A",
    ],
)
def test_lists_are_read_as_people_write_them(text):
    assert parse_list(text) == THREE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("VV\nVH\nDEM", ("VV", "VH", "DEM")),
        ("red\ngreen\n-\n", ("red", "green", "-")),
        ("B2 (blue)\nB3 (green)", ("B2 (blue)", "B3 (green)")),
        ("s2:B02\ns2:B03", ("s2:B02", "s2:B03")),
        ("SCL\nB04\nQA60", ("SCL", "B04", "QA60")),
    ],
)
def test_other_names_are_names_too(text, expected):
    assert parse_list(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "This image was made for a course.\nDo not sell it.",
        "B02 and other bands\nof a beautiful coast",
        "x" * 100,
        "a,b\nc,d\ne,f",  # two columns, and neither is of bands
        "1,2,3\n4,5",
        "1: B02\n3: B03",
        '"B02\nB03',
    ],
)
def test_other_texts_are_no_lists(text):
    assert parse_list(text) == () or all(len(name) <= 10 for name in parse_list(text))
    assert len(parse_list(text)) != 2


def test_envi_headers_name_bands():
    header = "ENVI\nbands = 3\nband names = {\n B02 (blue), B03 (green),\n B8A}\nsamples = 4"
    assert parse_envi(header) == ("B02 (blue)", "B03 (green)", "B8A")
    assert parse_envi(header.replace("ENVI", "SOMETHING")) == ()
    assert parse_envi("ENVI\nbands = 3") == ()
    assert parse_envi("ENVI\nband names = { B02, B03") == ()


def test_the_most_explicit_list_comes_first(tmp_path):
    raster = tmp_path / "coast.tif"
    raster.touch()
    for name, text in {
        "coast.hdr": "ENVI\nband names = {B02}",
        "coast.csv": "B03",
        "coast.txt": "B04",
        "coast.tif.bands.txt": "B05",
        "coast.bands.txt": "B06",
        "coast.tif.hdr": "ENVI\nband names = {B07}",
        "other.txt": "B08",
    }.items():
        (tmp_path / name).write_text(text)
    found = list(find_band_lists(raster))
    assert [lines.source for lines in found] == [
        *("coast.bands.txt", "coast.tif.bands.txt", "coast.txt", "coast.csv", "coast.hdr"),
        "coast.tif.hdr",
    ]
    assert [lines.names for lines in found] == [(f"B0{i}",) for i in (6, 5, 4, 3, 2, 7)]


def test_what_cannot_be_a_list_is_passed_over(tmp_path):
    raster = tmp_path / "coast.tif"
    raster.touch()
    (tmp_path / "coast.txt").write_bytes(b"\xff\xfe\0B02")
    (tmp_path / "coast.csv").write_text("B02\n" * LARGEST)
    (tmp_path / "coast.bands.txt").mkdir()
    assert list(find_band_lists(raster)) == []
    assert list(find_band_lists("/vsizip/there.zip/coast.tif")) == []
    assert list(find_band_lists(tmp_path / "coast.csv")) == []  # it is the raster itself


@settings(max_examples=200)
@given(st.text(max_size=300) | st.text(alphabet='B0123,;\t\n"- =:{}', max_size=80))
def test_any_text_is_a_list_or_none(text):
    for name in (*parse_list(text), *parse_envi("ENVI\n" + text)):
        assert name
        assert len(name) <= 80
