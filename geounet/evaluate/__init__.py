"""A result and the truth to scores: how many pixels agree, and how far lines are, in metres."""

from geounet.evaluate.prediction import LineChoice, default_scores_path, evaluated_files
from geounet.evaluate.reference import ReferenceOptions
from geounet.evaluate.scores import (
    EvaluateSettings,
    Evaluation,
    ScoreFiles,
    check_writable,
    evaluate_prediction,
    measure_prediction,
    write_scores,
)
from geounet.evaluate.writing import write_evaluation

__all__ = [
    "EvaluateSettings",
    "Evaluation",
    "LineChoice",
    "ReferenceOptions",
    "ScoreFiles",
    "check_writable",
    "default_scores_path",
    "evaluate_prediction",
    "evaluated_files",
    "measure_prediction",
    "write_evaluation",
    "write_scores",
]
