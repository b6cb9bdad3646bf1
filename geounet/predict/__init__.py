"""A scene and a model to mask, probability, coastline and QGIS project."""

from geounet.predict.plan import Plan
from geounet.predict.predictor import (
    Predictor,
    PredictSettings,
    predict_scene,
    predict_scenes,
)

__all__ = ["Plan", "PredictSettings", "Predictor", "predict_scene", "predict_scenes"]
