"""SciPy's BLAS by address: out of the wheel's file, and out of the capsules, each in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graphad_kernels.cpu import library
from numpy.linalg import _umath_linalg as theirs

ROOT = Path(__file__).parents[2]
ROUTINES = ("sgemm", "dgemm", "sgemv", "dgemv")

wheel = pytest.mark.skipif(library.openblas() is None, reason="this SciPy brings no OpenBLAS of its own")

# A compiled product in single and one in double precision, against NumPy.
PRODUCTS = """
import sys
import numpy as np
import graphad
for dtype in (np.float32, np.float64):
    a = np.arange(600, dtype=dtype).reshape(20, 30) / 600
    got = graphad.jit(lambda a, b: a @ b)(a, a.T)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, a.astype(np.float64) @ a.T.astype(np.float64), rtol=1e-5)
"""
NO_WHEEL = "from graphad_kernels.cpu import library; library.openblas = lambda: None\n"
# The wheel's routines are those which SciPy's extension is linked to, so they have the same addresses.
SAME = f"""
import ctypes
from graphad_kernels.cpu import library
import scipy.linalg.cython_blas as theirs
linked = ctypes.CDLL(theirs.__file__)
for name in {ROUTINES}:
    assert library.routine(name) == library.address(linked, f"scipy_{{name}}_"), name
"""


def python(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr


@wheel
def test_products_leave_scipy_unimported():
    python(PRODUCTS + "assert 'scipy' not in sys.modules")


def test_products_by_way_of_the_capsules():
    python(NO_WHEEL + PRODUCTS + "assert 'scipy.linalg' not in sys.modules, 'one extension is enough'")


@wheel
@pytest.mark.skipif(sys.platform == "win32", reason="there a library gives its own functions only")
@pytest.mark.parametrize("first", ["import scipy.linalg\n", ""], ids=["after SciPy", "before SciPy"])
def test_scipy_computes_with_the_same_library(first):
    python(first + PRODUCTS + SAME)
    python(first + SAME + PRODUCTS)


@pytest.mark.parametrize("first", ["", NO_WHEEL], ids=["wheel", "capsules"])
def test_scipy_works_after_a_product(first):
    python(
        first + PRODUCTS + "import scipy.linalg; assert (scipy.linalg.solve(np.eye(2) * 2, np.ones(2)) == 0.5).all()"
    )


@pytest.mark.parametrize("way", ["wheel", "capsules"])
def test_the_routines_multiply(way, monkeypatch):
    if way == "capsules":
        monkeypatch.setattr(library, "openblas", lambda: None)
    elif library.openblas() is None:
        pytest.skip("this SciPy brings no OpenBLAS of its own")
    assert len({library.routine(name) for name in ROUTINES}) == len(ROUTINES)
    for name, real in (("sgemv", np.float32), ("dgemv", np.float64)):
        columns, x, y = np.arange(6, dtype=real).reshape(2, 3), np.array([1, 10], real), np.zeros(3, real)
        one, sizes = np.ones(1, real), np.array([3, 2, 1], np.int32)
        m, n, step = (ctypes.c_void_p(sizes.ctypes.data + 4 * k) for k in range(3))
        of = [ctypes.c_void_p(array.ctypes.data) for array in (one, columns, x, y)]
        gemv = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 11)(library.routine(name))
        gemv(b"N", m, n, of[0], of[1], m, of[2], step, of[0], of[3], step)
        assert y.tolist() == [30, 41, 52]


@wheel
@pytest.mark.parametrize(
    "place", ["scipy.libs/libscipy_openblas-1a2b.so", "scipy.libs/x_openblas.dll", "scipy/.dylibs/libopenblas.dylib"]
)
def test_the_file_is_found_where_wheels_have_it(place, tmp_path, monkeypatch):
    ours = library.openblas()
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    (tmp_path / "scipy").mkdir(exist_ok=True)
    file.symlink_to(ours._name)
    monkeypatch.setattr(library, "_scipy", lambda: tmp_path / "scipy")
    found = library.openblas.__wrapped__()
    assert library.address(found, "scipy_dgemm_") == library.routine("dgemm")


def test_other_libraries_are_none(tmp_path, monkeypatch):
    """NumPy's OpenBLAS has 64-bit integers, and says so in its names."""
    folder = tmp_path / "scipy.libs"
    (tmp_path / "scipy").mkdir()
    folder.mkdir()
    (folder / "libopenblas_broken.so").write_text("no library")
    for file in (*Path(np.__file__).parent.glob("../numpy.libs/*openblas*"), Path(theirs.__file__)):
        (folder / f"openblas_{file.name}").symlink_to(file.resolve())
    assert len([*folder.iterdir()]) >= 2
    monkeypatch.setattr(library, "_scipy", lambda: tmp_path / "scipy")
    assert library.openblas.__wrapped__() is None


def test_what_is_missing_is_named(monkeypatch):
    with pytest.raises(ImportError, match=r"SciPy's BLAS has no .*nonsense"):
        library.routine("nonsense")
    monkeypatch.setattr(library, "openblas", lambda: None)
    with pytest.raises(ImportError, match="SciPy's BLAS has no nonsense"):
        library.routine("nonsense")
    monkeypatch.undo()
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="scipy is not installed: pip install scipy"):
        library.openblas.__wrapped__()


def test_capsules_of_64_bit_integers_are_refused(monkeypatch):
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    signature = b"void (char *, long *, double *)"
    module = type(sys)("cython_blas")
    module.__pyx_capi__ = {"dgemv": new(1, signature, None)}
    monkeypatch.setattr(library, "openblas", lambda: None)
    monkeypatch.setattr(library, "_cython", lambda: module)
    with pytest.raises(ImportError, match=r"other integers than int: dgemv is void \(char \*, long \*"):
        library.routine("dgemv")
