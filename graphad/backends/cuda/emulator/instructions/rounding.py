"""Correctly rounded floating-point arithmetic: fused multiply-add, directed rounding, narrowing.

The sums and products are error-free transformations (Knuth 1969; Dekker 1971; Ogita, Rump and Oishi 2005); a sum
rounded to odd may be rounded again to fewer bits without harm (Boldo and Melquiond, "Emulation of a FMA and correctly
rounded sums: proved algorithms using rounding to odd", 2008). Subnormal numbers are kept; `flush` is the ``.ftz``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_SPLITTER = 134217729.0  # 2^27 + 1 (Veltkamp 1968)
_LEAST_NORMAL = {np.dtype(name): np.finfo(name).tiny for name in ("f2", "f4", "f8")}
_SAFE_FACTOR = 2.0**995  # splitting a larger factor overflows
_SAFE_SUM = 2.0**1020
_SAFE_PRODUCT = 2.0**-960  # the error of a smaller product is not a number of its own


def flush(x: Array) -> Array:
    """Subnormal numbers become zeros of their sign."""
    small = np.abs(x) < _LEAST_NORMAL[x.dtype]
    return np.where(small, np.copysign(x.dtype.type(0), x), x) if np.count_nonzero(small) else x


def saturate(x: Array) -> Array:
    """Clamp to [0, 1]; nan becomes +0."""
    clamped = np.clip(x, x.dtype.type(0), x.dtype.type(1)) + x.dtype.type(0)
    return np.where(np.isnan(x), x.dtype.type(0), clamped)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Sum of two doubles and the error of its rounding."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Product of two doubles and the error of its rounding, for factors below 2**995 and no underflow."""
    product = a * b
    scaled = a * _SPLITTER
    a_high = scaled - (scaled - a)
    scaled = b * _SPLITTER
    b_high = scaled - (scaled - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def odd_sum(a: Array, b: Array) -> Array:
    """Sum of two doubles rounded to odd: truncated, and the last bit set if anything was lost."""
    total, error = two_sum(a, b)
    bits = np.atleast_1d(total).view(np.int64)
    inexact = (error != 0) & (np.abs(total) <= _SAFE_SUM) & ((bits & 1) == 0)
    outward = (error > 0) == (total > 0)
    return np.where(inexact, bits + np.where(outward, 1, -1), bits).view(np.float64)


def _some(x: Array, chosen: Array) -> Array:
    """A scalar operand as it is, of an array the chosen elements."""
    return np.broadcast_to(x, chosen.shape)[chosen]


def fma32(a: Array, b: Array, c: Array) -> Array:
    """``a * b + c`` of single-precision numbers, rounded once."""
    return exact_fma32(a, b, c).astype(np.float32)


def exact_fma32(a: Array, b: Array, c: Array) -> Array:
    """``a * b + c`` of numbers of at most 24 bits as a double that rounds to single precision as the exact one does.

    The product is exact. The sum is rounded to odd where rounding twice could differ from rounding once: where it
    lies in the middle between two single-precision numbers, or where the result is subnormal.
    """
    product = np.multiply(a, b, dtype=np.float64)
    total = np.atleast_1d(np.add(product, c, dtype=np.float64))
    doubtful = (total.view(np.int64) & 0x1FFFFFFF) == 0x10000000
    doubtful |= np.abs(total) < 2.0**-125
    if np.count_nonzero(doubtful):
        total[doubtful] = odd_sum(_some(product, doubtful), _some(c, doubtful).astype(np.float64))
    return total


def odd_fma(a: Array, b: Array, c: Array) -> Array:
    """``a * b + c`` of numbers of at most 24 bits as a double rounded to odd, which may be narrowed to any type."""
    return odd_sum(np.multiply(a, b, dtype=np.float64), np.asarray(c, np.float64))


def fma64(a: Array, b: Array, c: Array) -> Array:
    """``a * b + c`` of doubles, rounded once."""
    product, low = two_product(a, b)
    high, rest = two_sum(low, c)
    top, middle = two_sum(product, high)
    result = np.atleast_1d(top + odd_sum(middle, rest))
    size = np.abs(product)
    safe = (size >= _SAFE_PRODUCT) | (a == 0) | (b == 0)
    safe = safe & (size <= _SAFE_SUM) & (np.abs(c) <= _SAFE_SUM)
    safe = safe & (np.abs(a) <= _SAFE_FACTOR) & (np.abs(b) <= _SAFE_FACTOR)
    zero = (product == 0) & safe
    if np.count_nonzero(zero):
        result[zero] = _some(product, zero) + _some(c, zero)
    if not safe.all():
        unsafe = np.broadcast_to(~safe, result.shape)
        triples = zip(*(_some(x, unsafe).tolist() for x in (a, b, c)), strict=True)
        result[unsafe] = [_fma_of_numbers(*triple) for triple in triples]
    return result


def _fma_of_numbers(a: float, b: float, c: float) -> float:
    """``a * b + c`` in integer arithmetic: for numbers near the ends of the range, infinities and nan."""
    if not (np.isfinite(a) and np.isfinite(b)):
        return a * b + c
    if not np.isfinite(c):
        return c
    (n, d), (m, e), (p, q) = a.as_integer_ratio(), b.as_integer_ratio(), c.as_integer_ratio()
    above, below = n * m * q + p * d * e, d * e * q
    if above == 0:
        return a * b + c if a == 0 or b == 0 else 0.0
    try:
        return above / below
    except OverflowError:
        return np.inf if above > 0 else -np.inf


def directed(nearest: Array, error: Array, mode: str) -> Array:
    """Correct a result rounded to nearest to the mode rz, rm or rp; `error` has the sign of exact minus nearest."""
    infinity = nearest.dtype.type(np.inf)
    down = (error < 0) if mode == "rm" else (error < 0) & (nearest > 0) if mode == "rz" else np.zeros_like(error, bool)
    up = (error > 0) if mode == "rp" else (error > 0) & (nearest < 0) if mode == "rz" else np.zeros_like(error, bool)
    result = np.where(down, np.nextafter(nearest, -infinity), nearest)
    return np.where(up, np.nextafter(nearest, infinity), result)


def narrow(x: Array, dtype: type[np.floating[Any]], mode: str = "rn") -> Array:
    """A double, exact or rounded to odd, to a narrower type."""
    nearest = np.atleast_1d(x).astype(dtype)
    if mode == "rn":
        return nearest
    error = np.where(np.isinf(x), 0.0, x - nearest.astype(np.float64))
    return directed(nearest, error, mode)


def to_bfloat16(x: Array, mode: str = "rn") -> Array:
    """Bits of the bfloat16 numbers nearest to (``rn``), or towards zero from (``rz``), doubles or singles."""
    exact = np.atleast_1d(x)
    single = exact.astype(np.float32)
    bits = single.view(np.uint32)
    if exact.dtype == np.float64:  # to odd: truncated towards zero, the last bit set if anything was lost
        over = (np.abs(single.astype(np.float64)) > np.abs(exact)).astype(np.uint32)
        lost = (single != exact) & ~np.isnan(exact)
        bits = np.where(lost, (bits - over) | np.uint32(1), bits)
    rounded = bits if mode == "rz" else bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    return np.where(np.isnan(exact), np.uint32(0x7FFF), rounded >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: Array) -> Array:
    """The single-precision numbers that bits of bfloat16 numbers stand for."""
    return np.left_shift(np.atleast_1d(bits), 16, dtype=np.uint32).view(np.float32)
