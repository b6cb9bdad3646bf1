"""geounet predict."""


def predict() -> None:
    """Not written yet."""
