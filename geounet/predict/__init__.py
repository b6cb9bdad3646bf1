"""A scene and a model to mask, probability, coastline and QGIS project."""

from geounet.predict.budget import parse_memory
from geounet.predict.models import ForeignOptions
from geounet.predict.outcome import Outcome
from geounet.predict.plan import Plan
from geounet.predict.predictor import Predictor
from geounet.predict.settings import PredictSettings
from geounet.predict.several import (
    predict_scene,
    predict_scenes,
    raise_failures,
    run_scenes,
)
from geounet.predict.timings import show_times

__all__ = [
    "ForeignOptions",
    "Outcome",
    "Plan",
    "PredictSettings",
    "Predictor",
    "parse_memory",
    "predict_scene",
    "predict_scenes",
    "raise_failures",
    "run_scenes",
    "show_times",
]
