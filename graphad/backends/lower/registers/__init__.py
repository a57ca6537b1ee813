"""Loops and branches of scalar arithmetic: small arrays as their elements, carried values in registers."""
