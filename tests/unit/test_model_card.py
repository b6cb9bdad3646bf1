"""The card says what the header says, in words, for whatever a header may hold."""

import re

import pytest

from geounet.bands import Band
from geounet.classes import LAND_WATER
from geounet.config import Config, UNetSettings
from geounet.metrics import ALL_WATER
from geounet.model_card import MOST_ROWS, describe_model, write_card
from geounet.model_file import ModelHeader, NetworkRecord

BANDS = (Band("B03", "s2", 559.8, "green"), Band("B08", "s2", 832.8, "nir"))
PICTURES = {"curves.png": "Losses by epoch"}


def part(iou, *, blocks=20, interval=True):
    """Scores as a judgement records them."""
    boundary = {str(d): {"land": 0.7, "water": None} for d in (1, 2, 3)}
    by_class = {"land": 0.91, "water": iou}
    spread = {
        "accuracy": [0.95, 0.99],
        "iou": {"land": [0.9, 0.93], "water": None},
        "boundary_iou": {"2": {"land": [0.61, 0.8]}},
    }
    lines = {
        "drawn_m": 5000.0,
        "true_m": 5100.0,
        "median_m": 4.25,
        "u95_m": None,
        "mean_seaward_m": -1.5,
        "stray_share": 0.125,
        "missed_share": 0.0625,
    }
    return {
        "chips": 40,
        "blocks": blocks,
        "pixels": 1000,
        **dict.fromkeys(("iou", "f1", "precision", "recall"), by_class),
        "accuracy": 0.9731,
        "boundary_iou": boundary,
        "boundary_f1": boundary,
        "calibration_error": 0.0123,
        "interval": spread if interval else None,
        "lines": lines,
    }


def whole(**scenes):
    worst = [{"chip": "quay_7", "scene": "a", "wrong_share": 0.125}]
    return part(0.88) | {"by_scene": {n: part(i) for n, i in scenes.items()}, "worst": worst}


def training(**changes):
    return {
        "config": Config(epochs=7, loss={"dice": 0.5}).model_dump(mode="json"),
        "chips": {"fingerprint": "ab12", "train": 9, "val": 4, "test": 0},
        "data": {
            "size": 64,
            "split": {"by": "block", "seed": 3, "dropped": {}},
            "sources": [{"scene": "a|b", "time": None, "labels": "water.gpkg"}],
        },
        "device": "cpu",
        "precision": "fp32",
        "epochs": 7,
        "best_epoch": 5,
        "loss": {"train": 0.1, "val": 0.2},
        "scores": {"val": whole(good=0.97, bad=0.42)},
    } | changes


def card(**changes):
    fields = {
        "network": NetworkRecord(name="unet-same", settings=UNetSettings(depth=2)),
        "bands": tuple(band.to_dict() for band in BANDS),
        "sensor": "s2",
        "level": "L2A",
        "mean": (0.1, 0.2),
        "std": (0.1, 0.2),
        "classes": tuple(one.to_dict() for one in LAND_WATER),
        "stride": 4,
        "halo_exact": 24,
        "halo_default": 12,
        "halo_error": 0.001,
        "res_m": (10.0, 10.0),
        "training": training(),
        "licence": "CC-BY-4.0",
    }
    header = ModelHeader.model_validate(fields | changes)
    return describe_model(header, model="model.safetensors", pictures=PICTURES)


def section(text, title):
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_it_says_what_a_user_must_know():
    text = card()
    for title, words in {
        "What it takes": ["s2, L2A", "10 × 10 m", "| B08 | nir | 832.8 |"],
        "What counts as water": ["| 1 | water | water |", "surf and foam"],
        "Data": ["9 train, 4 val, 0 test", "ab12", r"| a\|b | – | water.gpkg |", "by block"],
        "Licence": ["CC-BY-4.0"],
        "Network and training": ["unet-same", "24 pixels", "epoch 5"],
        "Scores": ["0.9100 (0.900–0.930)", "0.7000 (0.610–0.800)", "40 chips in 20 blocks"],
        "Known failures": ["`quay_7` (12.5%)", "`bad`", "no test chips"],
        "Pictures": ["![Losses by epoch](curves.png)"],
    }.items():
        for word in words:
            assert word in section(text, title), word


def test_the_recipe_is_told_where_it_is_not_the_default():
    (yaml,) = re.findall(r"```yaml\n(.*?)```", card(), flags=re.DOTALL)
    lines = yaml.splitlines()
    assert "  depth: 2" in lines
    assert "  epochs: 7" in lines
    assert "    dice: 0.5" in lines
    assert not any("patience" in line or "flips" in line or "jaccard" in line for line in lines)


def test_it_is_told_where_shares_of_water_were_learned():
    config = Config(labels="shares").model_dump(mode="json")
    told = "Learned how much of each pixel is water"
    assert told in card(training=training(config=config))
    assert told not in card()


def test_scenes_come_worst_first():
    rows = section(card(), "Scores")
    assert rows.index("| bad |") < rows.index("| good |")


def test_the_line_and_the_threshold_are_told_as_they_are():
    text = section(card(position_u95_m=12.34, suggested_threshold=0.42), "The line")
    assert "within 12.3 m" in text
    assert "| validation | 4.2 | – | 1.5 m towards the land | 12.5% | 6.2% |" in text
    assert "0.42 is the best" in text
    assert "takes 0.5 unless" in text
    unknown = section(card(), "The line")
    assert "cannot be said" in unknown
    assert "best threshold" not in unknown


def test_without_validation_the_weights_are_the_last():
    text = card(training=training(loss={"train": 0.1, "val": None}))
    assert "the last: there were no validation chips" in text
    assert "the best on the validation chips, so" in card()


def test_too_few_blocks_are_said_to_be_few():
    assert "too few" not in card()
    for blocks, words in {
        1: "from 1 block: too few to say how scores spread, no brackets.",
        2: "from 2 blocks: too few to say how scores spread, no brackets.",
        3: "from 3 blocks: too few to say how scores spread, and the brackets are too narrow.",
    }.items():
        few = {"val": whole() | {"blocks": blocks}}
        text = card(training=training(scores=few))
        assert words in text
        assert f"40 chips in {blocks} block{'s' * (blocks > 1)}; accuracy" in text


def test_what_the_trainer_knows_comes_first_of_the_failures():
    text = section(card(notes=("Blind to ice.", "Ask the survey.")), "Known failures")
    assert text.strip().startswith("- Blind to ice.\n- Ask the survey.\n")
    assert "noted nothing" not in text
    assert "noted nothing" in section(card(), "Known failures")


def test_what_the_training_gives_reason_to_fear_is_a_failure():
    dry = {"train": {"chips": 9, "water_share": 0.0, "coast_km": 0.0}}
    data = training()["data"] | {"splits": dry}
    start = {"weights": "W", "level": "L1C", "new_bands": []}
    doubtful = card(training=training(data=data, start=start), suggested_threshold=0.12)
    for words in ("No water was in the training", "0.12 tells land and water", "trained on L1C"):
        assert words in section(doubtful, "Known failures")
        assert words not in card(suggested_threshold=0.45)


def test_a_class_that_no_chip_shows_is_told_though_it_was_predicted():
    absent = whole() | {"recall": {"land": 0.9, "water": None}}
    text = section(card(training=training(scores={"val": absent})), "Known failures")
    assert "No water is in the validation chips" in text
    assert "No land" not in text


def test_splits_and_scenes_are_told_with_their_chips():
    counts = {"train": 5, "val": 0, "test": 4}
    data = training()["data"] | {
        "splits": {"train": {"chips": 5, "water_share": 0.25, "coast_km": 12.5}},
        "sources": [{"scene": "a", "time": None, "labels": None, "chips": counts}],
    }
    text = section(card(training=training(data=data)), "Data")
    assert "| train | 5 | 25.0% | 12.5 |" in text
    assert "| a | – | – | 5 | 0 | 4 |" in text


def test_water_of_several_classes_has_a_row_of_its_own():
    together = whole()
    for score in ("iou", "f1", "precision", "recall"):
        together[score] = together[score] | {ALL_WATER: 0.77}
    for score in ("boundary_iou", "boundary_f1"):
        together[score] = {d: of | {ALL_WATER: 0.66} for d, of in together[score].items()}
    text = section(card(training=training(scores={"val": together})), "Scores")
    row = "| all water | 0.7700 | 0.7700 | 0.7700 | 0.7700 | 0.6600 | 0.6600 |"
    assert row in text
    assert ALL_WATER not in card()


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {}},
        {"training": training(scores={})},
        {"training": training(scores={"test": whole() | {"interval": None}})},
        {"sensor": None, "level": None, "licence": None, "halo_exact": None},
    ],
)
def test_whatever_is_not_known_is_said_without_a_none(changes):
    text = card(**changes)
    assert "None" not in text.replace("None: there were", "").replace("None is stated", "")
    assert "nan" not in text.split()
    assert "## Known failures" in text


def test_a_halo_that_is_not_exact_is_said_to_be_measured_on_validation_chips():
    text = card(halo_exact=96, halo_default=32, halo_error=0.002)
    assert "halo of 32 pixels, which changes no probability on validation chips by more" in text


def test_the_card_says_that_windows_are_blended_and_why():
    blend = {"window": 64, "overlap": 16, "why": "attention"}
    text = card(halo_exact=None, halo_default=0, halo_error=0.0, blend=blend)
    (line,) = (line for line in text.splitlines() if "blended" in line)
    assert "no exact halo (attention)" in line
    assert "64 pixels wide, 16 of them shared" in line
    assert "changes no probability" not in text
    assert "blended" not in card()


def test_a_hundred_scenes_do_not_fill_the_card():
    many = [{"scene": f"s{i}", "time": None, "labels": "l"} for i in range(100)]
    data = training()["data"] | {"sources": many}
    scores = {"val": whole(**{f"s{i}": i / 100 for i in range(100)})}
    text = card(training=training(data=data, scores=scores))
    assert text.count("\n| s") == 2 * MOST_ROWS + 2  # and the titles
    assert text.count("and 60 more") == 2


def test_the_card_of_a_file_is_written_whole(tmp_path):
    header = ModelHeader.model_validate(
        {
            "network": {"name": "n", "settings": {"kind": "unet"}},
            "bands": (BANDS[0].to_dict(),),
            "sensor": None,
            "level": None,
            "mean": (0.0,),
            "std": (1.0,),
            "classes": tuple(one.to_dict() for one in LAND_WATER),
            "stride": 4,
            "halo_exact": 24,
            "halo_default": 12,
            "halo_error": 0.001,
            "res_m": (10.0, 10.0),
        }
    )
    write_card(header, tmp_path / "MODEL.md", model="m.safetensors", pictures={})
    text = (tmp_path / "MODEL.md").read_text(encoding="utf-8")
    assert text == describe_model(header, model="m.safetensors", pictures={})
    assert "## Pictures" not in text
