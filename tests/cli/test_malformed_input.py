"""Malformed input, each in a process of its own; `make soak` tries many times more."""

import gzip
import json
import re
import struct
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fuzzing.archives import zip_bomb
from fuzzing.cases import Bench, Case, make_case, make_sandbox, try_case
from fuzzing.children import Command, Ended, Limits, Nursery, spawn
from fuzzing.judge import SECRET, changes, faults, listing
from fuzzing.nonsense import DEEP, YAML_BOMB
from fuzzing.products import files_below, make_products, real_products, write_raster
from fuzzing.soak import soak

SEED = 3
CASES = 48
REAL_CASES = 12


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as mother:
        yield mother


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("products")
    return Bench(make_products(folder), folder)


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    return make_sandbox(tmp_path / "sandbox")


Attempt = Callable[..., Ended]


@pytest.fixture
def attempt(bench: Bench, nursery: Nursery, sandbox: Path) -> Attempt:
    """Spoil a product and look at it; whatever comes of it must be in order.

    `attempt("l1c", spoil)`: `spoil` is given the product's file or folder.
    """

    def run(product: str, spoil: Callable[[Path], object], *more: str) -> Ended:
        case = Case(product, bench.furnish(product, sandbox), product)
        spoil(sandbox / "work" / bench.products[product].top)
        command = replace(case.command, arguments=(*case.command.arguments, *more))
        verdict = try_case(replace(case, command=command), nursery)
        assert verdict.faults == []
        return verdict.ended

    return run


def refused(ended: Ended, *words: str) -> bool:
    """Return whether a command ended with an error that says the words."""
    return ended.status == 1 and all(word in ended.err.splitlines()[-1] for word in words)


# The slice


def test_what_is_spoilt_would_be_scenes(bench, nursery, tmp_path):
    for product in bench.products:
        sandbox = make_sandbox(tmp_path / product)
        verdict = try_case(Case(product, bench.furnish(product, sandbox), product), nursery)
        assert (verdict.faults, verdict.ended.status) == ([], 0), product
        assert json.loads(verdict.ended.out)["kind"] == "scene"


def test_malformed_input_ends_in_facts_or_in_one_line(bench, tmp_path):
    ended = soak(bench, SEED, range(CASES), tmp_path / "kept")
    assert not ended["fault"], failures(tmp_path / "kept")
    assert ended["status 0"]
    assert ended["status 1"] > CASES / 3


def test_malformed_metadata_of_real_products_end_in_facts_or_in_one_line(shared_data, tmp_path):
    bench = Bench(real_products(shared_data, tmp_path / "products"), tmp_path / "products")
    ended = soak(bench, SEED, range(REAL_CASES), tmp_path / "kept")
    assert not ended["fault"], failures(tmp_path / "kept")


def failures(kept: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(kept.glob("*/case.txt")))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_same_in_a_process_started_from_nothing(bench, tmp_path, number):
    verdict = try_case(make_case(bench, SEED, number, tmp_path / "sandbox"))
    assert verdict.faults == []


def test_cases_are_made_again_by_their_numbers(bench, tmp_path):
    one, other = (make_case(bench, SEED, 7, tmp_path / name) for name in ("a", "b"))
    assert one.what.replace(str(tmp_path / "a"), "") == other.what.replace(str(tmp_path / "b"), "")
    contents = [
        {path.relative_to(case.command.sandbox): path.read_bytes()
         for path in sorted((case.command.sandbox / "work").rglob("*")) if path.is_file()}
        for case in (one, other)
    ]  # fmt: skip
    assert contents[0] == contents[1]


# What was found so, and what is to be feared most


def test_a_damaged_block_of_jpeg_2000_is_an_error_and_no_pixels(attempt):
    def spoil(path: Path) -> None:
        content = bytearray(path.read_bytes())
        sizes = content.find(b"\xff\x51")
        struct.pack_into(">I", content, sizes + 22, 2)  # the width of tiles
        path.write_bytes(content)

    ended = attempt("jp2", spoil)
    facts = json.loads(ended.out)
    assert facts["kind"] == "raster"
    assert "damaged" in facts["problem"]


def test_a_bomb_in_yaml_is_refused(attempt):
    def spoil(folder: Path) -> None:
        (folder / "scene.yaml").write_text(f"{YAML_BOMB}\nbands: {{B02: B02.tif}}\n")

    assert refused(attempt("yaml", spoil), "refers to parts of itself")


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP])
@pytest.mark.parametrize("key", ["properties", "links", "assets", "x"])
def test_deep_json_is_refused(attempt, text, key):
    def spoil(folder: Path) -> None:
        item = folder / "item.json"
        content = json.loads(item.read_text()) | {key: "HERE"}
        item.write_text(json.dumps(content).replace('"HERE"', text))

    assert refused(attempt("stac", spoil))


@pytest.mark.parametrize("name", ["MTD_MSIL1C.xml", "MTD_TL.xml", "MSK_CLOUDS_B00.gml"])
@pytest.mark.parametrize(
    ("doctype", "entity"),
    [
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file://{outside}/secret.txt">]>', "&a;"),
        ('<!DOCTYPE x [<!ENTITY % p SYSTEM "file://{outside}/secret.dtd"> %p;]>', "&a11;"),
        (
            '<!DOCTYPE x [<!ENTITY a0 "ha">'
            + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
            + "]>",
            "&a11;",
        ),
    ],
    ids=["external", "parameter", "bomb"],
)
def test_entities_are_not_followed(attempt, sandbox, name, doctype, entity):
    def spoil(folder: Path) -> None:
        (path,) = folder.rglob(name)
        head, body = path.read_text().split("?>", 1)
        body = re.sub(r">[^<>]+</", f">{entity}</", body)
        said = doctype.replace("{outside}", str(sandbox / "outside"))
        path.write_text(f"{head}?>{said}{body}")

    ended = attempt("l1c", spoil)
    assert SECRET not in ended.out + ended.err
    if name.endswith(".xml"):
        assert refused(ended, name)
    else:
        assert "MSK_CLOUDS_B00.gml" in ended.err  # a scene without a cloud mask


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_lead_out_are_not_read(attempt, sandbox, kind):
    product = {"zip": "l1c-zip", "tar": "landsat2-tar"}[kind]

    def spoil(path: Path) -> None:
        evil = sandbox / "outside" / "secret.tif"
        if kind == "tar":
            with tarfile.open(path, "a") as tape:
                tape.add(evil, "../outside/evil_B4.TIF")
                link = tarfile.TarInfo("LC08_L1TP_204052_20190504_20190520_01_T1_B9.TIF")
                link.type, link.linkname = tarfile.SYMTYPE, str(evil)
                tape.addfile(link)
        else:
            import zipfile

            with zipfile.ZipFile(path, "a") as archive:
                archive.write(evil, "../outside/evil_B04.jp2")
                archive.write(evil, str(sandbox / "outside" / "evil_B05.jp2"))

    ended = attempt(product, spoil)
    assert ended.status == 0
    assert "left out" in ended.err
    assert "evil" not in ended.out


def test_a_header_that_claims_gigabytes_takes_no_memory(attempt):
    def spoil(path: Path) -> None:
        member = tarfile.TarInfo("extended")
        member.type, member.size = tarfile.XHDTYPE, 6 * 2**30
        zeros = gzip.compress(bytes(2**24), mtime=0)
        path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT), mtime=0) + zeros * 400)

    ended = attempt("l2a-tar.gz", spoil)
    assert refused(ended, "cannot be read")
    assert ended.peak_mb < 600


@pytest.mark.parametrize("end", ["before", "after"])
def test_a_tar_file_is_not_unpacked_without_end(attempt, end):
    def spoil(path: Path) -> None:
        zeros = gzip.compress(bytes(2**24), mtime=0) * 600
        bomb = tarfile.TarInfo("bomb_B03.tif")
        bomb.size = 10 * 2**30
        head = gzip.compress(bomb.tobuf(tarfile.GNU_FORMAT), mtime=0)
        path.write_bytes(head + zeros if end == "before" else path.read_bytes() + zeros)

    assert refused(attempt("l2a-tar.gz", spoil), "too much for one product")


@pytest.mark.parametrize("seed", range(6))
def test_zip_bombs_stay_packed(attempt, bench, sandbox, seed):
    def spoil(path: Path) -> None:
        files = [(name, p.read_bytes()) for name, p in files_below(bench.folder / "l1c")]
        path.write_bytes(zip_bomb(files, np.random.default_rng(seed), sandbox).content)

    ended = attempt("l1c-zip", spoil)
    assert ended.peak_mb < 800


@pytest.mark.parametrize(
    "profile",
    [
        {"crs": 'LOCAL_CS["nowhere",UNIT["metre",1]]'},
        {"crs": "EPSG:4978"},
        {"width": 2**31 - 1, "height": 1, "sparse_ok": True, "tiled": False},
    ],
)
def test_grids_that_lie_nowhere_are_no_scenes(attempt, profile):
    import rasterio

    def spoil(path: Path) -> None:
        with rasterio.open(path) as src:
            sound = dict(src.profile)
        with rasterio.open(path, "w", **(sound | {"BIGTIFF": "IF_SAFER"} | profile)) as dst:
            dst.descriptions = ("B02", "B03", "B04", "B08")

    assert json.loads(attempt("stack", spoil).out)["kind"] == "raster"


# The judge itself


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("traceback", "has a traceback"),
        ("hang", "hangs"),
        ("write_outside", "outside/evil.txt was made"),
        ("change_input", "was changed"),
        ("leave_litter", "work/out was made"),
        ("eat_memory", "has a traceback"),
        ("crash", "ended by signal 11"),
        ("python_words", "speaks Python"),
        ("two_lines", "says besides"),
        ("chatter", "says besides"),
        ("no_json", "no sound JSON"),
        ("tell_secrets", "shows what is in files"),
        ("wrong_status", "status 3"),
        ("start_program", "does: subprocess.Popen"),
    ],
)
def test_the_judge_notices(nursery, sandbox, deed, said):
    write_raster(sandbox / "work" / "scene.tif")
    limits = Limits(seconds=2.0 if deed == "hang" else 20.0)
    command = Command((), sandbox, f"fuzzing.planted:{deed}", limits)
    verdict = try_case(Case(deed, command, "planted"), nursery)
    assert any(said in fault for fault in verdict.faults), verdict


def test_the_judge_notices_what_is_written_far_away(nursery, sandbox, tmp_path):
    far = tmp_path / "far.txt"
    command = Command((str(far),), sandbox, "fuzzing.planted:write_far_away")
    verdict = try_case(Case("far", command, "planted"), nursery)
    assert verdict.faults == [f"does: open {far}"]


def test_the_judge_has_nothing_against_good_behaviour(nursery, sandbox):
    command = Command((), sandbox, "fuzzing.planted:behave")
    assert try_case(Case("good", command, "planted"), nursery).faults == []


def test_a_late_process_started_from_nothing_is_ended(sandbox):
    ended = spawn(Command(("info", "x"), sandbox, limits=Limits(seconds=0.05)))
    assert faults(ended) == [f"hangs: not done after {ended.seconds:.0f} s"]


def test_a_failed_case_is_kept_with_the_lines_that_repeat_it(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("fuzzing.cases.faults", lambda *_, **__: ["planted"])
    assert soak(bench, SEED, range(2), tmp_path / "kept")["fault"] == 2
    told = (tmp_path / "kept" / f"{SEED}-1" / "case.txt").read_text()
    assert f"--seed {SEED} --from 1 --cases 1" in told
    assert (tmp_path / "kept" / f"{SEED}-1" / "work").is_dir()


def test_a_listing_tells_what_changes(tmp_path):
    for name in ("same", "gone", "longer"):
        (tmp_path / name).write_text("x")
    (tmp_path / "tmp").mkdir()
    before = listing(tmp_path)
    (tmp_path / "gone").unlink()
    (tmp_path / "longer").write_text("xy")
    (tmp_path / "link").symlink_to("same")
    (tmp_path / "tmp" / "scratch").write_text("x")
    assert changes(before, listing(tmp_path)) == [
        "gone was removed",
        "link was made",
        "longer was changed",
    ]
