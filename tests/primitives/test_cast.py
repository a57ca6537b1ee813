"""`convert` and `bitcast`: every pair of dtypes, the fixed results, derivatives."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.ir.types import DTYPES, aval, b1, bf16, f16, f32, f64, fits, i8, i32, i64, literal, u8, u32, u64
from graphad.primitives.cast import bitcast, convert
from graphad.primitives.elementwise import mul
from tests.backends.llvm.scalar_cases import nearest
from tests.primitives.calculus import derivatives

FLOATS = (f16, bf16, f32, f64)
INTEGERS = tuple(d for d in DTYPES.values() if d.is_integer)


@pytest.mark.parametrize("source", FLOATS, ids=repr)
@pytest.mark.parametrize("target", INTEGERS, ids=repr)
def test_floats_saturate(source, target):
    """Against exact arithmetic of Python's integers."""
    info, limits = np.iinfo(target.numpy), ml_dtypes.finfo(source.numpy)
    ends = [float(info.min), float(info.max), info.max / 2, info.min / 2, 0.99, -0.99, 2.5, -2.5, -0.0]
    with np.errstate(over="ignore"):
        values = np.array([*ends, np.nan, np.inf, -np.inf, limits.max, limits.min]).astype(source.numpy)
    values = np.concatenate([values, np.nextafter(values, values.dtype.type(0))])

    def exact(v):
        if np.isnan(v):
            return 0
        return max(info.min, min(info.max, int(v))) if np.isfinite(v) else info.max if v > 0 else info.min

    assert convert(values, dtype=target).tolist() == [exact(float(v)) for v in values]


def test_integers_wrap_around():
    assert convert(np.array([300, -1], np.int32), dtype=u8).tolist() == [44, 255]
    assert convert(np.array([200], np.uint8), dtype=i8).tolist() == [-56]
    assert convert(np.array([2**63], np.uint64), dtype=i64).tolist() == [-(2**63)]


def test_what_is_not_zero_is_true():
    got = convert(np.array([0.0, -0.0, 1e-45, np.nan, -np.inf], np.float32), dtype=b1)
    assert got.tolist() == [False, False, True, True, True]


def test_a_float_too_large_becomes_infinite():
    assert convert(np.array([1e300, -1e300]), dtype=f32).tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("source", [f32, f64, i32, u32, i64, u64], ids=repr)
@pytest.mark.parametrize("target", [bf16, f16, f32], ids=repr)
def test_floats_are_rounded_once(source, target):
    """Ties between two numbers of the target, and what lies beside them by less than float32 or float64 hold."""
    ties = [2**a + s * 2 ** (a - b) + t for a in (7, 24, 40, 62) for b in (8, 9, 11, 24) if a >= b
            for s in (1, 3) for t in (0, 1, -1)]  # fmt: skip
    if source.is_float:
        fractions = [1 + 2**-a + s * 2**-b for a in (7, 8, 9, 11, 24) for b in (30, 40, 52) for s in (0, 1, -1)]
        ties = [s * v for v in [*ties, *fractions, 1e300, 3.4e38, 2.0**-130 * 1.3, 6.1e-8 * 1.5] for s in (1, -1)]
    with np.errstate(over="ignore"):
        values = np.array([v for v in ties if source.is_float or fits(v, source)]).astype(source.numpy)
        values = values[np.isfinite(values)]
        expected = [nearest(v.item(), target) for v in values]
        assert convert(values, dtype=target).astype(float).tolist() == expected
        assert [literal(v.item(), target).item() for v in values] == expected


def test_numbers_become_bfloat16_with_one_rounding():
    """In all ways in which an array of it is made: 1 + 2**-8 is a tie, and float32 does not hold what is above it."""
    n = 1 + 2**-8 + 2**-40
    x = np.array([n])
    made = [
        gnp.asarray(n, "bfloat16"), gnp.asarray([n], "bfloat16"), gnp.asarray(x, "bfloat16"), gnp.bfloat16(n),
        gnp.bfloat16([n]), gnp.asarray(x).astype("bfloat16"), gnp.full(1, n, "bfloat16"), gnp.zeros(1, "bfloat16") + n,
        gnp.zeros(1, "bfloat16").at[0].set(n), gnp.fromiter([n], "bfloat16"), gnp.array([x[0], n], "bfloat16"),
        graphad.jit(lambda x: x.astype("bfloat16"))(x), graphad.jit(lambda z: z + n)(gnp.zeros(1, "bfloat16")),
        graphad.jit(lambda z, n: z + n)(gnp.zeros(1, "bfloat16"), n),
    ]  # fmt: skip
    assert [np.asarray(m, np.float64).ravel().tolist() for m in made] == [[1.0078125] * m.size for m in made]


def test_the_derivative_goes_there_and_back():
    def narrow(x):
        return convert(convert(x, dtype=f32), dtype=f64)

    def wide(x):
        return convert(mul(convert(x, dtype=f64), 3.0), dtype=f32)

    assert derivatives(narrow, 3.0, f64, order=2).tolist() == [3, 1, 0]
    assert derivatives(wide, 2.0, f32, order=1).tolist() == [6, 3]


def test_integers_have_no_derivative():
    def steps(x):
        return mul(x, convert(convert(x, dtype=i32), dtype=f64))

    assert derivatives(steps, 2.5, f64, order=1).tolist() == [5, 2]


def test_bits():
    assert bitcast(np.float32(1.0), dtype=u32) == 0x3F800000
    assert bitcast(np.array([0x7FF0000000000000], np.uint64), dtype=f64).tolist() == [np.inf]
    assert bitcast.type_rule(aval((3,), f64), dtype=u64) is aval((3,), u64)
