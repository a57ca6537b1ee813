"""Samples of functions: convolved, subtracted, integrated, interpolated."""
