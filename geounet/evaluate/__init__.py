"""A result and the truth to scores: how many pixels agree, and how far lines are, in metres."""

from geounet.evaluate.prediction import LineChoice, default_scores_path
from geounet.evaluate.reference import ReferenceOptions
from geounet.evaluate.scores import (
    EvaluateSettings,
    Evaluation,
    check_writable,
    evaluate_prediction,
    measure_prediction,
    write_scores,
)

__all__ = [
    "EvaluateSettings",
    "Evaluation",
    "LineChoice",
    "ReferenceOptions",
    "check_writable",
    "default_scores_path",
    "evaluate_prediction",
    "measure_prediction",
    "write_scores",
]
