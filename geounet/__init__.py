"""Satellite scenes to land/water masks and coastlines."""

__version__ = "0.1.0"
