"""Routines of LAPACK and BLAS, called by Fortran's convention from Python, from Numba, and from machine code.

A call names its arguments in Fortran's order: numbers, which are handed over by reference, letters as their codes, and
arrays, as they are or with the position of their first element: ``potrf(UPPER, n, (a, start), n, info)``. The dtype
is that of the first array of floats. Compiled code refers to a routine by `symbol`, which is bound when it is loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from graphad_kernels.cpu import library

#: Codes of the letters that routines are told by.
UPPER, LOWER, NO, YES, LEFT, RIGHT, UNIT, ALL, SOME, VALUES = (ord(c) for c in "ULNTLRUASV")

_LETTERS: Final = {"f4": "s", "f8": "d"}
_PREFIX: Final = "gk_lapack_"
#: All there are, by their names.
ROUTINES: Final[dict[str, Callable[..., None]]] = {}


def symbol(name: str, dtype: str) -> str:
    """What compiled code calls a routine, for elements of ``dtype`` (``f32`` or ``f64``)."""
    return f"{_PREFIX}{'s' if dtype == 'f32' else 'd'}{name}"


def address(name: str) -> int:
    """Address of the routine behind a `symbol`."""
    return library.routine(name.removeprefix(_PREFIX))


@cache
def _function(name: str, count: int) -> Any:
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * count)(library.routine(name))


def routine(name: str) -> Callable[..., None]:
    """A function that calls the routine ``name``, without the letter of its dtype."""

    def call(*args: Any) -> None:
        arrays = [x[0] if isinstance(x, tuple) else x for x in args]
        (dtype, *_) = [x.dtype for x in arrays if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        kept = [
            x if isinstance(x, np.ndarray) else np.asarray(x, dtype if isinstance(x, float) else np.int32)
            for x in [x[0][x[1] :] if isinstance(x, tuple) else x for x in args]
        ]
        _function(_LETTERS[dtype.str[1:]] + name, len(kept))(*[x.ctypes.data for x in kept])

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"LAPACK's ``{name}``."
    ROUTINES[name] = call
    return call


trsm, trsv, trmm, gemm, symm = routine("trsm"), routine("trsv"), routine("trmm"), routine("gemm"), routine("symm")
potrf, getrf, geqrf, orgqr = routine("potrf"), routine("getrf"), routine("geqrf"), routine("orgqr")
syevd, gesdd, gtsv, sygst = routine("syevd"), routine("gesdd"), routine("gtsv"), routine("sygst")
gees, geev, gehrd, trsyl = routine("gees"), routine("geev"), routine("gehrd"), routine("trsyl")
gbtrf, gbtrs, stevd = routine("gbtrf"), routine("gbtrs"), routine("stevd")
