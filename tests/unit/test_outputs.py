"""All or nothing, tried by failing, killing and colliding."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geounet import lock
from geounet.errors import OutputError
from geounet.outputs import (
    clear_killed_run,
    existing_files,
    only_run,
    sha256_of,
    stage_file,
    stage_folder,
    stage_set,
)

FILES = {"_mask.tif": b"mask", ".gpkg": b"lines", "_mask.tif.aux.xml": b"classes"}


def write_set(
    folder: Path,
    files: dict[str, bytes] = FILES,
    *,
    overwrite: bool = False,
    failure: BaseException | None = None,
) -> None:
    with stage_set(folder, "a", overwrite=overwrite) as (stage, record):
        for suffix, content in files.items():
            stage.path(suffix).write_bytes(content)
        stage.temporary("field.tif").write_bytes(b"on the way only")
        record["command"] = "predict"
        if failure:
            raise failure


def write_file(path: Path, content: bytes, failure: BaseException | None = None) -> None:
    with stage_file(path) as draft:
        draft.write_bytes(content)
        if failure:
            raise failure


def write_folder(
    folder: Path,
    content: bytes,
    *,
    overwrite: bool = False,
    failure: BaseException | None = None,
) -> None:
    with stage_folder(folder, overwrite=overwrite, mark="dataset.json") as draft:
        (draft / "dataset.json").write_bytes(b"{}")
        (draft / "images").mkdir()
        (draft / "images" / "1.tif").write_bytes(content)
        if failure:
            raise failure


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_complete(folder: Path, files: dict[str, bytes]) -> None:
    """The set is there, its record agrees with it, and nothing else is."""
    found = contents(folder)
    record = json.loads(found.pop("a.json"))
    assert found == {f"a{suffix}": content for suffix, content in files.items()}
    assert record["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in found.items()
    }
    assert record["command"] == "predict"


class TestSet:
    def test_it_appears_whole_with_a_record_that_agrees(self, tmp_path) -> None:
        write_set(tmp_path / "deep" / "out")
        assert_complete(tmp_path / "deep" / "out", FILES)

    def test_nothing_is_to_be_seen_before_it_is_complete(self, tmp_path) -> None:
        with stage_set(tmp_path, "a", overwrite=False) as (stage, _):
            stage.path("_mask.tif").write_bytes(b"mask")
            assert [p.name for p in tmp_path.iterdir()] == [".a.partial"]

    @pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
    def test_a_failure_leaves_nothing_not_even_the_folder(self, tmp_path, failure) -> None:
        with pytest.raises(failure):
            write_set(tmp_path / "x" / "out", failure=failure())
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_leaves_the_set_that_was_there(self, tmp_path) -> None:
        write_set(tmp_path)
        before = contents(tmp_path)
        with pytest.raises(ValueError, match="no"):
            write_set(tmp_path, {"_mask.tif": b"new"}, overwrite=True, failure=ValueError("no"))
        assert contents(tmp_path) == before

    def test_an_existing_set_is_refused_before_any_work(self, tmp_path) -> None:
        write_set(tmp_path)
        before = contents(tmp_path)
        with pytest.raises(OutputError, match=r"a\.json exists already\. Use --overwrite"):  # noqa: SIM117  the body must not run
            with stage_set(tmp_path, "a", overwrite=False):
                pytest.fail("the work was begun")
        assert contents(tmp_path) == before

    def test_overwriting_replaces_the_whole_set_and_nothing_else(self, tmp_path) -> None:
        write_set(tmp_path)
        (tmp_path / "a_notes.txt").write_bytes(b"mine")
        (tmp_path / "b_mask.tif").write_bytes(b"another set's")
        write_set(tmp_path, {"_mask.tif": b"new", ".qgz": b"project"}, overwrite=True)
        assert (tmp_path / "a_notes.txt").read_bytes() == b"mine"
        assert (tmp_path / "b_mask.tif").read_bytes() == b"another set's"
        (tmp_path / "a_notes.txt").unlink()
        (tmp_path / "b_mask.tif").unlink()
        assert_complete(tmp_path, {"_mask.tif": b"new", ".qgz": b"project"})

    def test_a_file_of_somebody_else_is_not_replaced_unasked(self, tmp_path) -> None:
        (tmp_path / "a.gpkg").write_bytes(b"digitised by hand")
        with pytest.raises(OutputError, match=r"a\.gpkg is in the way"):
            write_set(tmp_path)
        assert contents(tmp_path) == {"a.gpkg": b"digitised by hand"}

    @pytest.mark.parametrize("content", [b"{}", b"[1]", b"not json", b'{"name": "package"}'])
    def test_a_foreign_json_in_the_records_place_is_never_touched(self, tmp_path, content) -> None:
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(OutputError, match=r"a\.json is in the way"):
            write_set(tmp_path, overwrite=True)
        assert contents(tmp_path) == {"a.json": content}

    def test_a_record_cannot_name_files_outside_its_folder(self, tmp_path) -> None:
        (tmp_path / "precious").write_bytes(b"!")
        folder = tmp_path / "out"
        folder.mkdir()
        (folder / "a.json").write_text(json.dumps({"files": {"../precious": {}}}))
        assert existing_files(folder, "a") == [folder / "a.json"]
        write_set(folder, overwrite=True)
        assert (tmp_path / "precious").read_bytes() == b"!"

    def test_two_runs_at_once_are_kept_apart(self, tmp_path) -> None:
        with stage_set(tmp_path, "a", overwrite=False) as (stage, record):
            stage.path("_mask.tif").write_bytes(b"first")
            with pytest.raises(OutputError, match=r"Another run is writing a in "):
                write_set(tmp_path)
            with stage_set(tmp_path, "b", overwrite=False) as (other, _):
                other.path("_mask.tif").write_bytes(b"another name")
            record["command"] = "predict"
        assert (tmp_path / "a_mask.tif").read_bytes() == b"first"
        assert (tmp_path / "b_mask.tif").read_bytes() == b"another name"

    def test_another_process_is_kept_out_too(self, tmp_path) -> None:
        script = (
            "import sys; from pathlib import Path; from geounet.outputs import stage_set\n"
            "with stage_set(Path(sys.argv[1]), 'a', overwrite=True): pass"
        )
        line = [sys.executable, "-c", script, str(tmp_path)]
        with stage_set(tmp_path, "a", overwrite=False) as (stage, record):
            stage.path("_mask.tif").write_bytes(b"first")
            other = subprocess.run(line, capture_output=True, text=True, check=False)
            record["command"] = "predict"
        assert (
            f"Another run is writing a in {tmp_path}: process {os.getpid()} on "
            f"{os.uname().nodename}, since 2"
        ) in other.stderr
        assert_complete(tmp_path, {"_mask.tif": b"first"})


KILLED_RUN = """
import os, sys
from pathlib import Path
from geounet.outputs import stage_set

steps = 0
def deadly(function):
    def step(self, *arguments, **options):
        global steps
        if self.name.startswith("a") and ".partial" not in str(self.parent) or function is replace:
            if steps == int(sys.argv[2]):
                os._exit(9)  # as kill -9 and a power cut: no cleaning up
            steps += 1
        return function(self, *arguments, **options)
    return step

replace, unlink = Path.replace, Path.unlink
Path.replace, Path.unlink = deadly(replace), deadly(unlink)
with stage_set(Path(sys.argv[1]), "a", overwrite=True) as (stage, record):
    for suffix in ("_mask.tif", ".gpkg", ".qgz"):
        stage.path(suffix).write_bytes(b"killed")
"""


class TestKilledRun:
    @pytest.mark.parametrize("step", range(8))
    def test_the_next_run_clears_what_was_left_wherever_it_was_killed(self, tmp_path, step) -> None:
        write_set(tmp_path)
        (tmp_path / "a_notes.txt").write_bytes(b"mine")
        line = [sys.executable, "-c", KILLED_RUN, str(tmp_path), str(step)]
        assert subprocess.run(line, check=False, timeout=60).returncode == 9
        record_is_there = (tmp_path / "a.json").exists()
        assert record_is_there == (step == 0), "an incomplete set looks complete"

        # Of the old and the new set, only what this run writes is left.
        write_set(tmp_path, {"_other.tif": b"next"}, overwrite=record_is_there)
        assert (tmp_path / "a_notes.txt").read_bytes() == b"mine"
        (tmp_path / "a_notes.txt").unlink()
        assert_complete(tmp_path, {"_other.tif": b"next"})

    def test_a_file_put_there_since_is_not_cleared(self, tmp_path) -> None:
        line = [sys.executable, "-c", KILLED_RUN, str(tmp_path), "3"]
        subprocess.run(line, check=False, timeout=60)
        assert (tmp_path / "a.gpkg").read_bytes() == b"killed"
        (tmp_path / "a.gpkg").write_bytes(b"digitised by hand")
        write_set(tmp_path, {"_other.tif": b"next"})
        assert (tmp_path / "a.gpkg").read_bytes() == b"digitised by hand"
        assert not (tmp_path / "a_mask.tif").exists()

    def test_what_is_left_beside_a_whole_set_can_be_cleared_without_writing_it(
        self, tmp_path
    ) -> None:
        write_set(tmp_path)
        before = contents(tmp_path)
        clear_killed_run(tmp_path, "a")  # nothing to do
        (tmp_path / ".a.partial" / "temporary").mkdir(parents=True)
        (tmp_path / ".a.partial" / "temporary" / "half.tif").write_bytes(b"half")
        clear_killed_run(tmp_path, "a")
        assert contents(tmp_path) == before
        assert not (tmp_path / ".a.partial").exists()

    def test_a_failing_rename_is_undone(self, tmp_path, monkeypatch) -> None:
        replace = Path.replace

        def failing(self: Path, target: Path) -> Path:
            if self.suffix == ".tif":  # the second, in order
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", failing)
        with pytest.raises(OutputError, match="the disk reports an error"):
            write_set(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_everything_is_on_the_disk_before_the_next_step(tmp_path, monkeypatch) -> None:
    write_set(tmp_path)
    told, fsync, replace, unlink = [], os.fsync, Path.replace, Path.unlink

    def synced(handle: int) -> None:
        told.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def renamed(self: Path, target: Path) -> Path:
        told.append(("rename", self.name))
        return replace(self, target)

    def removed(self: Path, **options: bool) -> None:
        told.append(("remove", self.name))
        unlink(self, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(Path, "unlink", removed)
    write_set(tmp_path, {"_mask.tif": b"new"}, overwrite=True)
    told = [step for step in told if not step[1].startswith(".") or step[0] == "sync"]
    end = told.index(("remove", "a.json"))
    assert {
        ("sync", "a_mask.tif"), ("sync", "a.json"), ("sync", ".coming-and-going.json"),
        ("sync", ".a.partial"),
    } <= set(told[:end])  # fmt: skip
    place = ("sync", tmp_path.name)
    replaced = [("remove", f"a{suffix}") for suffix in sorted(FILES)]
    steps = [place, *replaced, ("rename", "a_mask.tif"), place, ("rename", "a.json"), place]
    assert told[end + 1 : end + 1 + len(steps)] == steps


def test_a_disk_too_full_is_told_before_the_work(tmp_path, monkeypatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "480 MiB are needed, 3 MiB are free")

    monkeypatch.setattr(os, "posix_fallocate", full)
    said = r"full \(480 MiB are needed, 3 MiB are free\); free some"
    with pytest.raises(OutputError, match=said):  # noqa: SIM117  the body must not run
        with stage_set(tmp_path, "a", overwrite=False):
            pytest.fail("the work was begun")
    assert list(tmp_path.iterdir()) == []


WRITERS: dict[str, Callable[[Path], None]] = {
    "set": write_set,
    "file": lambda out: write_file(out / "model.safetensors", b"weights"),
    "folder": lambda out: write_folder(out / "chips", b"1"),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
class TestWhatTheSystemRefuses:
    def test_a_full_disk_is_one_line_and_leaves_nothing(self, tmp_path, write, monkeypatch) -> None:
        def full(self: Path, content: bytes) -> int:  # noqa: ARG001  Path.write_bytes
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="the disk is full; free some space"):
            write(tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_that_filled_up_unnoticed_is_noticed_at_the_end(
        self, tmp_path, write, monkeypatch
    ) -> None:
        def full(*_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OutputError, match="the disk is full; free some space"):
            write(tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_may_not_be_written_to(self, tmp_path, write, monkeypatch) -> None:
        def refused(self: Path, *_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

        monkeypatch.setattr(Path, "mkdir", refused)  # chmod does not stop root
        with pytest.raises(OutputError, match="may not be written to; give another --out"):
            write(tmp_path / "out")

    def test_a_file_in_the_place_of_the_folder(self, tmp_path, write) -> None:
        (tmp_path / "out").write_bytes(b"a file")
        with pytest.raises(OutputError, match=r"out"):
            write(tmp_path / "out")
        assert contents(tmp_path) == {"out": b"a file"}


class TestErrorsOfOthers:
    def test_a_librarys_error_on_a_full_disk_says_that_it_is_full(
        self, tmp_path, monkeypatch
    ) -> None:
        def full(*_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", full)
        with (
            pytest.raises(OutputError, match="the disk is full"),
            stage_set(tmp_path, "a", overwrite=False),
        ):
            raise RuntimeError("sqlite3_exec(CREATE TABLE …) failed")

    @pytest.mark.parametrize(
        ("place", "said"), [("/proc/x", "no folder can be made there"), ("n" * 300, "too long")]
    )
    def test_a_folder_that_cannot_be_made(self, tmp_path, place, said) -> None:
        with pytest.raises(OutputError, match=said):
            write_set(tmp_path / place)
        with pytest.raises(OutputError, match=said):
            write_folder(tmp_path / place, b"")
        with pytest.raises(OutputError, match=said):
            write_file(tmp_path / place / "a.png", b"")

    def test_an_error_about_another_place_keeps_its_own_words(self, tmp_path) -> None:
        missing = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere/scene.tif")
        with pytest.raises(PermissionError), stage_set(tmp_path, "a", overwrite=False):
            raise missing

    def test_a_defect_keeps_its_traceback(self, tmp_path) -> None:
        with (
            pytest.raises(RuntimeError, match="a defect"),
            stage_set(tmp_path, "a", overwrite=False),
        ):
            raise RuntimeError("a defect")


class TestFile:
    def test_it_replaces_its_predecessor_only_when_complete(self, tmp_path) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(b"old")
        with stage_file(path) as draft:
            assert draft.name == path.name, "drivers go by the extension"
            draft.write_bytes(b"new")
            assert path.read_bytes() == b"old"
        assert contents(tmp_path) == {"model.safetensors": b"new"}

    def test_a_failure_leaves_its_predecessor(self, tmp_path) -> None:
        path = tmp_path / "model.safetensors"
        write_file(path, b"old")
        with pytest.raises(ValueError, match="no"):
            write_file(path, b"half", failure=ValueError("no"))
        assert contents(tmp_path) == {"model.safetensors": b"old"}


class TestFolder:
    def test_it_appears_whole_and_alone(self, tmp_path) -> None:
        (tmp_path / "chips").mkdir()  # empty, so in nobody's way
        write_folder(tmp_path / "chips", b"1")
        assert contents(tmp_path) == {"chips/dataset.json": b"{}", "chips/images/1.tif": b"1"}

    def test_overwriting_leaves_nothing_of_the_old_one(self, tmp_path) -> None:
        write_folder(tmp_path / "chips", b"1")
        (tmp_path / "chips" / "images" / "2.tif").write_bytes(b"old")
        with pytest.raises(OutputError, match="exists already"):
            write_folder(tmp_path / "chips", b"2")
        write_folder(tmp_path / "chips", b"2", overwrite=True)
        assert contents(tmp_path) == {"chips/dataset.json": b"{}", "chips/images/1.tif": b"2"}

    def test_a_folder_of_somebody_else_is_never_deleted(self, tmp_path) -> None:
        (tmp_path / "chips").mkdir()
        (tmp_path / "chips" / "thesis.tex").write_bytes(b"!")
        with pytest.raises(OutputError, match=r"holds other files than ours \(no dataset\.json\)"):
            write_folder(tmp_path / "chips", b"1", overwrite=True)
        assert contents(tmp_path) == {"chips/thesis.tex": b"!"}

    def test_the_current_folder_can_be_written(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "chips").mkdir()
        monkeypatch.chdir(tmp_path / "chips")
        write_folder(Path(), b"1")
        assert (tmp_path / "chips" / "images" / "1.tif").read_bytes() == b"1"

    def test_a_failure_leaves_nothing(self, tmp_path) -> None:
        with pytest.raises(ValueError, match="no"):
            write_folder(tmp_path / "x" / "chips", b"half", failure=ValueError("no"))
        assert list(tmp_path.iterdir()) == []

    def test_what_a_killed_run_left_is_cleared(self, tmp_path) -> None:
        litter = tmp_path / ".chips.partial" / "new"
        litter.mkdir(parents=True)
        (litter / "half.tif").write_bytes(b"half")
        write_folder(tmp_path / "chips", b"1")
        assert contents(tmp_path) == {"chips/dataset.json": b"{}", "chips/images/1.tif": b"1"}


def test_a_lock_on_a_folder_that_was_just_removed_keeps_nobody_out(tmp_path, monkeypatch) -> None:
    # The holder removes its lock file between another run's open and flock.
    flock, calls = lock.fcntl.flock, []

    def late(file: object, operation: int) -> None:
        if not calls:
            (tmp_path / ".a.partial" / ".lock").unlink()
        calls.append(operation)
        flock(file, operation)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with stage_set(tmp_path, "a", overwrite=False) as (stage, _):
        assert len(calls) == 2
        assert (stage.scratch / ".lock").exists()


def test_sha256_is_that_of_hashlib(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 1000)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"abc" * 1000).hexdigest()


def test_scores_of_a_set_go_when_it_is_replaced(tmp_path: Path) -> None:
    for overwrite in (False, True):
        with stage_set(tmp_path, "a", overwrite=overwrite) as (stage, record):
            stage.path("_mask.tif").write_text("mask")
            record["format"] = 1
        if not overwrite:
            (tmp_path / "a.scores.json").write_text("{}")
    assert {p.name for p in tmp_path.iterdir()} == {"a_mask.tif", "a.json"}


def test_only_one_run_of_a_kind_works_in_a_folder(tmp_path: Path) -> None:
    with (
        only_run(tmp_path, "run"),
        pytest.raises(OutputError, match="Another run is writing run"),
        only_run(tmp_path, "run"),
    ):
        pass
    assert not list(tmp_path.iterdir())
