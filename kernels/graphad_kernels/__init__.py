"""What compiled programs call: elementary functions, linear algebra, and what else is no loop.

This package knows nothing of graphs. `graphad_kernels.math` needs NumPy alone; other modules import numba late.
"""
