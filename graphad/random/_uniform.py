"""Uniform numbers, and distributions that are simple functions of them: normal, Bernoulli, Rademacher, integers."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from graphad import numpy as gnp
from graphad.ir.types import DType, dtype_of, f64, fits, i32, i64, u64
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.primitives.cast import bitcast
from graphad.primitives.elementwise import erf_inv, rem
from graphad.random._keys import Words, random_bits, split_words, words_of, words_of_batch
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_operand,
    broadcast_shapes,
    canonical_dtype,
    canonical_shape,
    cast,
    default_float,
    default_int,
    dtype_and_weakness,
    elementwise,
)


def uniform(
    key: ArrayLike,
    shape: Shape = (),
    dtype: DTypeLike | None = None,
    minval: ArrayLike = 0.0,
    maxval: ArrayLike = 1.0,
) -> Array:
    """Uniform distribution from ``minval`` (included) to ``maxval`` (excluded).

    >>> from graphad.random import key
    >>> uniform(key(0), (2,))
    Array([0.21629536, 0.8041241 ], dtype=float32)
    >>> uniform(key(0), (2,), minval=-2.0, maxval=2.0)
    Array([-1.1348186,  1.2164965], dtype=float32)
    """
    wanted = float_dtype(dtype, "uniform")
    (low, high), sizes = parameters("uniform", canonical_shape(shape, "uniform"), wanted, minval, maxval)
    return between(words_of(key, "uniform"), sizes, wanted, low, high)


def normal(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Normal distribution with mean 0 and variance 1.

    >>> from graphad.random import key
    >>> normal(key(0), ())
    Array(-0.20584..., dtype=float32)
    """
    wanted = float_dtype(dtype, "normal")
    return standard_normal(words_of(key, "normal"), canonical_shape(shape, "normal"), wanted)


def bernoulli(key: ArrayLike, p: ArrayLike = 0.5, shape: Shape | None = None) -> Array:
    """Bernoulli distribution: true with probability ``p``, else false.

    >>> from graphad.random import key
    >>> bernoulli(key(0), 0.5, (3,))
    Array([False,  True, False], dtype=bool)
    """
    p = as_float(p, "bernoulli")
    (p,), sizes = parameters("bernoulli", shape, dtype_and_weakness(p)[0], p)
    return uniform(key, sizes, p.dtype) < p


def rademacher(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Rademacher distribution: 1 or -1, each with probability 1/2.

    >>> from graphad.random import key
    >>> rademacher(key(0), (3,))
    Array([-1,  1, -1], dtype=int32)
    """
    wanted = default_int() if dtype is None else canonical_dtype(dtype)
    return 2 * cast(bernoulli(key, 0.5, canonical_shape(shape, "rademacher")), wanted) - 1


def randint(
    key: ArrayLike, shape: Shape, minval: ArrayLike, maxval: ArrayLike, dtype: DTypeLike | None = None
) -> Array:
    """Integers from ``minval`` (included) to ``maxval`` (excluded).

    >>> from graphad.random import key
    >>> randint(key(0), (3,), 0, 10)
    Array([8, 1, 7], dtype=int32)
    """
    wanted = default_int() if dtype is None else canonical_dtype(dtype)
    if not wanted.is_integer:
        raise TypeError(f"{source.where()}randint gives integers, not {wanted.numpy}.")
    sizes = canonical_shape(shape, "randint")
    words = words_of(key, "randint")
    low, high = (_integer(v, "randint") for v in (minval, maxval))
    if wanted.bits >= 32:
        return _integers_between(words, sizes, low, high, wanted)
    # Drawn in 32 bits, so that all numbers are equally likely.
    limits = np.iinfo(wanted.numpy)
    low, high = (cast(gnp.clip(v, limits.min, end), i32) for v, end in ((low, limits.max), (high, limits.max + 1)))
    return cast(_integers_between(words, sizes, low, high, i32), wanted)


def _integers_between(words: Words, sizes: tuple[int, ...], low: Any, high: Any, wanted: DType) -> Array:
    beyond = high > np.iinfo(wanted.numpy).max if dtype_and_weakness(high)[0].bits >= wanted.bits else False
    low, high = _clipped(low, wanted), _clipped(high, wanted)
    check_shapes("randint", sizes, low.shape, high.shape)

    unsigned = dtype_of(f"u{wanted.bits}")
    one = unsigned.numpy.type(1)
    span = gnp.where(high <= low, one, cast(high - low, unsigned))
    span = gnp.where((high > low) & beyond, span + one, span)
    # A number of twice the bits modulo span, by way of 2**bits modulo span.
    half = _rem(unsigned.numpy.type(2 ** (wanted.bits // 2)), span)
    upper, lower = (_rem(random_bits(words_of_batch(k), wanted.bits, sizes), span) for k in split_words(words, 2))
    offset = _rem(upper * _rem(half * half, span) + lower, span)
    return low + cast(offset, wanted)


def _rem(x: Any, y: Any) -> Any:
    return elementwise(rem, x, y)


def _integer(x: ArrayLike, name: str) -> Any:
    if type(x) is int and not fits(x, i64):
        return cast(x, u64, name=name)
    x = as_operand(x, name)
    return x if dtype_and_weakness(x)[0].is_integer else cast(x, default_int())


def _clipped(x: Any, dtype: DType) -> Any:
    """``x`` in ``dtype``, clamped to its range."""
    have, limits = np.iinfo(x.dtype), np.iinfo(dtype.numpy)
    low, high = max(have.min, limits.min), min(have.max, limits.max)
    return cast(gnp.where(x < low, x.dtype.type(low), gnp.where(x > high, x.dtype.type(high), x)), dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Helpers of the other distributions


def between(words: Words, shape: tuple[int, ...], dtype: DType, low: Any, high: Any) -> Any:
    """Uniform numbers between two operands."""
    return gnp.maximum(low, fractions(words, shape, dtype) * (high - low) + low)


def fractions(words: Words, shape: tuple[int, ...], dtype: DType) -> Any:
    """Numbers in [0, 1): random mantissas under the exponent of 1, less 1."""
    mantissa = int(ml_dtypes.finfo(dtype.numpy).nmant)
    width = 8 if mantissa < 8 else dtype.bits
    unsigned = dtype_of(f"u{dtype.bits}")
    one = np.ones((), dtype.numpy).view(unsigned.numpy)[()]
    drawn = gnp.right_shift(cast(random_bits(words, width, shape), unsigned), width - mantissa) | one
    return bitcast(drawn, dtype=dtype) - dtype.numpy.type(1)


def standard_normal(words: Words, shape: tuple[int, ...], dtype: DType) -> Any:
    """Normal numbers: the inverse of their distribution function at uniform numbers."""
    limit = np.nextafter(dtype.numpy.type(-1), dtype.numpy.type(0))
    spread = between(words, shape, dtype, Array(np.asarray(limit)), Array(np.ones((), dtype.numpy)))
    return elementwise(erf_inv, spread) * np.asarray(math.sqrt(2), dtype.numpy)[()]


def float_dtype(dtype: DTypeLike | None, name: str) -> DType:
    """The floating-point type given by ``dtype``, checked."""
    wanted = default_float() if dtype is None else canonical_dtype(dtype)
    if not wanted.is_float:
        raise TypeError(f"{source.where()}{name} gives floating-point numbers, not {wanted.numpy}.")
    return wanted


def parameters(name: str, shape: Shape | None, dtype: DType, *values: ArrayLike) -> tuple[list[Array], tuple[int, ...]]:
    """A distribution's parameters in one dtype, and the shape of the result: theirs if none was asked for."""
    cast_values = [cast(v, dtype, name=name) for v in values]
    if shape is None:
        return cast_values, broadcast_shapes([v.shape for v in cast_values], name)
    sizes = canonical_shape(shape, name)
    check_shapes(name, sizes, *[v.shape for v in cast_values])
    return cast_values, sizes


def from_list(x: Any, dtype: DType) -> Array:
    """``x`` as an array; numbers in lists with all digits that a result in float64 has."""
    return gnp.asarray(x, f64 if dtype is f64 and isinstance(x, (list, tuple)) else None)


def check_shapes(name: str, shape: tuple[int, ...], *own: tuple[int, ...]) -> None:
    """Raise unless parameters with shapes of their ``own`` broadcast to ``shape``."""
    found = broadcast_shapes([shape, *own], name)
    if found != shape:
        raise ValueError(
            f"{source.where()}{name} got shape {shape}, to which its parameters of shapes {list(own)} do not "
            f"broadcast: give shape={found}."
        )
