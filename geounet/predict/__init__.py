"""A scene and a model to mask, probability, coastline and QGIS project."""

from geounet.predict.plan import Plan
from geounet.predict.predictor import Predictor, PredictSettings
from geounet.predict.several import (
    Outcome,
    predict_scene,
    predict_scenes,
    raise_failures,
    run_scenes,
)

__all__ = [
    "Outcome",
    "Plan",
    "PredictSettings",
    "Predictor",
    "predict_scene",
    "predict_scenes",
    "raise_failures",
    "run_scenes",
]
