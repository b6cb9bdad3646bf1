"""Scenes and labels to a chip folder, split so that nothing leaks.

Scenes are read twice, window by window: first to see what every chip would hold, then, when it is
known which ground is for which split, to write those that are kept.
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from rasterio.windows import Window

from geounet.aoi import read_aoi
from geounet.chips import CHIPS_MARK, ChipFolder, ChipRecord, ChipWriter, open_chips
from geounet.chipset import SPLITS
from geounet.classes import IGNORE, LAND_WATER
from geounet.errors import ChipsError, LabelError, SceneError
from geounet.labels import LabelSource, open_labels
from geounet.outputs import stage_folder
from geounet.progress import Progress, silent
from geounet.scene import (
    Scene,
    SceneOptions,
    check_scene_arguments,
    expand_sources,
    gdal_environment,
    open_scene,
)
from geounet.split import (
    BlockGrid,
    Ground,
    Ints,
    default_block,
    divide,
    ground_of_chips,
    group_scenes,
    outline,
    split_of_chips,
)
from geounet.survey import LabelledScene, Survey, part_of, read_groups, survey_chips
from geounet.vectors import crs_name

logger = logging.getLogger(__name__)

SAME_RES = 0.1
"""How far pixel sizes may differ: degrees of longitude are shorter further north."""


@dataclass(frozen=True)
class LabelSettings:
    """Where the labels are and what they mean; see `open_labels`."""

    paths: tuple[str, ...]
    """One for all scenes, or one for each; none where nothing is known."""
    values: str | None = None
    water: bool | None = None
    layer: str | None = None
    where: str | None = None
    shares: bool = False
    """Whether chips have how much of each pixel is water, too."""

    def __post_init__(self) -> None:
        given = {
            "--label-values": self.values,
            "--labels-are": self.water,
            "--labels-layer": self.layer,
            "--labels-where": self.where,
            "--water-shares": self.shares or None,
        }
        if not self.paths and (wrong := [name for name, v in given.items() if v is not None]):
            raise LabelError(
                f"{', '.join(wrong)} says what labels mean, and there are none. Give their file "
                "with --labels."
            )


@dataclass(frozen=True)
class TileSettings:
    """How scenes are cut into chips, and chips divided among splits."""

    size: int
    """Side of a chip's core, in pixels."""
    stride: int
    """Distance between chips, in pixels."""
    context: int
    """Pixels of real neighbours around the core."""
    min_valid: float
    """Least share of a chip's pixels, in the area of interest, with data and, where there are
    labels, a known one."""
    val: float
    """Share of the chips for validation."""
    test: float
    """Share of the chips for testing; the rest is for training."""
    seed: int
    split_by: Literal["block", "scene"]
    block: float | None = None
    """Side of the blocks in metres; None: from the size of the chips."""
    aoi: Path | None = None
    aoi_buffer: float | None = None
    """By how much the area's shapes are widened, in metres."""

    def __post_init__(self) -> None:
        if not (0 <= self.val <= 1 and 0 <= self.test <= 1 and self.val + self.test <= 1):
            raise ChipsError(
                f"--val {self.val:g} and --test {self.test:g} are no shares of one whole. "
                "Give shares that sum to 1 at most."
            )

    @property
    def side(self) -> int:
        """Side of a chip with its context, in pixels."""
        return self.size + 2 * self.context

    @property
    def shares(self) -> tuple[float, float, float]:
        """Share of each split, in the order of `SPLITS`."""
        # Rounded, or 1 - 0.8 - 0.2 leaves a share for training that nobody asked for.
        return round(1 - self.val - self.test, 9), self.val, self.test


def tile_scenes(
    sources: Sequence[str | Path],
    labels: LabelSettings,
    out: Path,
    settings: TileSettings,
    *,
    options: SceneOptions,
    overwrite: bool,
    progress: Progress = silent,
) -> ChipFolder:
    """Cut scenes and their labels into chips; or scenes alone, to learn from without labels.

    Args:
        sources: The scenes, or collections of STAC items; all with the same bands, sensor, level
            and resolution.
        labels: Their labels.
        out: Folder to write.
        settings: How to cut and divide.
        options: What the user says about the scenes.
        overwrite: Whether a chip folder in the way may be replaced.
        progress: Told about the windows.

    Returns:
        The folder, written and opened.

    Raises:
        SceneError: A scene cannot be read, holds no data, is smaller than a chip, or is not like
            the first.
        LabelError: Labels cannot be read, do not touch their scene, or hold unknown values.
        AreaError: The area of interest cannot be read or does not touch a scene.
        ChipsError: A split would be empty.
        OutputError: The folder exists or cannot be written.
    """
    check_scene_arguments(sources)
    sources = expand_sources([str(source) for source in sources])
    with gdal_environment(), stage_folder(out, overwrite=overwrite, mark=CHIPS_MARK) as folder:
        pairs = _pair_up(sources, labels, settings, options)
        surveys = []
        for pair in pairs:
            with pair.opened() as source:
                surveys.append(
                    survey_chips(
                        source, size=settings.size, stride=settings.stride, progress=progress
                    )
                )
        plan = _divide(pairs, surveys, settings)
        first = pairs[0].scene
        writer = ChipWriter(
            folder,
            bands=first.bands,
            classes=pairs[0].classes,
            labelled=bool(labels.paths),
            shares=labels.shares,
            sensor=first.sensor,
            level=first.level,
            context=settings.context,
        )
        for pair, kept in zip(pairs, plan.kept, strict=True):
            with pair.opened() as source:
                _write(writer, source, kept, settings, progress)
        writer.finish(
            size=settings.size,
            stride=settings.stride,
            res_m=first.res_m,
            split=plan.record,
            sources=[pair.record() for pair in pairs],
        )
    _warn_of_one_sided_splits(chips := open_chips(out))
    return chips


def _pair_up(
    sources: Sequence[str | Path],
    labels: LabelSettings,
    settings: TileSettings,
    options: SceneOptions,
) -> list[LabelledScene]:
    """Join scenes and labels, and find what is wrong with them before the long work."""
    if len(labels.paths) not in (0, 1, len(sources)):
        raise LabelError(
            f"There are {len(sources)} scenes and {len(labels.paths)} label files. Give --labels "
            "once for all scenes, or once for each, in the same order; or not at all."
        )
    opened = [
        open_labels(
            path, values=labels.values, water=labels.water, layer=labels.layer, where=labels.where
        )
        for path in labels.paths
    ]
    if len({source.classes for source in opened}) > 1:
        raise LabelError("Rasters and polygons have different classes here. Give one kind only.")
    if labels.shares and opened[0].classes != LAND_WATER:
        raise LabelError(
            f"--water-shares is for land and water alone, and {labels.paths[0]} has "
            f"{', '.join(one.name for one in opened[0].classes)}. Leave it out."
        )
    known: list[tuple[LabelSource, str] | tuple[None, None]] = [(None, None)]
    if opened:
        known = list(zip(opened, labels.paths, strict=True))
    pairs: list[LabelledScene] = []
    for i, source in enumerate(sources):
        of_scene, path = known[i % len(known)]
        with open_scene(source, options) as scene:
            first = pairs[0].scene if pairs else scene
            _check_scene(scene, first, settings)
            scene.scaling(first.bands)  # raises where nothing says the scale
            told = scene.describe()
        name = _unlike_name(scene.name, [pair.name for pair in pairs])
        if of_scene is not None:
            of_scene.prepare(scene.geobox, scene=name)
            if labels.shares:
                # Raises where they cannot tell; at the far corner a difference in pixels adds up.
                for corner in (np.s_[:1, :1], np.s_[-1:, -1:]):
                    of_scene.read_shares(scene.geobox[corner])
        aoi = None
        if settings.aoi is not None:
            aoi = read_aoi(settings.aoi, scene.geobox, buffer_m=settings.aoi_buffer)
        pairs.append(LabelledScene(name, scene, of_scene, path, aoi, first.bands, options, told))
    return pairs


def _check_scene(scene: Scene, first: Scene, settings: TileSettings) -> None:
    """Check that a scene holds a chip, and can be in one folder, with one list of bands."""
    ids, first_ids = ({band.id for band in s.bands} for s in (scene, first))
    differences = [
        f"{what} {theirs} against {ours}"
        for what, theirs, ours in (
            ("sensor", scene.sensor, first.sensor),
            ("level", scene.level, first.level),
        )
        if theirs != ours
    ]
    if more := sorted(ids - first_ids):
        differences.append(f"bands {', '.join(more)} more")
    if less := sorted(first_ids - ids):
        differences.append(f"bands {', '.join(less)} less")
    if not np.allclose(scene.res_m, first.res_m, rtol=SAME_RES):
        sizes = [f"{x:.4g} × {y:.4g} m" for x, y in (scene.res_m, first.res_m)]
        differences.append(f"pixels of {sizes[0]} against {sizes[1]}")
    if differences:
        coarser = max(max(s.res_m) for s in (scene, first))
        raise SceneError(
            f"{scene.source} is not like {first.source}: {'; '.join(differences)}. Chips of one "
            "folder have the same bands and pixels: tile them apart, choose with --bands, or bring "
            f"them to one size with --res {coarser:.4g}."
        )
    height, width = scene.geobox.shape
    if min(height, width) < settings.size:
        raise SceneError(
            f"{scene.source} has {height} × {width} pixels, less than a chip of "
            f"{settings.size}. Give --size {min(height, width)} or less."
        )


def _unlike_name(name: str, others: Sequence[str]) -> str:
    """Return a name unlike the others, with a number behind it where it has to be."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in others)


class _Kept(NamedTuple):
    """The chips of a scene that are kept; each (chips,)."""

    chips: Survey
    split: list[str]
    block: list[str]


class _Plan(NamedTuple):
    """Which chips are for which split."""

    kept: list[_Kept]
    """For each scene."""
    record: dict[str, Any]
    """As `dataset.json` has it."""


def _divide(
    pairs: Sequence[LabelledScene], surveys: Sequence[Survey], settings: TileSettings
) -> _Plan:
    """Decide which chips are kept, and for which split."""
    usable = [(s.known > 0) & (s.known >= settings.min_valid * s.within) for s in surveys]
    chips = [s.take(which) for s, which in zip(surveys, usable, strict=True)]
    outside = sum(int((s.within == 0).sum()) for s in surveys)
    too_little = sum(int((~which).sum()) for which in usable) - outside
    if not any(len(c.rows) for c in chips):
        what = "data" if pairs[0].labels is None else "data and known labels"
        raise ChipsError(
            f"None of {too_little} chips has {what} in {settings.min_valid:.0%} of its pixels. Use "
            "a smaller --min-valid or --size."
        )
    res_m = max(max(pair.scene.res_m) for pair in pairs)
    # Wider than a chip with its context: neither what is trained on nor what surrounds it is
    # seen by another split, nor are their neighbours, which look like them.
    gap_m = (settings.side + 1) * res_m
    ground, names, block_m = _ground(
        pairs, chips, settings, side_m=settings.side * res_m, gap_m=gap_m
    )
    amounts = np.concatenate([_amounts(p, c) for p, c in zip(pairs, chips, strict=True)])
    division = divide(ground, amounts, shares=settings.shares, seed=settings.seed)
    touched = np.array([division[code] for code in ground.block.tolist()])
    split = split_of_chips(touched, np.flatnonzero(np.diff(ground.chip, prepend=-1)))
    _check_not_empty(split, ground, settings, block_m)

    kept, taken = [], 0
    for c in chips:
        own = slice(taken, taken + len(c.rows))
        stays = split[own] >= 0
        homes = ground.home[own][stays].tolist()
        kept.append(
            _Kept(
                c.take(stays),
                [SPLITS[i] for i in split[own][stays].tolist()],
                [names[code] for code in homes],
            )
        )
        taken = own.stop
    record = {
        "by": settings.split_by,
        "seed": settings.seed,
        "shares": dict(zip(SPLITS, settings.shares, strict=True)),
        "block_m": block_m,
        "gap_m": gap_m,
        "min_valid": settings.min_valid,
        "aoi": None if settings.aoi is None else settings.aoi.name,
        "aoi_buffer_m": settings.aoi_buffer,
        "dropped": {
            "in the gap between splits": int((split < 0).sum()),
            "too little valid": too_little,
            "outside of the area of interest": outside,
        },
    }
    return _Plan(kept, record)


def _ground(
    pairs: Sequence[LabelledScene],
    chips: Sequence[Survey],
    settings: TileSettings,
    *,
    side_m: float,
    gap_m: float,
) -> tuple[Ground, dict[int, str], float | None]:
    """Return what the chips touch, the names of the blocks, and their side in metres."""
    if settings.split_by == "scene":
        groups = group_scenes([pair.scene.geobox for pair in pairs], gap_m=gap_m)
        parts = []
        for group, c in zip(groups, chips, strict=True):
            codes = np.full(len(c.rows), group, dtype=np.int64)
            parts.append(Ground(np.arange(len(codes)), codes, codes))
        names = {
            group: min(p.name for p, g in zip(pairs, groups, strict=True) if g == group)
            for group in groups
        }
        return Ground.join(parts), names, None
    wanted = settings.block or max(
        default_block(pair.scene.geobox, side_m=side_m, gap_m=gap_m) for pair in pairs
    )
    grid = BlockGrid.nearest(wanted)
    ground = Ground.join(
        [
            ground_of_chips(
                pair.scene.geobox,
                c.rows - settings.context,
                c.cols - settings.context,
                side=settings.side,
                gap_m=gap_m,
                grid=grid,
            )
            for pair, c in zip(pairs, chips, strict=True)
        ]
    )
    return ground, {code: grid.name(code) for code in set(ground.home.tolist())}, grid.side


def _amounts(pair: LabelledScene, chips: Survey) -> Ints:
    """Return what is shared out evenly: land and water in square metres, coast in metres.

    Without labels all ground with data passes for land.
    """
    pixel_m2 = pair.scene.res_m[0] * pair.scene.res_m[1]
    land, water = (chips.known - chips.water) * pixel_m2, chips.water * pixel_m2
    return np.rint(np.column_stack([land, water, chips.coast_m])).astype(np.int64)


def _check_not_empty(
    split: Ints, ground: Ground, settings: TileSettings, block_m: float | None
) -> None:
    """Raise if a split that was asked for has no chips."""
    empty = [
        name
        for i, (name, share) in enumerate(zip(SPLITS, settings.shares, strict=True))
        if share > 0 and not (split == i).any()
    ]
    if not empty:
        return
    what = f"There are no chips for {' and '.join(empty)}"
    count = len(set(ground.home.tolist()))
    if block_m is None:
        raise ChipsError(
            f"{what}: {count} scenes, or groups of scenes that share ground, cannot be divided. "
            "Add scenes, use --split-by block, or set --val 0 or --test 0."
        )
    raise ChipsError(
        f"{what}: {len(split)} chips lie in {count} blocks of {block_m / 1000:.3g} km, and "
        f"{int((split < 0).sum())} of them near two splits. Use a smaller --size, "
        f"{'a smaller' if count < 10 else 'a larger'} --block (in metres), or another --seed; or "
        "set --val 0 or --test 0."
    )


def _write(
    writer: ChipWriter,
    pair: LabelledScene,
    kept: _Kept,
    settings: TileSettings,
    progress: Progress,
) -> None:
    """Write the chips of a scene that are kept."""
    size, context, side = settings.size, settings.context, settings.side
    chips, geobox = kept.chips, pair.scene.geobox
    footprints = outline(geobox, chips.rows, chips.cols, shape=(size, size), per_edge=2).polygons()
    core = slice(context, context + size)
    crs, unlabelled = crs_name(geobox), pair.labels is None
    groups = list(read_groups(chips.rows, chips.cols, size=size, context=context))
    for window, members in progress(groups, label=f"writing {pair.name}", total=len(groups)):
        values, known = pair.read(window, context)
        shares = pair.read_shares(window, context, known) if writer.shares else None
        for i in members:
            row, col = int(chips.rows[i]), int(chips.cols[i])
            record = ChipRecord(
                chip=f"{pair.name}_{row:05d}_{col:05d}",
                split=kept.split[i],
                block=kept.block[i],
                scene=pair.name,
                time=pair.scene.time,
                row=row,
                col=col,
                crs=crs,
                water=float("nan" if unlabelled else chips.water[i] / chips.known[i]),
                valid=float(chips.known[i] / size**2),
                coast_m=float(chips.coast_m[i]),
                geometry=footprints[i],
            )
            outer = Window(col_off=col - context, row_off=row - context, width=side, height=side)
            part = part_of(window, outer.row_off, outer.col_off, side)
            # The ring has labels where it is the core of the chip beside it.
            ring = np.ones((side, side), dtype=bool)
            ring[core, core] = False
            label = np.where(ring, np.uint8(IGNORE), known[part])
            share = None if shares is None else np.where(ring, np.float32(np.nan), shares[part])
            writer.write(record, values[:, *part], label, pair.grid(outer), share)


def _warn_of_one_sided_splits(chips: ChipFolder) -> None:
    for split, row in chips.summary().iterrows():
        if row["water"] in (0, 1):
            logger.warning(
                "Split %s has no %s: scores on it will say little. Try another --seed.",
                split,
                "water" if row["water"] == 0 else "land",
            )
