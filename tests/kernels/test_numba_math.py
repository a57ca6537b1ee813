"""Numba compiles the elementary functions to what NumPy evaluates, bit by bit where both fuse multiply-adds."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from graphad_kernels import numba_math
from graphad_kernels.instructions import HAS_FMA
from graphad_kernels.math import FUNCTIONS, evaluate

from tests.kernels.ulps import arguments, bits

# One of each shape of text: division, two products in twice the precision, patch and lookup, a tuple result, steps of
# integers.
FAST = [
    ("exp", "f32"), ("log1p", "f64"), ("pow", "f64"), ("sin", "f32"), ("erf_inv", "f32"), ("threefry2x32", "u32"),
    ("cbrt", "f32"), ("nextafter", "f32"),
]  # fmt: skip


def run(name, dtype, *arrays):
    function = numba_math.compiled(name, dtype)
    if name == "threefry2x32":

        @numba.njit
        def loop(a, b, c, d, out):
            for i in range(a.size):
                out[0, i], out[1, i] = function(a[i], b[i], c[i], d[i])

        out = np.empty((2, arrays[0].size), np.uint32)
    elif len(arrays) == 2:

        @numba.njit(fastmath={"contract"})
        def loop(a, b, out):
            for i in range(a.size):
                out[i] = function(a[i], b[i])

        out = np.empty_like(arrays[0])
    else:

        @numba.njit(fastmath={"contract"})  # which must not reach the function's own sums
        def loop(a, out):
            for i in range(a.size):
                out[i] = function(a[i])

        out = np.empty_like(arrays[0])
    loop(*arrays, out)
    return out


def check(name, dtype, rng):
    arrays = arguments(name, dtype, 300, rng)
    got, wanted = run(name, dtype, *arrays), np.stack(evaluate(name, dtype, *arrays))
    if dtype == "u32":
        assert (got == wanted).all()
        return
    nan = np.isnan(wanted)
    assert (np.isnan(got) == nan).all()
    # NumPy's stand-in for a fused multiply-add in float64 rounds a few in a million otherwise
    assert np.abs(bits(got[~nan]) - bits(wanted[~nan])).max() <= (2 if HAS_FMA else 4)


@pytest.mark.parametrize(("name", "dtype"), FAST)
def test_numba_agrees_with_numpy(name, dtype, rng):
    check(name, dtype, rng)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), sorted(set(FUNCTIONS) - set(FAST)))
def test_numba_agrees_with_numpy_on_the_others(name, dtype, rng):
    check(name, dtype, rng)


def test_unknown_function_is_named():
    with pytest.raises(ValueError, match="no elementary function exp for f16; exp exists for \\['f32', 'f64'\\]"):
        numba_math.compiled("exp", "f16")
