"""Where the time of a prediction went, as the record has it and people read it."""

from collections.abc import Mapping

from geounet.clock import Clock

MEANINGS = {
    "reading": "reading and decoding, in threads while the network runs",
    "network": "the network",
    "writing": "writing rasters and the picture, in a thread while other things go on",
    "vectors": "lines and areas",
    "idle": "the network waited for windows, or for what is made of its answers",
    "windows": "reading, network and writing together, as the clock has it",
    "products": "what is made of the probabilities, as the clock has it",
    "total": "all of it, from opening the scene",
}
"""What the phases are, in the order in which they are shown."""


def describe_times(clock: Clock) -> dict[str, float]:
    """Return seconds by phase, and the share of the windows' time that the network is busy.

    `idle` and the share are of the time from the moment when the first window had been read.
    """
    seconds = {phase: clock[phase] for phase in MEANINGS}
    working = seconds["windows"] - clock["first window"]
    seconds["idle"] = max(0.0, working - seconds["network"])
    share = min(1.0, seconds["network"] / working) if working > 0 else 0.0
    return {phase: round(s, 3) for phase, s in seconds.items()} | {"network_share": round(share, 4)}


def show_times(timings: Mapping[str, float]) -> str:
    """Return a table of what `describe_times` gives, for people."""
    rows = [
        f"{phase:>9} {timings[phase]:9.2f} s  {meaning}"
        for phase, meaning in MEANINGS.items()
        if phase in timings
    ]
    share = f"the network was busy {timings['network_share']:.0%} of the windows' time"
    return "\n".join([*rows, share])
