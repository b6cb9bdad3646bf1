"""Two results or dates of one coast: what was gained and lost, and how far the coast moved."""

from geounet.compare.comparison import compare_states
from geounet.compare.settings import CompareSettings

__all__ = ["CompareSettings", "compare_states"]
