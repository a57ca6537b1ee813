"""Loops as Numba source."""
