"""Addresses of all that programs for the CPU call: routines, and the pool of threads."""

from __future__ import annotations

from graphad.backends.cpu.pool import RUN_BLOCKS
from graphad.backends.routines import addresses


def address(routine: str) -> int:
    """Of an external routine of a program, for the life of the process."""
    if routine == RUN_BLOCKS:
        from graphad.backends.cpu.pool import make  # late: only programs with blocks need it

        return make.address()
    return addresses.routine(routine)
