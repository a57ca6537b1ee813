"""Elements in order, and places in sorted arrays."""
