"""geounet configs."""


def configs() -> None:
    """Not written yet."""
