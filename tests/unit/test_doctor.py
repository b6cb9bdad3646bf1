"""The doctor finds what is wrong, and only that."""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from geounet import doctor
from geounet.doctor import (
    GIB,
    Check,
    available_memory,
    check_disk,
    check_gdal,
    check_libraries,
    check_memory,
    check_proj,
    check_python,
    examine_machine,
)


def only(checks: Iterator[Check]) -> Check:
    (check,) = checks
    return check


def test_the_machine_that_runs_the_tests_is_fit(tmp_path) -> None:
    checks = list(examine_machine(tmp_path))
    assert [check for check in checks if check.status == "bad"] == []
    topics = {check.topic for check in checks}
    assert topics >= {"Python", "libraries", "torch", "GDAL", "JPEG 2000", "PROJ", "memory", "disk"}


def test_whatever_is_wrong_comes_with_advice(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "0.0.1")
    monkeypatch.setattr(doctor, "KNOWN_PLACE", ((-3.0, 45.0), (0.0, 0.0)))
    monkeypatch.setattr(doctor, "available_memory", lambda _: (0, GIB))
    wrong = [check for check in examine_machine(tmp_path) if check.status != "ok"]
    assert {"libraries", "PROJ", "memory"} <= {check.topic for check in wrong}
    assert all(check.advice for check in wrong)


@pytest.mark.parametrize("library", ["torch", "rasterio", "pyogrio", "pyproj"])
def test_a_library_that_does_not_load_is_one_line_and_the_rest_goes_on(
    tmp_path, monkeypatch, library
) -> None:
    for name in [n for n in sys.modules if n == library or n.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)  # what makes `import` fail
    checks = list(examine_machine(tmp_path))
    bad = [check for check in checks if check.status == "bad"]
    assert any(library in check.finding for check in bad)
    assert checks[-1].topic == "disk"


def test_an_old_library_and_a_missing_one_are_named_with_what_to_install(monkeypatch) -> None:
    versions = {"rasterio": "1.3.9", "shapely": "2.1.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(
        metadata,
        "requires",
        lambda _: ["rasterio>=1.4", "shapely>=2.1", "torch>=2.6", 'ruff>=0.9; extra == "dev"'],
    )
    old, missing = check_libraries()
    assert old.finding == "rasterio is 1.3.9; geounet needs >=1.4"
    assert old.advice == 'pip install "rasterio>=1.4"'
    assert missing.finding == "torch is missing; geounet needs >=2.6"


def test_a_local_build_of_a_library_is_new_enough(monkeypatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["torch>=2.6"])
    for version, status in (("2.6.0+cu124", "ok"), ("2.10.0a0", "ok"), ("2.5.9+cpu", "bad")):
        monkeypatch.setattr(metadata, "version", lambda _, v=version: v)
        assert only(check_libraries()).status == status, version


def test_running_from_a_folder_without_installing_is_a_warning(monkeypatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert only(check_libraries()).status == "warn"


def test_an_old_python_is_bad(monkeypatch) -> None:
    assert only(check_python()).status == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 10, 14, "final", 0))
    assert only(check_python()).status == "bad"


def test_no_jpeg_2000_is_a_warning_that_says_what_cannot_be_read(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "JPEG2000", ("JP2Nothing",))
    check = next(c for c in check_gdal() if c.topic == "JPEG 2000")
    assert check.status == "warn"
    assert ".SAFE" in check.finding


def test_a_wrong_place_is_bad_and_a_stray_variable_is_suspected(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "KNOWN_PLACE", ((-3.0, 45.0), (500_000.0, 4_982_950.5)))
    monkeypatch.setenv("PROJ_LIB", "/opt/other/share/proj")
    checks = list(check_proj())
    assert [check.status for check in checks] == ["bad", "bad"], "ten centimetres are too much"
    assert "Unset PROJ_LIB" in (checks[0].advice or "")


def write_meminfo(root: Path, free: int, total: int) -> None:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(
        f"MemTotal:       {total // 1024} kB\nMemFree:        1 kB\n"
        f"MemAvailable:   {free // 1024} kB\nHugePages_Total:       0\n"
    )


def test_memory_is_what_is_available(tmp_path) -> None:
    write_meminfo(tmp_path, 5 * GIB, 8 * GIB)
    assert available_memory(tmp_path) == (5 * GIB, 8 * GIB)


def test_a_containers_limit_counts_and_its_cached_files_do_not(tmp_path) -> None:
    write_meminfo(tmp_path, 50 * GIB, 64 * GIB)
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{4 * GIB}\n")
    (group / "memory.current").write_text(f"{3 * GIB}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {GIB}\n")
    assert available_memory(tmp_path) == (2 * GIB, 4 * GIB)
    (group / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) == (50 * GIB, 64 * GIB)


@pytest.mark.parametrize(("free", "status"), [(1, "bad"), (3, "warn"), (5, "ok")])
def test_memory_is_judged_by_what_predict_takes(monkeypatch, free, status) -> None:
    monkeypatch.setattr(doctor, "available_memory", lambda _: (free * GIB, 8 * GIB))
    assert only(check_memory()).status == status


@pytest.mark.parametrize(("free", "status"), [(0.5, "bad"), (5, "warn"), (50, "ok")])
def test_disk_is_judged_by_what_a_scene_takes(monkeypatch, tmp_path, free, status) -> None:
    usage = type("Usage", (), {"free": free * GIB})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert only(check_disk(tmp_path)).status == status


def test_a_read_only_folder_is_a_warning(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert only(check_disk(tmp_path)).status == "warn"
