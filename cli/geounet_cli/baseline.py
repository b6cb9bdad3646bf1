"""geounet baseline."""


def baseline() -> None:
    """Not written yet."""
