"""Everything that is written of an evaluation."""

from pathlib import Path

from geounet.evaluate.error_layer import write_errors
from geounet.evaluate.figure import draw_errors
from geounet.evaluate.scores import Evaluation, ScoreFiles, write_scores
from geounet.outputs import stage_file


def write_evaluation(evaluation: Evaluation, path: Path) -> ScoreFiles:
    """Write the scores as JSON, last, and before them the figure and the layer that go with them.

    Args:
        evaluation: What is written.
        path: Where the JSON goes; see `ScoreFiles.beside` for the others.

    Raises:
        OutputError: They cannot be written.
    """
    files = ScoreFiles.beside(path)
    # The innermost takes its place first: scores come last, and none before all are written.
    with (
        stage_file(files.scores) as scores,
        stage_file(files.figure) as figure,
        stage_file(files.errors) as layer,
    ):
        write_errors(evaluation.errors, layer)
        draw_errors(evaluation, figure)
        write_scores(evaluation.scores, scores)
    return files
