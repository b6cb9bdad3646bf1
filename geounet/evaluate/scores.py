"""Scores of a prediction: how many pixels agree with the truth, and how far lines are from it."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet import __version__
from geounet.chips import open_chips
from geounet.distances import (
    FARTHER,
    Pieces,
    Plane,
    Points,
    match_points,
    nearest_on,
    points_along,
)
from geounet.errors import ChipsError, LabelError, OutputError, ResultError
from geounet.evaluate.comparison import Compared, Comparison, compare
from geounet.evaluate.line_scores import BUFFERS_M, BUFFERS_PX, LineErrors
from geounet.evaluate.prediction import LineChoice, Prediction, open_prediction
from geounet.evaluate.reference import (
    Reference,
    ReferenceOptions,
    near_and_fine,
    open_reference,
    reference_pieces,
    trace_boundary,
)
from geounet.inputs import refuse_files
from geounet.outputs import SCORES, sha256_of, stage_file
from geounet.progress import Progress, silent
from geounet.scene import gdal_environment
from geounet.vectors import (
    Geometries,
    bounds_touch,
    crs_of,
    describe_bounds,
    grid_bounds,
    project,
    split_layer,
)

FORMAT = 1
"""Of the scores as JSON."""

logger = logging.getLogger(__name__)

MOSTLY = 0.5
"""Share of a line that has to match; of less, the figures are hardly of one coast."""


@dataclass(frozen=True)
class EvaluateSettings:
    """What to compare, and how."""

    name: str | None = None
    """Which result of a folder."""
    pixel_m: float | None = None
    """What a pixel is to predicted lines or polygons that come without a grid, in metres."""
    mask_values: str | None = None
    """What the values of a mask raster of someone else's mean."""
    reference: ReferenceOptions = field(default_factory=ReferenceOptions)
    within: Path | None = None
    """Chip folder; only ground of its split counts."""
    split: str = "test"
    max_distance: float = 5.0
    """Lines further apart than this, in pixels, do not match."""
    step: float = 1.0
    """From point to point along each line, in pixels."""
    lines: LineChoice = field(default_factory=LineChoice)
    """Which of the predicted lines count."""
    block_km: float = 1.0
    """Side of the blocks of ground that are drawn for intervals."""
    seed: int = 0
    """Of these draws."""


class Evaluation(NamedTuple):
    """What came of holding a prediction against the truth."""

    scores: dict[str, Any]
    """As JSON has them."""
    errors: LineErrors
    """Every point of both lines, with its distance to the other."""


def evaluate_prediction(
    path: Path,
    references: Sequence[str],
    settings: EvaluateSettings,
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return the scores of `measure_prediction` alone."""
    return measure_prediction(path, references, settings, progress=progress).scores


def measure_prediction(
    path: Path,
    references: Sequence[str],
    settings: EvaluateSettings,
    *,
    progress: Progress = silent,
) -> Evaluation:
    """Hold a prediction against the truth.

    A reference that is an area (raster or polygons) gives pixel scores, and distances to its
    outlines; lines give distances, and are taken for them where both are given.

    Args:
        path: A folder of results, a record `NAME.json`, a mask raster, or lines or polygons of
            water.
        references: Areas or lines; at most one area.
        settings: What to compare, and how.
        progress: Told of every block.

    Returns:
        Scores, and the distances of which they are made.

    Raises:
        ResultError: The prediction cannot be read, has no lines of those that are to count, or has
            no ground in common with the truth.
        LabelError: A reference cannot be read.
        ChipsError: The chip folder cannot be read, or has no such split.
    """
    with gdal_environment():
        prediction = open_prediction(
            path, name=settings.name, values=settings.mask_values, pixel_m=settings.pixel_m
        )
        opened = [open_reference(text, settings.reference) for text in references]
        areas = [one for one in opened if one.area is not None]
        if len(areas) > 1:
            raise LabelError(
                f"{areas[0].text} and {areas[1].text} are both areas. Give one --reference with "
                "land and water; others may be lines."
            )
        given = (settings.reference.water, settings.reference.values)
        if not areas and given != (None, None):
            raise LabelError(
                f"{opened[0].text} has lines: --labels-are and --label-values are for areas."
            )
        for one in opened:
            _check_ground(one, prediction)
        return _score(prediction, opened, settings, progress)


def _check_ground(reference: Reference, prediction: Prediction) -> None:
    """Check that a reference touches the scene, and an area's values are known."""
    if reference.area is not None:
        try:
            reference.area.prepare(prediction.geobox, scene=prediction.name)
        except LabelError as error:  # references are read as labels are, by an option of their own
            raise LabelError(str(error).replace("--labels.", "--reference.")) from None
        return
    lines = reference.lines
    assert lines is not None
    if not bounds_touch(lines.bounds, lines.crs, prediction.geobox):
        scene = describe_bounds(grid_bounds(prediction.geobox), crs_of(prediction.geobox))
        raise LabelError(
            f"The reference does not touch the scene: {reference.text} has "
            f"{describe_bounds(lines.bounds, lines.crs)}, {prediction.name} has {scene}."
        )


def _score(
    prediction: Prediction,
    references: Sequence[Reference],
    settings: EvaluateSettings,
    progress: Progress,
) -> Evaluation:
    plane = Plane(prediction.geobox)
    pixel_m = plane.pixel_m
    reach = settings.max_distance * pixel_m
    # Buffers may be wider than lines may lie apart.
    search = max(reach, *BUFFERS_M, max(BUFFERS_PX) * pixel_m)
    drawn = [one for one in references if not one.directed] or list(references)
    framed = prediction.drawn is None
    truth = join(
        [reference_pieces(one, plane, reach=FARTHER * search, framed=framed) for one in drawn]
    )
    line, chosen = _predicted_pieces(prediction, plane, settings.lines, reach=FARTHER * search)
    step = settings.step * pixel_m
    along, along_truth = points_along(line, step), points_along(truth, step)

    area = next((one.area for one in references if one.area is not None), None)
    within = _ground_of_split(settings, prediction)
    block_m = 1000 * settings.block_km
    compared = compare(
        Comparison(prediction.geobox, prediction.mask, area, within, block_m),
        [plane.to_pixels(along.xy), plane.to_pixels(along_truth.xy)],
        progress,
    )
    along, along_truth = map(Points.keep, (along, along_truth), compared.points)
    counts, counts_truth = chosen[along.line], _beside(along_truth, line, chosen, reach)
    left_out = {
        "predicted_m": float(along.step[~counts].sum()),
        "reference_m": float(along_truth.step[~counts_truth].sum()),
    }
    along, along_truth = along.keep(counts), along_truth.keep(counts_truth)
    directed = all(one.directed for one in drawn)
    here = match_points(along, truth, plane, within=search, directed=directed)
    chosen_line = line.keep(chosen[line.line])
    there = match_points(
        along_truth, chosen_line, plane, within=search, directed=prediction.directed
    )
    errors = LineErrors(
        plane,
        here,
        there.seen_from_other(),
        reach_m=reach,
        signed=directed or prediction.directed,
        block_m=block_m,
    )
    side_from = "reference" if directed else "prediction" if prediction.directed else None
    lines = errors.record(seed=settings.seed)
    if note := _chance_note(lines, settings.max_distance, reach):
        logger.warning("%s: %s.", prediction.name, note)
    missed = {name: lines["truth"][name] for name in ("matched_m", "unmatched_m", "matched_share")}
    scores = {
        **_record(prediction, references, settings),
        "pixels": _pixel_scores(compared, prediction, settings)
        if area is not None and prediction.mapped
        else None,
        "lines": {
            "reference": [one.text for one in drawn],
            "pixel_m": pixel_m,
            "step_px": settings.step,
            "max_distance_px": settings.max_distance,
            "side_from": side_from,
            "chosen": {
                "kind": settings.lines.kind,
                "cloud_suspect": not settings.lines.exclude_cloud_suspect,
                "left_out": left_out,
            },
            "missed": missed,
            **lines,
        },
    }
    return Evaluation(scores, errors)


def _chance_note(lines: Mapping[str, Any], max_distance: float, reach_m: float) -> str | None:
    """Return what to say of two lines that hardly match; None where they do."""
    shares = [lines[way]["matched_share"] for way in ("predicted", "truth")]
    known = [share for share in shares if share is not None]
    if not known or min(known) >= MOSTLY:
        return None
    here, there = ("nothing" if share is None else f"{share:.1%}" for share in shares)
    return (
        f"{here} of the predicted line and {there} of the reference have the other within "
        f"{max_distance:g} pixels ({reach_m:.3g} m): where little matches, distances are of pairs "
        "that met by chance. Check that both show the same coast at the same time, or give a "
        "longer --max-distance"
    )


def _beside(
    points: Points, line: Pieces, chosen: NDArray[np.bool_], reach: float
) -> NDArray[np.bool_]:
    """Return which points of a reference count: not those whose nearest line is left out."""
    if chosen.all():
        return np.ones(len(points.xy), dtype=np.bool_)
    near = nearest_on(line, points.xy, within=reach)
    return ~near.found | chosen[line.line[near.piece]]


def _record(
    prediction: Prediction, references: Sequence[Reference], settings: EvaluateSettings
) -> dict[str, Any]:
    """Return what was compared with what."""
    chips = settings.within
    return {
        "format": FORMAT,
        "geounet": __version__,
        "command": "evaluate",
        "prediction": {
            "name": prediction.name,
            "path": str(prediction.path),
            "sha256": sha256_of(split_layer(str(prediction.path))[0]),
        },
        "references": [{"path": one.text, "kind": one.kind} for one in references],
        "within": {"chips": str(chips), "split": settings.split} if chips else None,
    }


def _pixel_scores(
    compared: Compared, prediction: Prediction, settings: EvaluateSettings
) -> dict[str, Any]:
    scores = compared.counts.scores()
    if not scores["compared"]:
        left_out = ", ".join(
            f"{n} {why.replace('_', ' ')}" for why, n in scores["left_out"].items()
        )
        raise ResultError(
            f"{prediction.path} and the reference know no pixel in common; of the prediction's "
            f"are {left_out}."
        )
    return {**scores, **compared.blocks.record(seed=settings.seed)}


def _predicted_pieces(
    prediction: Prediction, plane: Plane, choice: LineChoice, *, reach: float
) -> tuple[Pieces, NDArray[np.bool_]]:
    """Return the predicted lines on the plane, and which of them count, by their numbers.

    They are those that came with the mask, or else the mask's, or what someone drew.
    """
    geobox = prediction.geobox
    if prediction.lines is not None:
        lines, crs, chosen = prediction.read_lines(choice)
        drawn = Pieces.from_lines(lines)
        if crs != crs_of(geobox):  # simplified lines have long edges, bent on the plane
            drawn = near_and_fine(drawn, crs, plane, reach)
        return drawn.transformed(plane.from_crs(crs)), chosen
    if choice.columns:
        raise ResultError(
            f"{prediction.path} is no result of geounet: it does not say what kind its lines are "
            "or where clouds were, which --kind and --exclude-cloud-suspect need."
        )
    if prediction.drawn is not None:
        pieces = reference_pieces(prediction.drawn, plane, reach=reach, framed=False)
    else:
        water = frozenset(one.value for one in prediction.mask.classes if one.water)
        traced = trace_boundary(prediction.mask, geobox, water)
        pieces = traced.transformed(plane.from_crs(crs_of(geobox)))
    return pieces, np.ones(int(pieces.line.max(initial=-1)) + 1, dtype=np.bool_)


def _ground_of_split(settings: EvaluateSettings, prediction: Prediction) -> Geometries | None:
    """Return the polygons, on the scene's grid, in which pixels and lines count."""
    if settings.within is None:
        return None
    blocks = open_chips(settings.within).blocks(settings.split)
    if blocks.empty:
        raise ChipsError(
            f"{settings.within} has no chips in split {settings.split}. Give another --split."
        )
    geobox = prediction.geobox
    ground = project(np.asarray(blocks.array), blocks.crs, crs_of(geobox), geobox)
    if not shapely.intersects(ground, shapely.box(*grid_bounds(geobox))).any():
        raise ResultError(
            f"No ground of split {settings.split} of {settings.within} lies in {prediction.name}."
        )
    return ground


def join(parts: Sequence[Pieces]) -> Pieces:
    """Put pieces of several sources together; lines stay apart."""
    shift = np.cumsum([0, *(part.line.max(initial=-1) + 1 for part in parts)])
    return Pieces(
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.end for part in parts]),
        np.concatenate([part.line + by for part, by in zip(parts, shift, strict=False)]),
    )


class ScoreFiles(NamedTuple):
    """What is written of an evaluation."""

    scores: Path
    figure: Path
    errors: Path

    @classmethod
    def beside(cls, scores: Path) -> Self:
        """Name the others after the scores: `NAME.scores.png` and `NAME.errors.gpkg`."""
        stem = scores.name.removesuffix(SCORES).removesuffix(".json")
        return cls(scores, scores.with_suffix(".png"), scores.with_name(f"{stem}.errors.gpkg"))


def check_writable(path: Path, *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse to replace scores, or what goes with them, unasked, before any work is done.

    Args:
        path: Where the scores go.
        overwrite: Whether those that are there may be replaced.
        inputs: What they are made from, which is never replaced.

    Raises:
        OutputError: They are there, are inputs, or would take one another's place.
    """
    files = ScoreFiles.beside(path)
    if path == files.figure:
        raise OutputError(f"{path} is where the figure goes. Give a --json that ends in .json.")
    refuse_files(files, inputs)
    there = [file for file in files if file.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{there[0]} exists already. Use --overwrite to replace it, or another --json."
        )


def write_scores(scores: dict[str, Any], path: Path) -> None:
    """Write scores as JSON, whole or not at all.

    Raises:
        OutputError: They cannot be written.
    """
    with stage_file(path) as draft:
        text = json.dumps(scores, indent=1, ensure_ascii=False, allow_nan=False)
        draft.write_text(f"{text}\n", encoding="utf-8")
