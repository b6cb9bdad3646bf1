"""Trees of files: what a folder and its archives have in common, and what hostile ones get."""

import gzip
import io
import logging
import string
import tarfile
import zipfile

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from geounet.errors import SceneError
from geounet.scene import tree as tree_module
from geounet.scene.tree import is_archive, open_tree

CONTENT = {"MTD.xml": b"<a/>", "GRANULE/L2A/B02.jp2": b"pixels", "GRANULE/L2A/MTD_TL.xml": b""}


def write_folder(path, content):
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_zip(path, content, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(prefix + name, data)
    return path


def write_tar(path, content, mode="w", prefix="", form=tarfile.GNU_FORMAT):
    with tarfile.open(path, mode, format=form) as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


WRITERS = {
    "folder": write_folder,
    "zip": write_zip,
    "zip, dotted": lambda path, content: write_zip(path, content, "./"),
    "tar": write_tar,
    "tar, dotted": lambda path, content: write_tar(path, content, prefix="./"),
    "tar, POSIX": lambda path, content: write_tar(path, content, form=tarfile.PAX_FORMAT),
    "tar.gz": lambda path, content: write_tar(path, content, "w:gz"),
    "tar.gz, POSIX": lambda path, content: write_tar(path, content, "w:gz", "", tarfile.PAX_FORMAT),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_and_its_archives_have_the_same_files(tmp_path, writer):
    tree = open_tree(WRITERS[writer](tmp_path / "product", CONTENT))
    assert tree.files == tuple(sorted(CONTENT))
    assert {file: tree.read(file) for file in tree.files} == CONTENT
    assert tree.name == "product"
    assert tree.source == str(tmp_path / "product")


names = st.text(string.ascii_letters + string.digits + "._- äé{}", min_size=1, max_size=8).filter(
    lambda name: name.strip(".") and name[0] != "."
)


@given(content=st.dictionaries(names, st.binary(max_size=50), min_size=1, max_size=5))
@settings(max_examples=20)
def test_whatever_files_are_called_an_archive_is_as_its_folder(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    trees = [
        open_tree(write_folder(folder / "a", content)),
        open_tree(write_zip(folder / "b", content)),
        open_tree(write_tar(folder / "c", content)),
    ]
    for tree in trees:
        assert {file: tree.read(file) for file in tree.files} == content


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ["product.SAFE.zip", "a", "product.tar", "spaces, (1)"])
def test_gdal_opens_files_where_they_lie(tmp_path, writer, name):
    picture = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=4, height=3, count=1, dtype="uint16", crs="EPSG:32630",
            transform=rasterio.Affine(10, 0, 6e5, 0, -10, 5e6),
        ) as dst:  # fmt: skip
            dst.write(picture)
        content = {f"{'X' * 80}.SAFE/{'Y' * 80}/T01 B02.jp2": memory.read(), "a": b"a"}
    tree = open_tree(WRITERS[writer](tmp_path / name, content))
    with rasterio.open(tree.gdal_path(tree.files[0])) as src:
        np.testing.assert_array_equal(src.read(), picture)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.SAFE.zip", "a.SAFE"), ("LC08.1.tar", "LC08.1"), ("b.TAR", "b"), (".zip", ".zip")],
)
def test_an_archive_is_called_by_its_name_without_the_ending(tmp_path, name, expected):
    writer = write_zip if name.endswith("zip") else write_tar
    assert open_tree(writer(tmp_path / name, CONTENT)).name == expected


def test_an_archive_is_one_by_its_content(tmp_path):
    for writer in list(WRITERS.values())[1:]:
        assert is_archive(writer(tmp_path / "a.tif", CONTENT))
    (tmp_path / "b.zip").write_bytes(b"II*\0" + bytes(600))
    (tmp_path / "c.tar.gz").write_bytes(gzip.compress(b"not a tar file" * 100))
    (tmp_path / "d.gz").write_bytes(b"\x1f\x8b and nothing more")
    for name in ("b.zip", "c.tar.gz", "d.gz", "missing", "."):
        assert not is_archive(tmp_path / name)
    with pytest.raises(SceneError, match="neither a folder nor a zip or tar"):
        open_tree(tmp_path / "b.zip")


def test_a_compressed_tar_file_may_be_called_so_and_no_other(tmp_path):
    tree = open_tree(write_tar(tmp_path / "a.TAR.gz", CONTENT, "w:gz"))
    assert tree.gdal_path("MTD.xml") == f"/vsitar/{{{tmp_path}/a.TAR.gz}}/MTD.xml"
    with pytest.raises(SceneError, match=r"is not compressed. Rename"):
        open_tree(write_tar(tmp_path / "b.tgz", CONTENT))


@pytest.mark.parametrize(
    "name", ["../up.xml", "a/../../up.xml", "/etc/up.xml", "..\\up.xml", "two\nlines up.xml"]
)
@pytest.mark.parametrize("writer", ["zip", "tar"])
def test_members_that_lead_out_are_left_out(tmp_path, caplog, writer, name):
    path = WRITERS[writer](tmp_path / "product", CONTENT | {name: b"evil"})
    with caplog.at_level(logging.WARNING):
        assert open_tree(path).files == tuple(sorted(CONTENT))
    assert "1 members are left out" in caplog.text
    assert "up.xml" in caplog.text


def test_links_and_devices_in_archives_are_left_out(tmp_path, caplog):
    with tarfile.open(tmp_path / "a", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"B0{int(kind)}.jp2")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    link = zipfile.ZipInfo("B02.jp2")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    for name, count in (("a", 4), ("b", 1)):
        assert open_tree(tmp_path / name).files == ()
        assert f"{count} members are left out" in caplog.text


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("writer", [write_zip, write_tar])
def test_a_file_that_is_there_twice_is_refused(tmp_path, writer):
    path = writer(tmp_path / "a", {"MTD.xml": b"one", "./MTD.xml": b"another"})
    with pytest.raises(SceneError, match=r"MTD\.xml twice"):
        open_tree(path)


@pytest.mark.parametrize("writer", WRITERS)
def test_documents_of_any_size_are_not_read(tmp_path, writer):
    tree = open_tree(WRITERS[writer](tmp_path / "a", {"big.xml": bytes(1001)}))
    assert len(tree.read("big.xml", limit=1001)) == 1001
    with pytest.raises(SceneError, match=r"big\.xml in .* MiB, too many"):
        tree.read("big.xml", limit=1000)


def test_more_than_a_product_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tree_module, "MOST_FILES", 2)
    for number, writer in enumerate(WRITERS.values()):
        with pytest.raises(SceneError, match="too m"):
            open_tree(writer(tmp_path / str(number), CONTENT | {"b": b"", "c": b"", "d": b""}))
    deep = tmp_path.joinpath("deep", *("x" * (tree_module.DEEPEST + 1)))
    deep.mkdir(parents=True)
    with pytest.raises(SceneError, match="deeper than"):
        open_tree(tmp_path / "deep")


def test_what_a_folder_hides_or_links_to_in_circles_is_passed_over(tmp_path):
    folder = write_folder(tmp_path / "a", CONTENT | {".cache/x": b"", ".hidden": b""})
    (folder / "loop").symlink_to(folder)
    (folder / "broken.jp2").symlink_to(folder / "nowhere")
    assert open_tree(folder).files == tuple(sorted(CONTENT))


@given(data=st.data())
@settings(max_examples=60)
def test_damaged_archives_say_so(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    writer = data.draw(st.sampled_from([name for name in WRITERS if "." in name or "zip" in name]))
    path = WRITERS[writer](folder / "a", CONTENT)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    said = ""
    try:
        tree = open_tree(path)
        for file in tree.files:
            tree.read(file)
    except SceneError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("writer", [write_zip, write_tar])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_what_macos_puts_into_archives_is_passed_over(tmp_path, writer, prefix, caplog):
    junk = {"__MACOSX/GRANULE/._B02.jp2": b"\0", "GRANULE/L2A/._B02.jp2": b"\0", ".DS_Store": b""}
    content = {prefix + name: data for name, data in (CONTENT | junk).items()}
    assert open_tree(writer(tmp_path / "a", content)).files == tuple(sorted(CONTENT))
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["a}b.zip", "{a.zip", "}{.zip"])
def test_an_archive_that_gdal_cannot_be_told_of_is_refused(tmp_path, name):
    with pytest.raises(SceneError, match="Rename it") as refused:
        open_tree(write_zip(tmp_path / name, CONTENT))
    assert "\n" not in str(refused.value)
    assert open_tree(write_zip(tmp_path / "a{b}.zip", CONTENT)).files == tuple(sorted(CONTENT))
