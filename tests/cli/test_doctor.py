"""geounet doctor."""

import json
from importlib import metadata

from geounet import doctor


def test_it_says_what_it_looked_at(geounet) -> None:
    run = geounet("doctor")
    assert run.status == 0
    assert "JP2OpenJPEG" in run.out
    assert "finds a known place" in run.out


def test_json_is_the_same_for_programs(geounet) -> None:
    run = geounet("doctor", "--json")
    checks = json.loads(run.out)
    assert run.status == 0
    assert {"topic", "status", "finding", "advice"} == set(checks[0])


def test_something_bad_ends_with_status_1_and_advice(geounet, monkeypatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "0.0.1")
    run = geounet("doctor")
    assert run.status == 1
    assert 'pip install "rasterio' in run.out


def test_markup_in_a_finding_is_printed_as_it_is(geounet, monkeypatch) -> None:
    monkeypatch.setattr(
        doctor, "examine_machine", lambda _: [doctor.Check("x", "ok", "a [bold] place", None)]
    )
    assert "a [bold] place" in geounet("doctor").out
