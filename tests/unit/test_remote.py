"""Addresses as GDAL wants them, and documents from servers that behave and that do not."""

import os
import time

import numpy as np
import pytest
import rasterio
import requests
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window
from serving import Fault, serving

from geounet.errors import SceneError
from geounet.scene import remote
from geounet.scene.raster import gdal_environment, open_raster
from geounet.scene.remote import (
    fetch,
    fetch_start,
    gdal_settings,
    is_remote,
    read_again,
    scrub,
    to_gdal,
    why_not_read,
    without_query,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """What a user may set too."""
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize(
    ("source", "remote", "opened"),
    [
        ("https://a.org/b.tif", True, "/vsicurl/https://a.org/b.tif"),
        ("HTTP://a.org/b.tif", True, "/vsicurl/http://a.org/b.tif"),
        ("https://a.org/b.tif?sv=1&sig=x%2F", True, "/vsicurl/https://a.org/b.tif?sv=1&sig=x%2F"),
        ("https://a.org/my b.tif", True, "/vsicurl/https://a.org/my%20b.tif"),
        ("s3://bucket/k/B02.jp2", True, "/vsis3/bucket/k/B02.jp2"),
        ("s3://bucket/k/my B02.jp2", True, "/vsis3/bucket/k/my B02.jp2"),
        ("gs://bucket/k.tif", True, "/vsigs/bucket/k.tif"),
        ("az://box/k.tif", True, "/vsiaz/box/k.tif"),
        ("abfs://box@me.dfs.core.windows.net/k/l.tif", True, "/vsiaz/box/k/l.tif"),
        ("/vsicurl/https://a.org/b.tif", True, "/vsicurl/https://a.org/b.tif"),
        ("/vsizip//vsis3/bucket/a.zip/b.tif", True, "/vsizip//vsis3/bucket/a.zip/b.tif"),
        ("/vsizip/a.zip/b.tif", False, "/vsizip/a.zip/b.tif"),
        ("file:///data/my%20b.tif", False, "/data/my b.tif"),
        ("/data/b.tif", False, "/data/b.tif"),
        ("b.tif", False, "b.tif"),
        ("NETCDF:b.nc:x", False, "NETCDF:b.nc:x"),
        ("ssh://a/b.tif", False, "ssh://a/b.tif"),
    ],
)
def test_sources_and_what_gdal_opens_for_them(source, remote, opened):
    assert is_remote(source) == remote
    assert to_gdal(source) == opened
    assert is_remote(opened) == remote


@given(text=st.text(max_size=40))
def test_any_text_is_an_address_or_none_and_does_not_fail(text):
    assert to_gdal(text) is not None
    assert is_remote(text) in (True, False)
    assert without_query(f"https://a.org/{text}?sig=1").count("?") == 0


def test_signatures_and_passwords_are_kept_from_people():
    assert without_query("https://me:word@a.org/b.tif?sig=secret") == "https://a.org/b.tif"
    assert without_query("/vsicurl/https://a.org/b.tif?sig=secret") == "https://a.org/b.tif"
    assert without_query("https://me:p@ss@a.org/b@c.tif") == "https://a.org/b@c.tif"
    assert without_query("/vsis3/bucket/b.tif") == "s3://bucket/b.tif"
    assert without_query("/data/what?.tif") == "/data/what?.tif"
    said = why_not_read("/vsicurl/https://a.org/b?sig=secret", OSError("HTTP response code: 403"))
    assert "secret" not in said
    assert "signed address" in said


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("`/vsicurl/https://a.org/h.tif?sv=1&sig=SECRET' no", "`/vsicurl/https://a.org/h.tif' no"),
        ("h.tif?sv=2020&sig=SECRET: got 3 bytes", "h.tif got 3 bytes"),
        ("see https://me:SECRET@a.org/x and", "see https://a.org/x and"),
        ("see https://me:p@SECRET@a.org/x@2.tif", "see https://a.org/x@2.tif"),
        ("'s3://a/b?SECRET' is 1", "'s3://a/b' is 1"),
        ("what? a=b in /data/why?.tif (really?)", "what? a=b in /data/why?.tif (really?)"),
    ],
)
def test_texts_lose_what_opens_the_data(text, clean):
    assert scrub(text) == clean


def test_what_gdal_says_is_said_without_signatures():
    error = OSError("hdr.tif?sv=2020&sig=SECRET: TIFFFetchDirectory failed")
    assert "SECRET" not in why_not_read("/vsicurl/https://a.org/hdr.tif?sv=2020&sig=SECRET", error)


def test_the_environment_counts_more_than_the_settings(monkeypatch):
    monkeypatch.delenv("GDAL_HTTP_LOW_SPEED_TIME")
    assert gdal_settings()["GDAL_HTTP_LOW_SPEED_TIME"] == "30"
    assert "GDAL_HTTP_RETRY_DELAY" not in gdal_settings()  # set above
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "soon")
    with pytest.raises(SceneError, match=r"GDAL_HTTP_RETRY_DELAY.*'soon'"):
        fetch("http://127.0.0.1:1/x.json")


def test_a_document_comes_as_it_is(tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "x.json").write_bytes(content)
    with serving(tmp_path) as server:
        assert fetch(server.url + "/x.json") == content
        assert fetch(server.url + "/x.json?sig=1") == content
        assert fetch_start(server.url + "/x.json", 100) == content[:100]
        assert server.requests()[-1].sent == 100


def test_a_document_that_is_too_long_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(30_000_000)
    with (
        serving(tmp_path) as server,
        pytest.raises(SceneError, match=r"x.json is longer than 0.5 MiB"),
    ):
        fetch(server.url + "/x.json", limit=2**19)


@pytest.mark.parametrize("fault", [Fault("refuse", times=2), Fault("die", times=2)])
def test_a_document_is_asked_for_again(tmp_path, fault):
    (tmp_path / "x.json").write_bytes(b"x" * 1000)
    with serving(tmp_path, fault) as server:
        assert fetch(server.url + "/x.json") == b"x" * 1000
        assert len(server.requests()) == 3


@pytest.mark.parametrize(
    ("fault", "said", "times"),
    [
        (Fault("refuse"), "answers 503 .*4 times", 4),
        (Fault("refuse", status=404), "answers 404 Not Found. Check the address", 1),
        (Fault("refuse", status=403), "answers 403 Forbidden. It needs a signed address", 1),
        (Fault("die"), "broke off.*4 times", 4),
        (Fault("stall"), "nothing came for 1 s, 2 times", 2),
        (Fault("silence"), "nothing came for 1 s, 2 times", 2),
    ],
)
def test_what_cannot_be_fetched_is_one_error_in_time(tmp_path, fault, said, times):
    (tmp_path / "x.json").write_bytes(b"x" * 1000)
    start = time.monotonic()
    with serving(tmp_path, fault) as server:
        with pytest.raises(SceneError, match=said) as failed:
            fetch(server.url + "/x.json?sig=secret")
        assert len(server.requests()) == times
    assert "secret" not in str(failed.value)
    assert "\n" not in str(failed.value)
    assert time.monotonic() - start < 8


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "http://[", "http://", "az://box/x", "s3://bucket", "http:///x"]
)
def test_an_address_that_leads_nowhere_is_one_error(monkeypatch, url):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    with pytest.raises(SceneError) as failed:
        fetch(url)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("s3://bucket/a/b.json", "https://bucket.s3.amazonaws.com/a/b.json"),
        ("gs://bucket/a/b.json", "https://storage.googleapis.com/bucket/a/b.json"),
        ("az://box/a/b.json", "https://me.blob.core.windows.net/box/a/b.json"),
        ("abfs://box@you.dfs.core.windows.net/b", "https://you.blob.core.windows.net/box/b"),
    ],
)
def test_documents_in_buckets_are_asked_for_by_their_public_address(monkeypatch, url, asked):
    addresses = []

    def get(address, **_):
        addresses.append(address)
        raise requests.exceptions.InvalidURL(address)

    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "me")
    monkeypatch.setattr(remote.requests, "get", get)
    with pytest.raises(SceneError):
        fetch(url)
    assert addresses == [asked]


SIDE = 256
"""Of a block; a file has four."""


@pytest.fixture
def raster(tmp_path):
    """A tiled file whose blocks are of random numbers, so that each is long."""
    values = np.random.default_rng(0).integers(1, 2**16, (2 * SIDE, 2 * SIDE)).astype(np.uint16)
    path = tmp_path / "x.tif"
    profile = {
        "driver": "GTiff", "count": 1, "height": 2 * SIDE, "width": 2 * SIDE, "dtype": "uint16",
        "crs": "EPSG:32630", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5e6),
        "tiled": True, "blockxsize": SIDE, "blockysize": SIDE,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(values, 1)
    return path, values


BLOCK = Window(col_off=SIDE, row_off=SIDE, width=SIDE, height=SIDE)


def read(server):
    path = to_gdal(server.url + "/x.tif")
    with gdal_environment(), open_raster(path) as dataset:
        return read_again(lambda: dataset.read(1, window=BLOCK), path)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("refuse", times=2),
        *(Fault(kind, first=first, times=1) for kind in ("die", "stall") for first in (1, 2)),
        Fault("die", first=2, times=1, after=100_000),
        Fault("silence", times=1),
    ],
)
def test_a_raster_that_fails_once_is_read_as_it_is(raster, fault):
    path, values = raster
    with serving(path.parent, fault) as server:
        assert (read(server) == values[BLOCK.toslices()]).all()


def test_a_raster_is_opened_with_two_requests_and_read_with_one_more(raster):
    path, _ = raster
    with serving(path.parent) as server:
        read(server)
        head, header, block = server.requests()
    assert (head.method, header.range) == ("HEAD", "bytes=0-32767")
    assert block.sent < 1.3 * 2 * SIDE * SIDE


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("refuse"), "the server answers 503, again and again"),
        (Fault("refuse", status=404), "it is not there"),
        (Fault("refuse", status=403), "not for everybody"),
        (Fault("silence"), "nothing came"),
        (Fault("stall"), "cannot be read"),
        (Fault("die"), "cannot be read"),
    ],
)
def test_a_raster_that_cannot_be_opened_is_one_error_in_time(raster, fault, said):
    start = time.monotonic()
    with serving(raster[0].parent, fault) as server, pytest.raises(SceneError, match=said) as no:
        read(server)
    assert "\n" not in str(no.value)
    assert "x.tif" in str(no.value)
    assert time.monotonic() - start < 8
