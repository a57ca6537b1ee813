"""Addresses of the routines that programs call: BLAS, and the hand-written bodies of `graphad_kernels`."""

from __future__ import annotations

import ctypes
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from graphad.backends.routines import bodies
from graphad.errors import LoweringError

BLAS_ROUTINES: Final = ("sgemm", "dgemm", "sgemv", "dgemv", "sdot", "ddot")
"""Routines of BLAS, called by Fortran's convention: every argument a pointer, matrices by columns."""


def routine(symbol: str) -> int:
    """Address of an external routine of a program, for the life of the process."""
    return bodies.address(symbol) if symbol.startswith(bodies.PREFIX) else blas_routine(symbol)


@cache
def _blas_capsules() -> Mapping[str, Any]:
    """The capsules of scipy's cython_blas, by loading that one extension: importing scipy.linalg takes far longer."""
    full_name = "scipy.linalg.cython_blas"
    if full_name in sys.modules:
        return sys.modules[full_name].__pyx_capi__
    scipy = importlib.util.find_spec("scipy")
    if scipy is None or not scipy.submodule_search_locations:
        raise LoweringError("matrix products need SciPy's BLAS, and scipy is not installed: pip install scipy")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    path = os.path.join(scipy.submodule_search_locations[0], "linalg", f"cython_blas{suffix}")
    try:
        loader = importlib.machinery.ExtensionFileLoader(full_name, path)
        spec = importlib.util.spec_from_file_location(full_name, path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError:  # another layout, or libraries that only scipy's own import finds
        module = importlib.import_module(full_name)
    return module.__pyx_capi__


@cache
def blas_routine(name: str) -> int:
    """Address of one of `BLAS_ROUTINES`."""
    if name not in BLAS_ROUTINES:
        raise LoweringError(f"no external routine {name!r}; programs may call {', '.join(BLAS_ROUTINES)}")
    capsule = _blas_capsules()[name]
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return pointer_of(capsule, name_of(capsule))
