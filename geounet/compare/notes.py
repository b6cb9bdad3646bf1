"""What a person should know before believing a comparison."""

import math

import numpy as np
import pandas as pd

from geounet.compare.common import CommonGround
from geounet.compare.movement import Coast, Movement
from geounet.compare.settings import CompareSettings, Measures
from geounet.compare.states import State

TIDE = (
    "the tide of each scene's second is in every number: at a slope of 1:50, a metre of tide is "
    "fifty metres"
)
TURNED = "what is called gained was lost in time; give the earlier first"
LITTLE = 0.5
"""Share of ground or coast in common below which it is said."""
SAME_SIZE = 1.01


def notes_on_states(a: State, b: State, pixels: tuple[float | None, float | None]) -> list[str]:
    """Return what speaks against comparing two states.

    Args:
        a: The earlier.
        b: The later.
        pixels: Sides of their pixels, in metres; None for vector files.
    """
    return _notes_on_times(a, b) + _notes_on_making(a, b, pixels)


def _notes_on_times(a: State, b: State) -> list[str]:
    """Return what is odd about the times of two states."""
    notes = []
    if set(a.files.values()) == set(b.files.values()):
        notes.append("both are the same files")
    elif a.time is not None and a.time == b.time:
        notes.append(f"both are of {_said(a.time)}: differences are not changes of the coast")
    if a.time is not None and b.time is not None and a.time > b.time:
        notes.append(
            f"{b.name} ({_said(b.time)}) is earlier than {a.name} ({_said(a.time)}); " + TURNED
        )
    elif (a.time is None or b.time is None) and a.date and b.date and a.date > b.date:
        notes.append(f"{b.name} ({b.date}) is earlier than {a.name} ({a.date}); {TURNED}")
    if missing := [one for one in (a, b) if one.time is None]:
        said = [f"{one.name} ({one.date})" if one.date else one.name for one in missing]
        notes.append(f"no time of day is known of {' and '.join(said)}")
    for one in (a, b):
        if len(one.times) > 1:
            notes.append(
                f"{one.name} has lines of {len(one.times)} times, {_said(one.times.iloc[0])} to "
                f"{_said(one.times.iloc[-1])}"
            )
    return notes


def _notes_on_making(a: State, b: State, pixels: tuple[float | None, float | None]) -> list[str]:
    """Return how differently two states were made."""
    notes = []
    first, second = pixels
    if first and second and max(first, second) > SAME_SIZE * min(first, second):
        notes.append(
            f"pixels are {first:.4g} m and {second:.4g} m wide: lines may be off by half a pixel "
            "of the coarser, to one side along the whole coast"
        )
    if a.sensor and b.sensor and a.sensor != b.sensor:
        notes.append(
            f"sensors differ ({a.sensor}, {b.sensor}): a shift between their grids counts as "
            "movement"
        )
    if a.method and b.method and a.method != b.method:
        notes.append(
            f"they were made in different ways ({a.method}; {b.method}): where each draws the line "
            "on wet sand counts as movement"
        )
    elif a.level is not None and b.level is not None and a.level != b.level:
        notes.append(
            f"lines were drawn at different levels ({a.method} {a.level:.3g} and {b.level:.3g}): "
            "that alone moves a line on wet or turbid ground; --threshold draws both at one"
        )
    if a.mask is not None and b.mask is not None and a.shaping != b.shaping:
        said = "; ".join(f"{one.name} {one.shaping or 'none'}" for one in (a, b))
        notes.append(
            f"lines were shaped differently ({said}): what that moved or left out counts as "
            "change; make both alike"
        )
    if a.mask is None and b.mask is None and a.water is not None and b.water is not None:
        notes.append(
            "neither file says where its author looked: all that is not water counts as land; "
            "--within limits the ground"
        )
    lines_only = [one.name for one in (a, b) if one.water is None]
    if lines_only:
        have = "have" if len(lines_only) > 1 else "has"
        notes.append(f"{' and '.join(lines_only)} {have} lines only, so no areas are compared")
    if not (a.directed or b.directed):
        notes.append(
            "nobody says on which side of the lines the water is, so distances have no sign"
        )
    return notes


def notes_on_ground(a: State, b: State, common: CommonGround) -> list[str]:
    """Return which of two states shares little ground with the other."""
    return [
        f"only {share:.0%} of the ground that {one.name} knows is known to both"
        for one, share in zip((a, b), common.share, strict=True)
        if not math.isnan(share) and share < LITTLE
    ]


def notes_on_movement(
    movement: Movement, counted: Movement, settings: CompareSettings, measures: Measures
) -> list[str]:
    """Return what to know of points.

    Args:
        movement: All of them.
        counted: Those that count.
        settings: What was asked for.
        measures: What that came to.
    """
    notes = []
    step = movement.points.step
    if not len(step):
        notes.append("there is no coast on the ground that both know")
    if suspect := float(step[movement.suspect].sum()):
        done = "counted" if settings.keep_suspect else "left out (--keep-suspect counts it)"
        notes.append(
            f"{suspect / 1000:.2f} of {step.sum() / 1000:.2f} km of coast is under suspicion of "
            f"cloud, and {done}"
        )
    found = float(counted.points.step[counted.found].sum())
    every = float(counted.points.step.sum())
    if every and found < LITTLE * every:
        notes.append(
            f"only {found / every:.0%} of the coast has a partner within {measures.reach_m:.4g} m; "
            "a longer --max-distance finds those further away"
        )
    if settings.slope is None:
        notes.append(TIDE)
    elif not counted.corrected:
        notes.append(f"no level of water is known of both, so --slope corrects nothing: {TIDE}")
    elif left := int((counted.found & np.isnan(counted.corrected_m)).sum()):
        notes.append(f"{left} points without a level of water on both dates do not count")
    return notes


def levelled(here: Coast, there: Coast) -> pd.DataFrame:
    """Return levels of water of both coasts, a row for each line."""
    columns = ["water_level_m", "level_datum"]
    tables = [one.about[columns] for one in (here, there) if len(one.about)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _said(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
