"""Batches run one after another, within a limit of memory."""

from types import SimpleNamespace

import numpy as np

from geounet.clock import Clock
from geounet.predict import running


def test_what_an_earlier_strip_has_kept_does_not_raise_the_limit(monkeypatch):
    held, limits = [5 << 30], []

    def give_back_above(resident):
        limits.append(resident)
        if held[0] > resident:
            held[0] = 1 << 30

    monkeypatch.setattr(running, "give_back_above", give_back_above)
    monkeypatch.setattr(running, "resident_bytes", lambda: held[0])
    monkeypatch.setattr(running, "stack", lambda batch: (batch, batch))
    answer = np.zeros((1, 2, 4, 4), np.float32)
    engine = SimpleNamespace(device="cpu", submit=lambda *_: lambda: answer)
    clock = Clock()
    with clock.timed("windows"):
        found = list(
            running.run_batches(engine, ["first", "second"], (), clock=clock, memory=1 << 30)
        )
    assert [batch for batch, _ in found] == ["first", "second"]
    assert limits[1:] == [(1 << 30) + (1 << 29)] * 2
