"""geounet info."""


def info() -> None:
    """Not written yet."""
