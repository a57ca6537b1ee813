"""Python integers beside arrays of integers, and statistics of integers: exact, or said where they cannot be."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax

DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.and_, operator.or_]
#: Around the ends of every type.
NUMBERS = sorted({s * 2**k + d for k in (0, 7, 8, 15, 16, 31, 32, 63, 64, 70) for s in (1, -1) for d in (-1, 0, 1)})


def some_of(dtype):
    info = np.iinfo(dtype)
    return np.array([info.min, info.min + 1, 0, 1, info.max - 1, info.max], dtype)


def ends_of(dtype):
    info = np.iinfo(dtype)
    return [int(info.min) - 1, int(info.min), int(info.max), int(info.max) + 1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_comparisons_are_exact(dtype):
    x = some_of(dtype)

    def compared(x, numbers):
        return [(op(x, n), op(n, x)) for op in COMPARISONS for n in numbers]

    def exactly(numbers):
        return [([op(int(e), n) for e in x], [op(n, int(e)) for e in x]) for op in COMPARISONS for n in numbers]

    assert [(a.tolist(), b.tolist()) for a, b in compared(gnp.asarray(x), NUMBERS)] == exactly(NUMBERS)
    compiled = graphad.jit(lambda x: compared(x, ends_of(dtype)))(x)
    assert [(a.tolist(), b.tolist()) for a, b in compiled] == exactly(ends_of(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_says_what_does_not_fit(dtype):
    x, info = gnp.asarray(some_of(dtype)), np.iinfo(dtype)
    for n in NUMBERS:
        for op in ARITHMETIC:
            if info.min <= n <= info.max:
                assert op(x, n).dtype == dtype
                continue
            with pytest.raises(OverflowError, match=rf"test_integers.py:\d+: \w+: {n} does not fit in {dtype}"):
                op(x, n)
            with pytest.raises(OverflowError, match=rf"test_integers.py:\d+: \w+: {n} does not fit in {dtype}"):
                graphad.eval_shape(lambda x, op=op, n=n: op(x, n), x)


def test_the_functions_of_lax_alike():
    x = gnp.array([1, 2])
    assert lax.lt(x, 2**40).tolist() == [True, True]
    assert lax.eq(2**40, x).tolist() == [False, False]
    with pytest.raises(OverflowError, match=r"test_integers\.py"):
        lax.add(x, 2**40)
    with pytest.raises(OverflowError, match=r"test_integers\.py"):
        lax.pad(x, 2**40, [(1, 1, 0)])


def test_a_wide_integer_is_int64():
    assert gnp.asarray(2**40).dtype == np.int64
    assert gnp.asarray(2**31 - 1).dtype == np.int32
    assert (gnp.asarray(2**40) + 1).tolist() == 2**40 + 1
    assert (gnp.array([True]) + 2**40).tolist() == [2**40 + 1]
    assert (gnp.asarray(2**40) > gnp.array([1, 2])).tolist() == [True, True]
    with pytest.raises(OverflowError, match=r"test_integers.py:\d+: 1180591620717411303424 does not fit in int64"):
        gnp.asarray(2**70)
    with pytest.raises(OverflowError, match="add: 1099511627776 does not fit in int32"):
        gnp.asarray(2**40) + gnp.array([1, 2])


def test_a_wide_argument_of_a_compiled_function():
    x = gnp.array([1, 2])
    assert graphad.jit(lambda n: n + 1)(2**40).tolist() == 2**40 + 1
    assert graphad.jit(lambda n, x: x < n)(2**40, x).tolist() == [True, True]
    assert graphad.jit(lambda n, x: x.astype(float) * n)(2**40, x).tolist() == [2.0**40, 2.0**41]
    with pytest.raises(OverflowError, match=r"add: an integer that does not fit in 32 bits meets an array of int32"):
        graphad.jit(lambda n, x: n + x)(2**40, x)


def test_integers_become_floats_with_one_rounding():
    """Not by way of float64, which makes a tie of this one."""
    n = 2**60 + 2**36 + 1
    assert int(gnp.asarray(n, "float32")) == 2**60 + 2**37
    assert int((gnp.ones(1) * n)[0]) == 2**60 + 2**37
    assert int(graphad.jit(lambda x: x + n)(gnp.zeros(1))[0]) == 2**60 + 2**37
    assert int(gnp.asarray(2**62 + 2**54 + 1, "bfloat16")) == 2**62 + 2**55


# ---------------------------------------------------------------------------------------------------------------------
# Statistics

LARGE = 2**24 + np.array([1, 3, 5, 8, 21, 22])
WEIGHTS = np.array([1, 2**25 + 1, 3, 5, 7, 9])

STATISTICS = {
    "mean": lambda np, x, w: np.mean(x),
    "var": lambda np, x, w: np.var(x),
    "std": lambda np, x, w: np.std(x, ddof=1),
    "nanmean": lambda np, x, w: np.nanmean(x),
    "nanvar": lambda np, x, w: np.nanvar(x),
    "nanstd": lambda np, x, w: np.nanstd(x),
    "average": lambda np, x, w: np.average(x, weights=w),
    "cov": lambda np, x, w: np.cov(x, w % 11),
    "weighted cov": lambda np, x, w: np.cov(x, fweights=w),
    "corrcoef": lambda np, x, w: np.corrcoef(x, w % 11),
    "median": lambda np, x, w: np.median(x),
    "nanmedian": lambda np, x, w: np.nanmedian(x),
    "quantile": lambda np, x, w: np.quantile(x, 0.3),
    "percentile": lambda np, x, w: np.percentile(x, 30),
    "nanquantile": lambda np, x, w: np.nanquantile(x, 0.3),
    "nanpercentile": lambda np, x, w: np.nanpercentile(x, 30),
    "norm": lambda np, x, w: np.linalg.norm(x),
    "1-norm": lambda np, x, w: np.linalg.norm(x, 1),
    "trapezoid": lambda np, x, w: np.trapezoid(x),
    "trapezoid at places": lambda np, x, w: np.trapezoid(x, w),
    "trapezoid by name": lambda np, x, w: np.trapezoid(y=x, x=w),
    "gradient": lambda np, x, w: np.gradient(x),
}


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_are_computed_in_float64(name, dtype):
    f, x, w = STATISTICS[name], LARGE.astype(dtype), WEIGHTS.astype(dtype)
    expected = np.float32(f(np, LARGE, WEIGHTS))
    for found in (f(gnp, gnp.asarray(x), gnp.asarray(w)), graphad.jit(lambda x, w: f(gnp, x, w))(x, w)):
        assert found.dtype == np.float32
        np.testing.assert_array_max_ulp(np.asarray(found), expected, 1)
