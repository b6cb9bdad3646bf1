"""MODEL.md: what a model file is, for people who decide whether to use it.

Everything in it comes from the header of the model file, so that the two cannot disagree.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from geounet.chipset import SPLITS
from geounet.config import Config, restores_bands
from geounet.line_errors import STRAY_PX
from geounet.metrics import ALL_WATER, LEAST_BLOCKS
from geounet.model_file import ModelHeader
from geounet.outputs import stage_file

CARD = "MODEL.md"
FEW_BLOCKS = 10
"""Fewer than these say little of the spread between places."""
MOST_ROWS = 40
"""Of a table of scenes."""
JUDGED = {"val": "validation", "test": "test"}
ODD_THRESHOLD = 0.2
"""A suggested threshold that is further than this from 0.5 says that probabilities are not true."""


def write_card(header: ModelHeader, path: Path, *, model: str, pictures: Mapping[str, str]) -> None:
    """Write the card of a model.

    Args:
        header: Of the model file.
        path: The card.
        model: Name of the model file, which lies beside it.
        pictures: What files beside it show, by their names.

    Raises:
        OutputError: It cannot be written.
    """
    with stage_file(path) as draft:
        draft.write_text(describe_model(header, model=model, pictures=pictures), encoding="utf-8")


def describe_model(header: ModelHeader, *, model: str, pictures: Mapping[str, str]) -> str:
    """Return the text of the card, in Markdown; as `write_card`."""
    restores = restores_bands(header.network.settings)
    sections = {
        "What it takes": _input(header),
        "What counts as water": () if restores else _classes(header),
        "Data": _data(header),
        "Licence": _licence(header),
        "Network and training": _training(header),
        "Errors": _errors(header) if restores else (),
        "Scores": () if restores else _scores(header),
        "The line": () if restores else _line(header),
        "Known failures": () if restores else _failures(header),
        "Pictures": (f"![{shows}]({name})\n\n{shows}.\n" for name, shows in pictures.items()),
    }
    tells = " and ".join(one.name for one in header.label_classes)
    if restores:
        tells = "its own bands, to start others from"
    use = "train CHIPS --from" if restores else "predict SCENE --model"
    parts = [
        f"# {header.network.name}: {tells}\n",
        f"What is in `{model}`, written by geounet {header.geounet} when it was trained.\n",
        f"    geounet {use} {model} --out out/\n",
    ]
    for title, lines in sections.items():
        text = "\n".join(lines)
        if text:
            parts.append(f"## {title}\n\n{text}")
    return "\n".join(parts).rstrip() + "\n"


def _input(header: ModelHeader) -> Iterator[str]:
    sensor = f"{header.sensor or 'unknown sensor'}, {header.level or 'unknown level'}"
    assert header.res_m is not None  # of what was trained
    across, down = header.res_m
    yield f"Scenes of {sensor}, in pixels of {across:g} × {down:g} m, with these bands by name:\n"
    rows = [
        (band.name, band.common_name or "–", _number(band.wavelength_nm, "{:g}"))
        for band in header.band_list
    ]
    yield from _table(("band", "common name", "nm"), rows)
    yield f"The network is given {header.reflectance}.\n"


def _classes(header: ModelHeader) -> Iterator[str]:
    rows = [
        (str(one.value), one.name, "water" if one.water else "land") for one in header.label_classes
    ]
    yield from _table(("value", "class", "counts as"), rows)
    yield (
        "Beyond the names, water is what the labels say it is: surf and foam, wet sand, floating "
        "ice, mangrove and kelp were learned as they were labelled. What is drawn is the waterline "
        "at the second of the scene, not a charted coastline.\n"
    )


def _data(header: ModelHeader) -> Iterator[str]:
    chips, data = header.training.get("chips", {}), header.training.get("data", {})
    counts = [f"{count} {split}" for split, count in _in_order(chips)]
    if not counts:
        yield "Nothing is recorded of the data.\n"
        return
    side = f" of {data['size']} × {data['size']} pixels" if "size" in data else ""
    yield f"Chips{side}: {', '.join(counts)}. Fingerprint `{chips['fingerprint']}`.\n"
    if contents := data.get("splits"):
        rows = [
            (
                split,
                str(of["chips"]),
                _percent(of["water_share"]),
                _number(of["coast_km"], "{:g}"),
            )
            for split, of in _in_order(contents)
        ]
        yield from _table(("split", "chips", "water", "coast, km"), rows)
    if split := data.get("split"):
        rest = {name: value for name, value in split.items() if _plain(value) and name != "by"}
        told = ", ".join(f"{name} {_short(value)}" for name, value in sorted(rest.items()))
        yield f"Divided by {split.get('by', '?')}: {told}.\n"
    yield from _sources(data.get("sources") or ())


def _in_order(by_split: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what there is of each split, not by the alphabet, as a file has them."""
    yield from ((split, by_split[split]) for split in SPLITS if split in by_split)


def _sources(sources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table of the scenes that chips are from."""
    if not sources:
        return
    keys = ("scene", "time", "labels")
    rows = [[str(source.get(key) or "–") for key in keys] for source in sources]
    titles = ["scene", "seen at", "labels"]
    if all("chips" in source for source in sources):
        titles += [f"{split} chips" for split, _ in _in_order(sources[0]["chips"])]
        for row, source in zip(rows, sources, strict=True):
            row += [str(count) for _, count in _in_order(source["chips"])]
    yield from _table(titles, rows, most=MOST_ROWS)


def _licence(header: ModelHeader) -> Iterator[str]:
    if header.licence:
        yield f"Of the weights: {header.licence}. Scenes and labels have licences of their own.\n"
    else:
        yield (
            "None is stated (`geounet train --licence`): ask whoever trained it before you pass "
            "it on.\n"
        )


def _training(header: ModelHeader) -> Iterator[str]:
    record = header.training
    sees = (
        "no exact halo" if header.halo_exact is None else f"sees {header.halo_exact} pixels around"
    )
    predicted = (
        f"; predicted with a halo of {header.halo_default} pixels, which changes no probability on "
        f"validation chips by more than {header.halo_error:.2g}"
    )
    if header.halo_default == header.halo_exact:
        predicted = ", and is predicted with all of them"
    if header.halo_exact is None:
        predicted = "; predicted in windows that overlap and are blended"
    if (blend := header.blend) is not None:
        sees += f" ({blend.why})"
        predicted += f": {blend.window} pixels wide, {blend.overlap} of them shared"
    if restores_bands(header.network.settings):
        predicted = "; gives back the bands that it is given, and looked at no label"
    yield f"{header.network.name}: {sees}, stride {header.stride}{predicted}.\n"
    if "epochs" in record:
        judged = record.get("loss", {}).get("val") is not None
        why = "the best on the validation chips, so that their scores flatter"
        yield (
            f"Trained for {record['epochs']} epochs on {record.get('device')} in "
            f"{record.get('precision')}; the weights are those of epoch {record['best_epoch']}, "
            f"{why if judged else 'the last: there were no validation chips'}.\n"
        )
    if record.get("config", {}).get("labels") == "shares":
        yield (
            "Learned how much of each pixel is water, of polygons or finer pixels, not which class "
            "its centre is; scores are by classes all the same.\n"
        )
    if start := record.get("start"):
        source = start.get("weights") or f"{start['model']} (SHA-256 {start['sha256'][:12]} …)"
        new = f"; it had not seen {', '.join(start['new_bands'])}" if start["new_bands"] else ""
        yield f"Started from {source}{new}.\n"
    network = header.network.settings.model_dump(mode="json", exclude_defaults=True)
    settings = {"network": {"kind": header.network.settings.kind, **network}}
    if "config" in record:
        settings["recipe"] = _differing(record["config"], Config().model_dump(mode="json"))
    text = yaml.safe_dump(settings, allow_unicode=True)
    yield f"Settings other than the defaults; the model file has them all:\n\n```yaml\n{text}```\n"


def _differing(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is other than the defaults, group by group."""
    found: dict[str, Any] = {}
    for key, value in fields.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict) and default:
            if inner := _differing(value, default):
                found[key] = inner
        elif key not in defaults or value != default:
            found[key] = value
    return found


def _errors(header: ModelHeader) -> Iterator[str]:
    scores = header.training.get("scores", {})
    if not scores:
        yield "Not known: there were neither validation nor test chips.\n"
        return
    yield (
        "Root mean squared difference between a band and what the network gives back, in "
        "reflectance, beside the band's own spread.\n"
    )
    rows = [
        (
            band.name,
            f"{spread:.4f}",
            *(f"{of_split['rmse'][band.id]:.4f}" for _, of_split in _by_split(scores)),
        )
        for band, spread in zip(header.band_list, header.chip_statistics[1], strict=True)
    ]
    yield from _table(("band", "spread", *(split for split, _ in _by_split(scores))), rows)


def _scores(header: ModelHeader) -> Iterator[str]:
    scores = header.training.get("scores", {})
    if not scores:
        yield "None: there were neither validation nor test chips.\n"
        return
    yield (
        "In brackets, between what a score lies in 95 % of all draws of blocks of chips "
        f"(bootstrap); none where there are fewer than {LEAST_BLOCKS} blocks. Boundary scores are "
        "those at 2 pixels; all are in the model file, at 1 and 3 too.\n"
    )
    kinds = [("IoU", "iou"), ("F1", "f1"), ("precision", "precision"), ("recall", "recall")]
    names = [one.name for one in header.label_classes]
    for split, of_split in _by_split(scores):
        yield (
            f"### {split.capitalize()}\n\n"
            f"{of_split.get('chips', '?')} chips in {_blocks(of_split)}; accuracy "
            f"{_with_spread(of_split, 'accuracy')}, calibration error "
            f"{_with_spread(of_split, 'calibration_error')}.\n"
        )
        rows = [
            (
                name,
                *(_with_spread(of_split, key, name) for _, key in kinds),
                *(_with_spread(of_split, f"boundary_{key}", "2", name) for key in ("iou", "f1")),
            )
            for name in (*names, *([ALL_WATER] if ALL_WATER in of_split["iou"] else []))
        ]
        titles = [title for title, _ in kinds]
        yield from _table(("class", *titles, "boundary IoU", "boundary F1"), rows)
        yield from _by_scene(of_split, names)


def _by_split(scores: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the scores of each split that there are, with what it is called."""
    yield from ((called, scores[split]) for split, called in JUDGED.items() if split in scores)


def _by_scene(scores: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Yield a table of scenes, the worst first."""
    by_scene = scores.get("by_scene", {})
    if len(by_scene) < 2:
        return
    rows = [
        (
            scene,
            str(of_scene["chips"]),
            *(_with_spread(of_scene, "iou", name) for name in names),
            _number(of_scene["lines"]["median_m"], "{:.1f}"),
            _number(of_scene["lines"]["u95_m"], "{:.1f}"),
        )
        for scene, of_scene in sorted(by_scene.items(), key=lambda item: _mean_iou(item[1]))
    ]
    titles = [f"IoU {name}" for name in names]
    yield from _table(("scene", "chips", *titles, "line, median m", "95 % m"), rows, most=MOST_ROWS)


def _line(header: ModelHeader) -> Iterator[str]:
    scores = header.training.get("scores", {})
    lines = scores.get("val", {}).get("lines")
    if header.position_u95_m is not None:
        yield (
            f"95 % of the line drawn on the validation chips lies within "
            f"{header.position_u95_m:.1f} m of the labels'; the errors of the labels are in that, "
            "and another coast may do worse.\n"
        )
    elif lines:
        yield (
            "How far 95 % of the line are from the labels' cannot be said: there is none on the "
            "validation chips, or more than 5 % of it is where the labels have nothing like it.\n"
        )
    rows = [
        (
            called,
            *(_number(of["lines"][key], "{:.1f}") for key in ("median_m", "u95_m")),
            _side(of["lines"]["mean_seaward_m"]),
            *(_percent(of["lines"][key]) for key in ("stray_share", "missed_share")),
        )
        for called, of in _by_split(scores)
        if of["lines"]["drawn_m"]
    ]
    if rows:
        titles = ("chips", "median m", "95 % m", "lies on average", "stray", "missed")
        yield from _table(titles, rows)
        yield (
            f"Stray: of the line that is drawn, what has none of the labels within {STRAY_PX:g} "
            "pixels; missed: of the labels', what has none that is drawn.\n"
        )
    if header.suggested_threshold is not None:
        yield (
            f"On the validation chips {header.suggested_threshold:g} is the best threshold (mean "
            "IoU of land and water). It is a suggestion: `predict` takes 0.5 unless another "
            "`--threshold` is given.\n"
        )


def _side(seaward_m: float | None) -> str:
    """Say to which side of the labels' line it lies."""
    if seaward_m is None:
        return "–"
    side = "water" if seaward_m >= 0 else "land"
    return f"{abs(seaward_m):.1f} m towards the {side}"


def _failures(header: ModelHeader) -> Iterator[str]:
    scores = header.training.get("scores", {})
    yield from (f"- {note}" for note in header.notes)
    for split, of_split in _by_split(scores):
        if worst := of_split.get("worst"):
            told = ", ".join(f"`{one['chip']}` ({_percent(one['wrong_share'])})" for one in worst)
            yield f"- Most pixels wrong, of the {split} chips: {told}."
        by_scene = of_split.get("by_scene", {})
        if len(by_scene) > 1:
            scene = min(by_scene, key=lambda name: _mean_iou(by_scene[name]))
            iou = _number(_mean_iou(by_scene[scene]), "{:.4f}")
            yield f"- Of its scenes it does worst on `{scene}`: mean IoU {iou}."
        for one in header.label_classes:
            if of_split["recall"][one.name] is None:
                yield f"- No {one.name} is in the {split} chips: whether it is found is not known."
        if (blocks := of_split.get("blocks", FEW_BLOCKS)) < FEW_BLOCKS:
            why = "and the brackets are too narrow" if blocks >= LEAST_BLOCKS else "no brackets"
            yield (
                f"- The {split} chips are from {_blocks(of_split)}: too few to say how scores "
                f"spread, {why}."
            )
    if "test" not in scores:
        yield "- There were no test chips: what it does on other ground is not known."
    yield from _doubts(header)
    yield (
        f"- Other sensors than {header.sensor or 'that of its chips'}, other levels, and coasts "
        "unlike those of its scenes were not tried."
    )
    if not header.notes:
        yield "- Whoever trained it has noted nothing else (`geounet train --note`)."
    yield ""


def _blocks(of_split: Mapping[str, Any]) -> str:
    """Return in how many blocks of ground the chips of a split lie, in words."""
    blocks = of_split.get("blocks", "?")
    return f"{blocks} block{'' if blocks == 1 else 's'}"


def _doubts(header: ModelHeader) -> Iterator[str]:
    """Yield what the training itself gives reason to fear."""
    training = header.training
    water = training.get("data", {}).get("splits", {}).get("train", {}).get("water_share")
    if (only := {0: "water", 1: "land"}.get(water)) is not None:
        yield f"- No {only} was in the training chips: it cannot find any."
    suggested = header.suggested_threshold
    if suggested is not None and abs(suggested - 0.5) > ODD_THRESHOLD:
        yield (
            f"- Its probabilities are not to be taken at their word: on the validation chips "
            f"{suggested:g} tells land and water apart best, not 0.5."
        )
    theirs = (training.get("start") or {}).get("level")
    if None not in (theirs, header.level) and theirs != header.level:
        yield f"- It started from weights that were trained on {theirs}, and is for {header.level}."


def _table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, most: int | None = None
) -> Iterator[str]:
    """Yield the lines of a table in Markdown, and an empty one."""
    for row in (titles, ["---"] * len(titles), *rows[:most]):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    if most is not None and len(rows) > most:
        yield f"\nand {len(rows) - most} more."
    yield ""


def _with_spread(scores: Mapping[str, Any], *keys: str) -> str:
    """Return a score with the interval that it lies in."""
    value, interval = scores, scores.get("interval") or {}
    for key in keys:
        value, interval = value[key], (interval or {}).get(key)
    told = _number(value, "{:.4f}")
    return f"{told} ({interval[0]:.3f}–{interval[1]:.3f})" if interval else told


def _mean_iou(scores: Mapping[str, Any]) -> float:
    known = [iou for name, iou in scores["iou"].items() if iou is not None and name != ALL_WATER]
    return sum(known) / len(known) if known else 1.0


def _number(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)


def _percent(share: float | None) -> str:
    return _number(share, "{:.1%}")


def _short(value: Any) -> str:
    """Return a setting for people: blocks are of a size that was computed."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)
