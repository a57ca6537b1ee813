"""Quotients, remainders, shifts and counts of bits, where C leaves results undefined: all pairs of special values."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.ir.types import i8, i32, i64, u8, u32, u64
from graphad.primitives import elementwise as e
from graphad.primitives.families import special_values


def wrapped(value, dtype):
    """A Python integer modulo the range of ``dtype``."""
    value &= (1 << dtype.bits) - 1
    return value - (1 << dtype.bits) if dtype.kind == "i" and value >> (dtype.bits - 1) else value


def exact_quo(x, y, _dtype):
    return 0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def exact_rem(x, y, dtype):
    return x - exact_quo(x, y, dtype) * y


def count(n, dtype):
    """A shift count, read as unsigned and no larger than needed."""
    return min(n % (1 << dtype.bits), dtype.bits)


def exact_lshr(x, n, dtype):
    return (x % (1 << dtype.bits)) >> count(n, dtype)


def exact_ashr(x, n, dtype):
    signed = x - (1 << dtype.bits) if x >> (dtype.bits - 1) == 1 else x
    return signed >> count(n, dtype)


CASES = {
    "quo": (e.quo, exact_quo),
    "rem": (e.rem, exact_rem),
    "shift_left": (e.shift_left, lambda x, n, dtype: x << count(n, dtype)),
    "shift_right_logical": (e.shift_right_logical, exact_lshr),
    "shift_right_arithmetic": (e.shift_right_arithmetic, exact_ashr),
    "integer_pow": (lambda x, y: e.integer_pow(x, n=5), lambda x, y, dtype: x**5),
    "abs": (lambda x, y: e.abs_(x), lambda x, y, dtype: abs(x)),
    "not": (lambda x, y: e.not_(x), lambda x, y, dtype: ~x),
    "population_count": (lambda x, y: e.population_count(x), lambda x, y, dtype: (x % (1 << dtype.bits)).bit_count()),
    "clz": (lambda x, y: e.clz(x), lambda x, y, dtype: dtype.bits - (x % (1 << dtype.bits)).bit_length()),
}


@pytest.mark.parametrize("dtype", [i8, u8, i32, u32, i64, u64], ids=repr)
@pytest.mark.parametrize("name", CASES)
def test_special_values(name, dtype):
    primitive, exact = CASES[name]
    x, y = (g.ravel() for g in np.meshgrid(special_values(dtype), special_values(dtype)))
    with np.errstate(all="ignore"):
        got = primitive(x, y)
    assert got.dtype == dtype.numpy
    assert got.tolist() == [wrapped(exact(int(a), int(b), dtype), dtype) for a, b in zip(x, y)]
