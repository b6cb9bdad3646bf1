"""Everything that is written of an evaluation."""

from pathlib import Path

from geounet.evaluate.error_layer import write_errors
from geounet.evaluate.figure import draw_errors
from geounet.evaluate.scores import Evaluation, ScoreFiles, write_scores


def write_evaluation(evaluation: Evaluation, path: Path) -> ScoreFiles:
    """Write the scores as JSON, last, and before them the figure and the layer that go with them.

    Args:
        evaluation: What is written.
        path: Where the JSON goes; see `ScoreFiles.beside` for the others.

    Raises:
        OutputError: They cannot be written.
    """
    files = ScoreFiles.beside(path)
    write_errors(evaluation.errors, files.errors)
    draw_errors(evaluation, files.figure)
    write_scores(evaluation.scores, files.scores)
    return files
