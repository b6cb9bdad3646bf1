"""What becomes known of a scene while it is predicted: of a strip, and of all strips together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

from geounet.predict.blending import Seams
from geounet.predict.pieces import Seen


@dataclass
class Tally:
    """Counts and sums that come out the same in whatever strips a scene was predicted, and where.

    All are whole numbers or exact fractions, or of the first window that has data.
    """

    seen: Seen
    """Windows that were run, and what the bands hold."""
    pixels: int = 0
    """That have a result."""
    of_water: int = 0
    precision_error: dict[str, float] | None = None
    """What another precision than fp32 changes; None where nothing was run, or that is it."""
    seams: Seams | None = None
    """How far blended windows disagree; None where none are blended."""
    notes: list[str] = field(default_factory=list)
    """What was said while the scene was read."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase; of strips they are added up, also where several went on at once."""

    @classmethod
    def joined(cls, tallies: Sequence[Self], bands: int) -> Self:
        """Return the tally of a scene from those of its strips, from top to bottom.

        Args:
            tallies: One at least.
            bands: How many bands the scene was predicted from.
        """
        whole = cls(Seen.nothing(bands))
        for one in tallies:
            whole.seen += one.seen
            whole.pixels += one.pixels
            whole.of_water += one.of_water
            whole.precision_error = whole.precision_error or one.precision_error
            if one.seams is not None:
                whole.seams = one.seams if whole.seams is None else whole.seams + one.seams
            whole.notes += [note for note in one.notes if note not in whole.notes]
            for phase, seconds in one.seconds.items():
                whole.seconds[phase] = whole.seconds.get(phase, 0.0) + seconds
        return whole

    @property
    def water_share(self) -> float | None:
        """Of the pixels that have a result; None where none has."""
        return self.of_water / self.pixels if self.pixels else None

    def to_dict(self) -> dict[str, Any]:
        """Return it as the record of a part has it."""
        return {
            "seen": {
                "pieces": self.seen.pieces,
                "count": self.seen.count,
                "sums": [str(one) for one in self.seen.sums],
                "squares": [str(one) for one in self.seen.squares],
            },
            "pixels": self.pixels,
            "of_water": self.of_water,
            "precision_error": self.precision_error,
            "seams": None if self.seams is None else self.seams.to_dict(),
            "notes": self.notes,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Self:
        """Return what `to_dict` has written.

        Raises:
            KeyError: It is something else; or a ValueError, or a TypeError.
        """
        seen = said["seen"]
        sums, squares = (tuple(map(Fraction, seen[key])) for key in ("sums", "squares"))
        seams = said["seams"]
        return cls(
            Seen(seen["pieces"], seen["count"], sums, squares),
            said["pixels"],
            said["of_water"],
            said["precision_error"],
            None if seams is None else Seams.from_dict(seams),
            said["notes"],
            said["seconds"],
        )
