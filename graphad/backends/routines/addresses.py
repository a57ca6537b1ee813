"""Addresses of what programs call: BLAS, its threads, the routines of `graphad_kernels`, the host, and CPython."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

from graphad_kernels.cpu import library

from graphad.backends.routines import compiled, host, threads
from graphad.errors import LoweringError

BLAS_ROUTINES: Final = ("sgemm", "dgemm", "sgemv", "dgemv", "ssyrk", "dsyrk")
"""Routines of BLAS, called by Fortran's convention: every argument a pointer, matrices by columns."""


def routine(symbol: str) -> int:
    """Address of an external routine of a program, for the life of the process."""
    if symbol in (threads.ONE_THREAD, threads.OWN_THREADS):
        return threads.address(symbol)
    if symbol.startswith("Py"):
        return ctypes.cast(getattr(ctypes.pythonapi, symbol), ctypes.c_void_p).value or 0
    if symbol == host.HOST_CALL:
        return host.address()
    return compiled.address(symbol) if symbol.startswith(compiled.PREFIX) else blas_routine(symbol)


@cache
def blas_routine(name: str) -> int:
    """Address of one of `BLAS_ROUTINES`."""
    if name not in BLAS_ROUTINES:
        raise LoweringError(f"no external routine {name!r}; programs may call {', '.join(BLAS_ROUTINES)}")
    try:
        return library.routine(name)
    except ImportError as error:
        raise LoweringError(str(error)) from error
