"""Device programs as Numba source."""
