"""Hand-written bodies for the CPU."""
