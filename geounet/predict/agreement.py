"""Whether a scene goes with a model, and what is to be said where it does only nearly."""

from collections.abc import Sequence

from geounet.bands import Band
from geounet.errors import SceneError
from geounet.model_file import ModelHeader
from geounet.scene import Scene

SAME_RES = 1.1
"""Pixels up to this much larger or smaller than the model's count as equal."""
FAR = 5.0
"""A band whose mean is this many standard deviations from the training data's is suspect: a scale
forgotten, or another quantity."""
REFLECTANCE_OF = {"L1C": "top of atmosphere", "L1": "top of atmosphere"} | {
    "L2A": "surface",
    "L2": "surface",
}
"""What processing levels give; those of different sensors are called differently."""


def check_level(scene: Scene, header: ModelHeader, *, accept: bool) -> list[str]:
    """Refuse a scene of another level than the model's; return what is to be said otherwise."""
    if header.level is None:
        return []
    if scene.level is None:
        return [
            f"its processing level is not known; the model was trained on {header.level}. "
            f"Say --level {header.level} if it is."
        ]
    names = {
        level: f"{level} ({REFLECTANCE_OF[level]})" if level in REFLECTANCE_OF else level
        for level in (scene.level, header.level)
    }
    if REFLECTANCE_OF.get(scene.level, scene.level) == REFLECTANCE_OF.get(
        header.level, header.level
    ):
        return []
    if not accept:
        raise SceneError(
            f"{scene.source} is of level {names[scene.level]}, and the model was trained on "
            f"{names[header.level]}. Use a scene of that level, or --accept-level."
        )
    return [f"level {names[scene.level]} is accepted for {names[header.level]}"]


def compare_res(scene: Scene, header: ModelHeader) -> list[str]:
    """Return what is to be said of pixels of another size than the model's."""
    if header.res_m is None:
        return []
    ratios = [there / known for there, known in zip(scene.res_m, header.res_m, strict=True)]
    if all(1 / SAME_RES <= ratio <= SAME_RES for ratio in ratios):
        return []
    there, known = (
        " × ".join(f"{side:.4g}" for side in dict.fromkeys(sides)) or "?"
        for sides in (scene.res_m, header.res_m)
    )
    return [
        f"its pixels are {there} m, the model's {known} m; shapes look different to the network, "
        "so check the result, or give --res"
    ]


def describe_bands(
    bands: Sequence[Band], means: Sequence[float], stds: Sequence[float], header: ModelHeader
) -> list[dict[str, str | float | bool]]:
    """Return reflectance of each band beside the training data's, as the record has it.

    Args:
        bands: That the model was given.
        means: Mean reflectance of each.
        stds: Standard deviation of each.
        header: Of the model.
    """
    return [
        {
            "band": band.name,
            "scene_mean": mean,
            "scene_std": std,
            "training_mean": known,
            "training_std": spread,
            "far": abs(mean - known) > FAR * spread,
        }
        for band, mean, std, known, spread in zip(
            bands, means, stds, *header.chip_statistics, strict=False
        )
    ]


def compare_means(
    bands: Sequence[Band], means: Sequence[float], header: ModelHeader, *, scaled_by: str
) -> list[str]:
    """Return what is to be said of reflectance unlike anything in the training data.

    Args:
        bands: That the model was given.
        means: Mean reflectance of each.
        header: Of the model.
        scaled_by: Where the scene's scale and offset are from: it may be they that are wrong.
    """
    far = [
        f"{band.name} {there:.3g} ({mean:.3g} ± {std:.2g})"
        for band, there, mean, std in zip(bands, means, *header.chip_statistics, strict=False)
        if abs(there - mean) > FAR * std
    ]
    if not far:
        return []
    options = [option for option in ("--scale", "--offset") if option in scaled_by]
    advice = (
        f"check {' and '.join(options)}"
        if options
        else f"check its scale (from {scaled_by}), or use a model trained on ground like this"
    )
    return [
        f"mean reflectance is far from the training data's (in brackets): {', '.join(far)}; "
        f"{advice}"
    ]
