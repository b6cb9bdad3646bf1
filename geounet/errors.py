"""Errors that a user can fix; commands print them in one line, without a traceback.

A caller's mistake is a `ValueError`; these are for what is wrong in files, settings and machines.
Every message says what is wrong, where, what there is instead, and what to do.
"""

LONGEST_REASON = 300
"""Characters of what a library says; some repeat all that they were given."""


class GeounetError(Exception):
    """Something that the user can put right."""


class SceneError(GeounetError):
    """A scene cannot be read or understood: not a raster, truncated, no CRS, no scale."""


class UnrecognisedError(SceneError):
    """Nothing in a source tells what it is; of a scene that is known for one it is never said."""


class BandError(GeounetError):
    """Bands are missing, unnamed or ambiguous."""


class LabelError(GeounetError):
    """Labels cannot be read, hold unknown values, or do not touch the scene."""


class AreaError(GeounetError):
    """An area of interest cannot be read, or does not touch the scene."""


class ChipsError(GeounetError):
    """A chip folder is not one, is damaged, or has an empty split."""


class ConfigError(GeounetError):
    """A configuration has an unknown key, a wrong value, or disagrees with the chips."""


class ModelFileError(GeounetError):
    """A model file is not one of geounet's, is damaged, or is of a newer format."""


class ResultError(GeounetError):
    """A result cannot be read or compared: no record, damaged, or no ground in common."""


class TransectError(GeounetError):
    """A baseline, its coastlines or slopes cannot be read, or do not fit one another."""


class ClusterError(GeounetError):
    """Workers cannot be had, or are gone."""


class OutputError(GeounetError):
    """Results cannot be written: they exist, the folder is read-only, or the disk is full."""


def reason(error: BaseException) -> str:
    """Return what a library's error says of content, in one line and not in Python's words."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    # Subclasses are of libraries that know what they read; these are of Python, which does not.
    if type(error) in {ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError}:
        return "parts of it are not what they should be"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:LONGEST_REASON].rstrip(".") or type(error).__name__
