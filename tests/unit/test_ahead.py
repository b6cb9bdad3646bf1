"""The next scene's files are on their way while a scene is drawn."""

import os
from pathlib import Path

import pytest
from predicting import DARK, L2A, water_is_dark, wavy_dn, write_model, write_scene

from geounet.errors import GeounetError
from geounet.predict import PredictSettings, ahead, predict_scenes, predictor, several
from geounet.scene import SceneOptions

needs_advice = pytest.mark.skipif(
    not hasattr(os, "posix_fadvise"), reason="the system takes no advice about files"
)


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, int]]:
    """What the system is asked for: file and bytes."""
    seen: list[tuple[str, int]] = []

    def advise(descriptor: int, start: int, size: int, advice: int) -> None:
        assert (start, advice) == (0, os.POSIX_FADV_WILLNEED)
        seen.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, size))

    monkeypatch.setattr(ahead.os, "posix_fadvise", advise)
    return seen


@needs_advice
def test_the_next_scene_is_fetched_between_windows_and_drawing_and_the_last_fetches_none(
    tmp_path, monkeypatch
):
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, prepare=water_is_dark(7))
    scenes = [write_scene(tmp_path / f"{name}.tif", wavy_dn(40, 40)) for name in "abc"]
    scenes.insert(2, tmp_path / "missing.tif")  # its turn will tell
    order: list[str] = []
    fetch, draw = ahead.fetch_ahead, predictor.write_products

    def fetched(source: str, options: SceneOptions) -> None:
        order.append(f"fetch {Path(source).stem}")
        fetch(source, options).join()

    def drawn(stage, scene, *rest, **named):
        order.append(f"draw {scene.name}")
        return draw(stage, scene, *rest, **named)

    monkeypatch.setattr(several, "fetch_ahead", fetched)
    monkeypatch.setattr(predictor, "write_products", drawn)
    with pytest.raises(GeounetError, match="1 of 4 scenes failed"):
        list(predict_scenes(scenes, model, tmp_path / "out", PredictSettings()))
    assert order == ["fetch b", "draw a", "fetch missing", "draw b", "draw c"]


@needs_advice
def test_all_of_its_files_are_asked_for_up_to_a_limit(tmp_path, asked, monkeypatch):
    folder = tmp_path / "scene"
    folder.mkdir()
    for name in ("B03", "B08"):
        write_scene(folder / f"{name}.tif", wavy_dn(300, 400, bands=1), names=[name])
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    ahead.fetch_ahead(str(folder), SceneOptions(sensor="s2")).join()
    assert dict(asked) == sizes
    asked.clear()
    monkeypatch.setattr(ahead, "AHEAD_BYTES", 1000)
    ahead.fetch_ahead(str(folder), SceneOptions(sensor="s2")).join()
    assert [size for _, size in asked] == [1000]


def test_what_cannot_be_opened_is_not_told_of(tmp_path, asked, capsys):
    ahead.fetch_ahead(str(tmp_path / "missing.tif"), SceneOptions()).join()
    write_scene(tmp_path / "cut.tif", wavy_dn(40, 40), names=L2A)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:100])
    ahead.fetch_ahead(str(tmp_path / "cut.tif"), SceneOptions()).join()
    assert asked == []
    assert capsys.readouterr() == ("", "")
