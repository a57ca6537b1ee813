"""The fused multiply-add of programs in Numba source: Python's, exact by construction, against the machine's."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from graphad_kernels.instructions import HAS_FMA
from graphad_kernels.scalar import fma

SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e-30, 3e38, 1e300, 1.7e308, 5e-324, 1e-45, np.inf, -np.inf, np.nan)


def triples(real, rng):
    """Special values, sums that cancel or lie half way between two numbers, denormal results and too large ones."""
    with np.errstate(over="ignore"):
        values = np.array(SPECIAL).astype(real)
    found = [(a, b, c) for a in values for b in values for c in values]
    a, b = rng.normal(size=(2, 2000)).astype(real)
    found += zip(a, b, -a * b, strict=True)
    found += zip(a, b, np.nextafter(-a * b, real(0)), strict=True)
    half, tiny = real(1 + np.finfo(real).eps), real(np.finfo(real).eps) ** 2
    found += [(half, half, c) for c in (real(0), tiny, -tiny, real(1), real(-1))]
    small, large = np.finfo(real).smallest_normal, np.finfo(real).max
    found += [(x * small, y, z * small) for x, y, z in rng.normal(size=(500, 3)).astype(real)]
    return [*found, *((large, y, -large) for y in (real(1), real(2), half))]


@pytest.mark.skipif(not HAS_FMA, reason="this CPU has no fused multiply-add")
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_fma_in_python_is_the_machines(real, rng):
    compiled = numba.njit(lambda a, b, c: fma(a, b, c))
    with np.errstate(all="ignore"):
        for a, b, c in triples(real, rng):
            got, want = fma(a, b, c), compiled(a, b, c)
            assert type(got) is type(want) is real or type(want) is float
            np.testing.assert_array_equal(got, real(want), err_msg=f"{a!r} {b!r} {c!r}")
            assert np.isnan(got) or np.signbit(got) == np.signbit(want), (a, b, c)


def test_fma_rounds_to_float32_once():
    """Just above half way between two float32: float64 would round to half way, and float32 from there to even."""
    a, c = np.float32(1 + 2**-23), np.float32(2**-60)
    exact = fma(a, np.float32(1 + 2**-1), c)  # 1.5 + 1.5 * 2**-23, and a little more
    assert exact == np.float32(1.5 + 2 * 2**-23)
    assert fma(a, np.float32(1.5), -c) == np.float32(1.5 + 2**-23)
