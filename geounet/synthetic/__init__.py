"""A coast that never was, with its exact waterline, so that claims about position can be tried."""

from geounet.synthetic.write import CoastSettings, SyntheticCoast, write_coast

__all__ = ["CoastSettings", "SyntheticCoast", "write_coast"]
