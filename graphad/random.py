"""Random numbers from explicit keys, bit for bit those of ``jax.random``.

A key is an array ``uint32[2]``. Nothing is hidden: the same key gives the same numbers, so `split` it for new ones.
``config.threefry_partitionable`` chooses between JAX's two layouts of the bits; the default is the one that was JAX's
until version 0.5, whose numbers its tutorials print.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from graphad import numpy as gnp
from graphad.config import config
from graphad.ir.types import DType, dtype_of, i32, u32
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.primitives.cast import bitcast
from graphad.primitives.elementwise import erf_inv, rem
from graphad.primitives.random import threefry2x32
from graphad.primitives.shape import positions
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.recording import current
from graphad.trace.semantics import (
    as_float,
    as_operand,
    broadcast_shapes,
    canonical_axis,
    canonical_dtype,
    canonical_shape,
    cast,
    default_float,
    default_int,
    dtype_and_weakness,
    elementwise,
    shape_text,
)
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# Keys


def key(seed: ArrayLike) -> Array:
    """The key that belongs to an integer.

    >>> key(42)
    Array([ 0, 42], dtype=uint32)
    """
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        high = int(seed) >> 32 if default_int().bits == 64 else 0
        return Array(np.array([high & 0xFFFFFFFF, int(seed) & 0xFFFFFFFF], np.uint32))
    seed = as_operand(seed, "key")
    dtype, _ = dtype_and_weakness(seed)
    if seed.ndim or not dtype.is_integer:
        raise TypeError(f"{source.where()}key takes an integer as seed, got {shape_text(seed)}.")
    high = cast(gnp.right_shift(seed, 32), u32) if dtype.bits == 64 else Array(np.zeros((), np.uint32))
    return gnp.stack([high, cast(seed, u32)])


PRNGKey = key


def split(key: ArrayLike, num: int | Sequence[int] = 2) -> Array:
    """So many new keys, to be used in place of ``key``.

    >>> a, b = split(PRNGKey(0))
    >>> a
    Array([4146024105,  967050713], dtype=uint32)
    """
    words, shape = _words(key, "split"), canonical_shape(num, "split")
    if not config.threefry_partitionable:
        return gnp.reshape(_halved(words, 2 * math.prod(shape)), (*shape, 2))
    return gnp.stack([gnp.reshape(x, shape) for x in _counted(words, math.prod(shape))], axis=len(shape))


def fold_in(key: ArrayLike, data: ArrayLike) -> Array:
    """A new key from ``key`` and an integer, such as the number of a step.

    >>> fold_in(PRNGKey(0), 1)
    Array([ 928981903, 3453687069], dtype=uint32)
    """
    k0, k1 = _words(key, "fold_in")
    if isinstance(data, int):
        data = np.uint32(data & 0xFFFFFFFF)
    data = as_operand(data, "fold_in")
    if data.ndim or not dtype_and_weakness(data)[0].is_integer:
        raise TypeError(f"{source.where()}fold_in takes an integer beside the key, got {shape_text(data)}.")
    return gnp.stack(threefry2x32(k0, k1, 0, cast(data, u32)))


def _words(key: Any, name: str) -> tuple[Any, Any]:
    """The two words of a key."""
    key = as_operand(key, name)
    if dtype_and_weakness(key)[0] is not u32 or key.shape != (2,):
        raise TypeError(
            f"{source.where()}{name} takes a key uint32[2], as key(0) and split give it, got {shape_text(key)}. "
            "For several keys at once write graphad.vmap."
        )
    return key[0], key[1]


# ---------------------------------------------------------------------------------------------------------------------
# Bits


def _counter(like: Any, size: int) -> Any:
    """0, 1, 2, ...: computed by the program where the key is traced, so that it carries no array along."""
    trace = current()
    if isinstance(like, Tracer) and trace is not None:
        return Tracer(trace, positions(trace, (size,), 0, u32).atom)
    return Array(np.arange(size, dtype=np.uint32))


def _encrypted(words: tuple[Any, Any], high: Any, low: Any) -> list[Any]:
    k0, k1 = (gnp.broadcast_to(k, low.shape) for k in words)
    return threefry2x32(k0, k1, high, low)


def _counted(words: tuple[Any, Any], size: int) -> list[Any]:
    """Both words of block after block, as the newer layout has them."""
    _check_size(size)
    return _encrypted(words, 0, _counter(words[0], size))


def _halved(words: tuple[Any, Any], size: int) -> Any:
    """``size`` words as the older layout has them: the counters' first half paired with their second half."""
    _check_size(size)
    half = (size + 1) // 2
    first = _counter(words[0], half)
    second = first + half
    if size % 2:  # the counter that is one too many is 0
        second = gnp.where(first == half - 1, np.uint32(0), second)
    return gnp.concatenate(_encrypted(words, first, second))[:size]


def _check_size(size: int) -> None:
    if size >= 2**32:
        raise ValueError(f"{source.where()}one key gives fewer than 2**32 words at once, not {size}: split the key.")


def bits(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Random bits as unsigned integers, uint32 unless told otherwise.

    >>> bits(PRNGKey(0), (2,))
    Array([ 928981903, 3453687069], dtype=uint32)
    """
    wanted = u32 if dtype is None else canonical_dtype(dtype)
    if wanted.kind != "u":
        raise TypeError(f"{source.where()}bits gives unsigned integers, not {wanted.numpy}.")
    return _bits(_words(key, "bits"), wanted.bits, canonical_shape(shape, "bits"))


def _bits(words: tuple[Any, Any], width: int, shape: tuple[int, ...]) -> Any:
    size, dtype = math.prod(shape), dtype_of(f"u{width}")
    if config.threefry_partitionable:
        high, low = _counted(words, size)
        flat = (cast(high, dtype) << 32) | cast(low, dtype) if width == 64 else cast(high ^ low, dtype)
    elif width == 64:
        both = cast(_halved(words, 2 * size), dtype)
        flat = gnp.left_shift(both[:size], 32) | both[size:]
    elif width == 32:
        flat = _halved(words, size)
    else:
        blocks = _halved(words, -(-size * width // 32))
        shifts = np.arange(0, 32, width, dtype=np.uint32)
        parts = gnp.bitwise_and(gnp.right_shift(blocks[:, None], shifts), np.uint32(2**width - 1))
        flat = cast(gnp.ravel(parts)[:size], dtype)
    return gnp.reshape(flat, shape)


# ---------------------------------------------------------------------------------------------------------------------
# Distributions


def uniform(
    key: ArrayLike,
    shape: Shape = (),
    dtype: DTypeLike | None = None,
    minval: ArrayLike = 0.0,
    maxval: ArrayLike = 1.0,
) -> Array:
    """Numbers spread evenly from ``minval`` (included) to ``maxval`` (excluded).

    >>> uniform(PRNGKey(0), (2,))
    Array([0.21629536, 0.8041241 ], dtype=float32)
    """
    wanted = _float_dtype(dtype, "uniform")
    sizes = canonical_shape(shape, "uniform")
    low, high = cast(as_operand(minval, "uniform"), wanted), cast(as_operand(maxval, "uniform"), wanted)
    _check_parameters("uniform", sizes, low, high)
    fractions = _fractions(_words(key, "uniform"), sizes, wanted)
    return gnp.maximum(low, fractions * (high - low) + low)


def _fractions(words: tuple[Any, Any], shape: tuple[int, ...], dtype: DType) -> Any:
    """Numbers in [0, 1): random mantissas under the exponent of 1, less 1."""
    mantissa = int(ml_dtypes.finfo(dtype.numpy).nmant)
    width = 8 if mantissa < 8 else dtype.bits
    unsigned = dtype_of(f"u{dtype.bits}")
    one = np.ones((), dtype.numpy).view(unsigned.numpy)[()]
    drawn = gnp.right_shift(cast(_bits(words, width, shape), unsigned), width - mantissa) | one
    return bitcast(drawn, dtype=dtype) - dtype.numpy.type(1)


def _float_dtype(dtype: DTypeLike | None, name: str) -> DType:
    wanted = default_float() if dtype is None else canonical_dtype(dtype)
    if not wanted.is_float:
        raise TypeError(f"{source.where()}{name} gives floating-point numbers, not {wanted.numpy}.")
    return wanted


def _check_parameters(name: str, shape: tuple[int, ...], *parameters: Any) -> None:
    found = broadcast_shapes([shape, *[p.shape for p in parameters]], name)
    if found != shape:
        raise ValueError(
            f"{source.where()}{name} got shape {shape}, to which its parameters of shapes "
            f"{[p.shape for p in parameters]} do not broadcast: give shape={found}."
        )


def normal(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Numbers of the normal distribution with mean 0 and variance 1.

    >>> normal(PRNGKey(0), ())
    Array(-0.20584..., dtype=float32)
    """
    wanted = _float_dtype(dtype, "normal")
    _words(key, "normal")
    limit = np.nextafter(wanted.numpy.type(-1), wanted.numpy.type(0))
    spread = uniform(key, shape, wanted, limit, 1.0)
    return elementwise(erf_inv, spread) * np.asarray(math.sqrt(2), wanted.numpy)[()]


def bernoulli(key: ArrayLike, p: ArrayLike = 0.5, shape: Shape | None = None) -> Array:
    """True with probability ``p``, else false.

    >>> bernoulli(PRNGKey(0), 0.5, (3,))
    Array([False,  True, False], dtype=bool)
    """
    p = as_float(p, "bernoulli")
    sizes = p.shape if shape is None else canonical_shape(shape, "bernoulli")
    _check_parameters("bernoulli", sizes, p)
    return uniform(key, sizes, dtype_and_weakness(p)[0]) < p


def randint(
    key: ArrayLike, shape: Shape, minval: ArrayLike, maxval: ArrayLike, dtype: DTypeLike | None = None
) -> Array:
    """Integers from ``minval`` (included) to ``maxval`` (excluded).

    >>> randint(PRNGKey(0), (3,), 0, 10)
    Array([8, 1, 7], dtype=int32)
    """
    wanted = default_int() if dtype is None else canonical_dtype(dtype)
    if not wanted.is_integer:
        raise TypeError(f"{source.where()}randint gives integers, not {wanted.numpy}.")
    sizes = canonical_shape(shape, "randint")
    words = _words(key, "randint")
    low, high = (_integer(v, "randint") for v in (minval, maxval))
    if wanted.bits >= 32:
        return _integers_between(words, sizes, low, high, wanted)
    # Drawn in 32 bits, so that all numbers are equally likely.
    limits = np.iinfo(wanted.numpy)
    low, high = gnp.clip(cast(low, i32), limits.min, limits.max), gnp.clip(cast(high, i32), limits.min, limits.max + 1)
    return cast(_integers_between(words, sizes, low, high, i32), wanted)


def _integers_between(words: tuple[Any, Any], sizes: tuple[int, ...], low: Any, high: Any, wanted: DType) -> Array:
    beyond = high > np.iinfo(wanted.numpy).max if dtype_and_weakness(high)[0].bits >= wanted.bits else False
    low, high = _clipped(low, wanted), _clipped(high, wanted)
    _check_parameters("randint", sizes, low, high)

    first, second = split(gnp.stack(words))
    unsigned = dtype_of(f"u{wanted.bits}")
    one = unsigned.numpy.type(1)
    span = gnp.where(high <= low, one, cast(high - low, unsigned))
    span = gnp.where((high > low) & beyond, span + one, span)
    # A number of twice the bits modulo span, by way of 2**bits modulo span.
    half = _rem(unsigned.numpy.type(2 ** (wanted.bits // 2)), span)
    upper, lower = (_rem(_bits(_words(k, "randint"), wanted.bits, sizes), span) for k in (first, second))
    offset = _rem(upper * _rem(half * half, span) + lower, span)
    return low + cast(offset, wanted)


def _rem(x: Any, y: Any) -> Any:
    return elementwise(rem, x, y)


def _integer(x: ArrayLike, name: str) -> Any:
    x = as_operand(x, name)
    return x if dtype_and_weakness(x)[0].is_integer else cast(x, default_int())


def _clipped(x: Any, dtype: DType) -> Any:
    """``x`` in ``dtype``, values beyond its range at its ends."""
    have, limits = np.iinfo(x.dtype), np.iinfo(dtype.numpy)
    low, high = max(have.min, limits.min), min(have.max, limits.max)
    return cast(gnp.where(x < low, x.dtype.type(low), gnp.where(x > high, x.dtype.type(high), x)), dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Order and choice


def permutation(key: ArrayLike, x: ArrayLike, axis: int = 0, independent: bool = False) -> Array:
    """``x`` (or the numbers below the integer ``x``) in random order along an axis.

    With ``independent`` each position of the other axes has an order of its own.

    >>> permutation(PRNGKey(0), 5).sum()
    Array(10, dtype=int32)
    """
    words = _words(key, "permutation")
    x = as_operand(x, "permutation")
    if not x.ndim:
        return gnp.arange(operator.index(x))[_order(words, (operator.index(x),), 0)]
    k = canonical_axis(axis, x.ndim, "permutation")
    if independent and x.ndim > 1:
        order = _order(words, x.shape, k)
        grid: list[Any] = list(np.indices(x.shape, sparse=True))
        grid[k] = order
        return x[tuple(grid)]
    return gnp.take(x, _order(words, (x.shape[k],), 0), k)


def _order(words: tuple[Any, Any], shape: tuple[int, ...], axis: int) -> np.ndarray[Any, Any]:
    """Positions along ``axis`` in random order: sorted by random words, several times lest ties show.

    The number of rounds is that of JAX, after tensorflow/compiler/tf2xla/random_ops.cc.
    """
    if any([isinstance(w, Tracer) for w in words]):
        raise TypeError(
            f"{source.where()}permutation needs a key with a known value, as sorting is not traced. "
            "Draw the permutation outside the traced function and pass it in."
        )
    size = math.prod(shape)
    along = [1] * len(shape)
    along[axis] = shape[axis]
    order = np.broadcast_to(np.arange(shape[axis]).reshape(along), shape)
    current_key: Any = gnp.stack(words)
    for _ in range(math.ceil(3 * math.log(max(1, size)) / math.log(2**32 - 1))):
        current_key, subkey = split(current_key)
        drawn = np.asarray(bits(subkey, shape))
        order = np.take_along_axis(order, np.argsort(drawn, axis=axis, kind="stable"), axis=axis)
    return order


def choice(
    key: ArrayLike,
    a: ArrayLike,
    shape: Shape = (),
    replace: bool = True,
    p: ArrayLike | None = None,
    axis: int = 0,
) -> Array:
    """Elements of ``a`` (or numbers below the integer ``a``) drawn at random, with probabilities ``p``.

    >>> choice(PRNGKey(0), 5, (3,)).shape
    (3,)
    """
    a, sizes = as_operand(a, "choice"), canonical_shape(shape, "choice")
    k = canonical_axis(axis, a.ndim, "choice") if a.ndim else 0
    n, draws = a.shape[k] if a.ndim else operator.index(a), math.prod(sizes)
    if draws and n <= 0:
        raise ValueError(f"{source.where()}choice has nothing to draw from: {n} elements.")
    if not replace and draws > n:
        raise ValueError(f"{source.where()}choice without replacement cannot draw {draws} of {n} elements.")
    if p is not None and not replace:
        raise ValueError(
            f"{source.where()}choice without replacement takes no p=: it needs a sort, which is not traced."
        )
    if p is not None:
        cumulative = gnp.cumsum(as_float(p, "choice"))
        if cumulative.shape != (n,):
            raise ValueError(f"{source.where()}choice takes p of shape ({n},), got {cumulative.shape}.")
        drawn = cumulative[-1] * (1 - uniform(key, sizes, dtype_and_weakness(cumulative)[0]))
        index = gnp.sum(cumulative < drawn[..., None], -1)
    elif replace:
        index = randint(key, sizes, 0, n)
    else:
        index = gnp.reshape(permutation(key, n)[:draws], sizes)
    return gnp.take(a, index, k) if a.ndim else index
