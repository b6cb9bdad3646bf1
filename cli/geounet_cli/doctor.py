"""geounet doctor."""


def doctor() -> None:
    """Not written yet."""
