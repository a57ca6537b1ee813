"""The entry: from a Python call into a program, as machine code."""
