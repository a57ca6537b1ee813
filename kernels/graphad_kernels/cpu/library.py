"""The library that computes BLAS: always SciPy's, whoever asks for it.

SciPy's wheels carry an OpenBLAS in a file of its own, with 32-bit integers and names that begin with ``scipy_``. It is
loaded from there: that takes a few milliseconds and imports nothing of SciPy. A process loads a file once, so SciPy, if
it is imported before or after, computes with the same library and the same threads.

Builds of SciPy without that file (those of distributions, or for Accelerate or MKL) know alone what they are linked to.
They are asked for the functions that they hand to Cython, in the capsules of `scipy.linalg.cython_blas`.

NumPy's own OpenBLAS, with 64-bit integers and threads of its own, is no substitute.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
from functools import cache
from types import ModuleType
from typing import Any, Final

#: Where wheels have the libraries that SciPy brings, seen from its folder: on Linux and Windows, and on macOS.
_FOLDERS: Final = ("../scipy.libs", ".dylibs")
#: What ``openblas_get_parallel`` says of a library with threads of its own; 0 is none, 2 those of OpenMP.
_OWN_THREADS: Final = 1
_CYTHON: Final = "scipy.linalg.cython_blas"


def routine(name: str) -> int:
    """Address of a routine of BLAS, for the life of the process; it is called by Fortran's convention.

    Raises
    ------
    ImportError
        Where SciPy, or the routine, is missing.
    """
    library = openblas()
    return _capsule(name) if library is None else address(library, f"scipy_{name}_")


def address(library: ctypes.CDLL, symbol: str) -> int:
    """Address of a function of a library."""
    try:
        found = ctypes.cast(library[symbol], ctypes.c_void_p).value
    except AttributeError as error:
        raise ImportError(f"SciPy's BLAS has no {symbol}") from error
    assert found is not None, "a function has an address"
    return found


def thread_switch() -> tuple[int, int] | None:
    """Addresses of the functions that tell and set how many threads the library computes with.

    None unless it is an OpenBLAS with threads of its own: with those of OpenMP, the number belongs to the thread that
    asks. A library that SciPy is linked to is found through SciPy's extension, except on Windows.
    """
    library = openblas() or ctypes.CDLL(_cython().__file__)
    for prefix in ("scipy_openblas", "openblas"):
        if hasattr(library, f"{prefix}_get_parallel") and library[f"{prefix}_get_parallel"]() == _OWN_THREADS:
            return address(library, f"{prefix}_get_num_threads"), address(library, f"{prefix}_set_num_threads")
    return None


@cache
def openblas() -> ctypes.CDLL | None:
    """The OpenBLAS of SciPy's wheel, or None if this SciPy is no such wheel."""
    for folder in [os.path.realpath(os.path.join(_scipy(), name)) for name in _FOLDERS]:
        found = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for name in [name for name in found if "openblas" in name]:
            try:
                library = ctypes.CDLL(os.path.realpath(os.path.join(folder, name)))
            except OSError:  # whatever it needs is found by SciPy's own import alone, which the capsules bring about
                continue
            if hasattr(library, "scipy_dgemm_"):
                return library
    return None


def _scipy() -> str:
    """SciPy's folder."""
    spec = importlib.util.find_spec("scipy")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("matrix products need SciPy's BLAS, and scipy is not installed: pip install scipy")
    return spec.submodule_search_locations[0]


@cache
def _cython() -> ModuleType:
    """SciPy's cython_blas, by loading that one extension: importing scipy.linalg takes far longer."""
    if _CYTHON in sys.modules:
        return sys.modules[_CYTHON]
    path = os.path.join(_scipy(), "linalg", f"cython_blas{sysconfig.get_config_var('EXT_SUFFIX')}")
    try:
        loader = importlib.machinery.ExtensionFileLoader(_CYTHON, path)
        spec = importlib.util.spec_from_file_location(_CYTHON, path, loader=loader)
        assert spec is not None, "a loader is given"
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError:  # another layout, or libraries that only SciPy's own import finds
        module = importlib.import_module(_CYTHON)
    return module


def _capsule(name: str) -> int:
    """Address of a routine that SciPy hands to Cython."""
    capsules: dict[str, Any] = _cython().__dict__["__pyx_capi__"]
    if name not in capsules:
        raise ImportError(f"SciPy's BLAS has no {name}")
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = name_of(capsules[name])
    if b"int *" not in signature:
        raise ImportError(f"SciPy's BLAS counts by other integers than int: {name} is {signature.decode()}")
    return pointer_of(capsules[name], signature)
