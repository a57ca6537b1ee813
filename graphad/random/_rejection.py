"""Gamma and Poisson numbers: drawn, and drawn again until they are accepted.

How often is not known beforehand, so these run at once, on keys and parameters with known values. All numbers are drawn
side by side, each from the key that it has in JAX: the same numbers come out, but for the rounding of logarithms (and,
should a number lie within rounding of being accepted, for that number).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphad.ir.types import DType, f32
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.random._keys import Words, lanes_of, split_words, words_of
from graphad.random._uniform import float_dtype, fractions, parameters, standard_normal
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import canonical_dtype, default_int
from graphad.trace.tracer import Tracer

Numbers = np.ndarray[Any, Any]


def gamma(key: ArrayLike, a: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Numbers with density proportional to ``x ** (a - 1) * exp(-x)`` for x > 0.

    >>> from graphad.random import key
    >>> gamma(key(0), 3.0, (2,)).shape
    (2,)
    """
    return draw_gamma("gamma", key, a, shape, dtype, logarithm=False)


def loggamma(key: ArrayLike, a: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Logarithms of numbers of `gamma`, which are exact where those would be too small for a float.

    >>> from graphad.random import key
    >>> loggamma(key(0), 1e-3, (2,)).shape
    (2,)
    """
    return draw_gamma("loggamma", key, a, shape, dtype, logarithm=True)


def draw_gamma(
    name: str, key: ArrayLike, a: ArrayLike, shape: Shape | None, dtype: DTypeLike | None, *, logarithm: bool
) -> Array:
    """Gamma numbers, or their logarithms, for the function ``name``."""
    wanted = float_dtype(dtype, name)
    (a,), sizes = parameters(name, shape, wanted, a)
    words = words_of(key, name)
    (alpha, *_) = known(name, "numbers are drawn until they are accepted", a, *words)
    alpha = np.broadcast_to(alpha, sizes).ravel()
    with np.errstate(all="ignore"):
        drawn = _gamma(lanes_of(split_words(words, alpha.size)), alpha, wanted, logarithm)
    return Array(drawn.reshape(sizes).astype(wanted.numpy))


def _gamma(words: Words, alpha: Numbers, dtype: DType, logarithm: bool) -> Numbers:
    """The method of Marsaglia and Tsang (2000); below 1 by way of ``alpha + 1`` and a factor."""
    real = dtype.numpy.type
    boosted = alpha < 1
    d = np.where(boosted, alpha + real(1), alpha) - real(1 / 3)
    c = real(1 / 3) / np.sqrt(d)
    keys, boost_words = _split(words, 2)
    cubes = _accepted_cubes(keys, c, d, dtype)
    if logarithm:
        log_even = np.log1p(-np.asarray(fractions(boost_words, (), dtype)))
        log_factor = np.where(boosted & (log_even != 0), log_even * (real(1) / alpha), real(0))
        return np.log(d) + np.log(cubes) + log_factor
    even = real(1) - np.asarray(fractions(boost_words, (), dtype))
    return d * cubes * np.where(boosted, np.power(even, real(1) / alpha), real(1))


def _accepted_cubes(words: Words, c: Numbers, d: Numbers, dtype: DType) -> Numbers:
    """(1 + c x)**3 for normal x, each accepted with the probability that makes it a gamma number divided by d."""
    real = dtype.numpy.type
    cubes = np.ones_like(d)
    lanes = np.arange(d.size)
    while lanes.size:
        words, x_words, even_words = _split(words, 3)
        x, v = _with_positive_base(x_words, c[lanes], dtype)
        square, cube = x * x, v * v * v
        even = np.asarray(fractions(even_words, (), dtype))
        cubes[lanes] = cube
        again = (even >= real(1) - real(0.0331) * (square * square)) & (
            np.log(even) >= square * real(0.5) + d[lanes] * ((real(1) - cube) + np.log(cube))
        )
        lanes, words = lanes[again], _at(words, again)
    return cubes


def _with_positive_base(words: Words, c: Numbers, dtype: DType) -> tuple[Numbers, Numbers]:
    """Normal numbers x for which v = 1 + c x is positive, and v."""
    real = dtype.numpy.type
    x, v = np.zeros_like(c), np.full_like(c, -1)
    lanes = np.arange(c.size)
    while lanes.size:
        words, subwords = _split(words, 2)
        x[lanes] = np.asarray(standard_normal(subwords, (), dtype))
        v[lanes] = real(1) + x[lanes] * c[lanes]
        again = v[lanes] <= 0
        lanes, words = lanes[again], _at(words, again)
    return x, v


def poisson(key: ArrayLike, lam: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """How many events happen in a time in which ``lam`` are to be expected.

    >>> from graphad.random import key
    >>> poisson(key(0), 3.0, (2,)).shape
    (2,)
    """
    wanted = default_int() if dtype is None else canonical_dtype(dtype)
    if not wanted.is_integer:
        raise TypeError(f"{source.where()}poisson gives integers, not {wanted.numpy}.")
    (lam,), sizes = parameters("poisson", shape, f32, lam)
    words = words_of(key, "poisson")
    (rates, *_) = known("poisson", "numbers are drawn until they are accepted", lam, *words)
    rates = np.broadcast_to(rates, sizes)
    few = np.isnan(rates) | (rates < 10)
    with np.errstate(all="ignore"):
        counts = _count_few(words, np.where(few, rates, np.float32(0)))
        if not few.all():
            many = _count_many(words, np.where(few, np.float32(1e5), rates))
            counts = np.where(few, counts, many)
    return Array(np.where(rates == 0, 0, counts).astype(wanted.numpy))


def _count_few(words: Words, rates: Numbers) -> Numbers:
    """Knuth's method: even numbers multiplied until the product is below exp(-rate)."""
    counts, log_product = np.zeros(rates.shape, np.int64), np.zeros(rates.shape, np.float32)
    while (running := log_product > -rates).any():
        words, subwords = _split(words, 2)
        counts += running
        log_product += np.log(np.asarray(fractions(subwords, rates.shape, f32)))
    return counts - 1


def _count_many(words: Words, rates: Numbers) -> Numbers:
    """The method PTRS of Hörmann (1993), in float32 throughout.

    Numbers go on being replaced by later ones that are accepted, until each has been accepted once.
    """
    log_rates, b = np.log(rates), np.float32(0.931) + np.float32(2.53) * np.sqrt(rates)
    a = np.float32(-0.059) + np.float32(0.02483) * b
    inverse_alpha = np.float32(1.1239) + np.float32(1.1328) / (b - np.float32(3.4))
    enough = np.float32(0.9277) - np.float32(3.6224) / (b - np.float32(2))
    counts, accepted = np.full(rates.shape, np.float32(-1)), np.zeros(rates.shape, bool)
    while not accepted.all():
        words, u_words, v_words = _split(words, 3)
        u = np.asarray(fractions(u_words, rates.shape, f32)) - np.float32(0.5)
        v = np.asarray(fractions(v_words, rates.shape, f32))
        distance = np.float32(0.5) - abs(u)
        k = np.floor((np.float32(2) * a / distance + b) * u + rates + np.float32(0.43))
        s = np.log(v * inverse_alpha / (a / (distance * distance) + b))
        t = -rates + k * log_rates - _log_factorial(k)
        at_once = (distance >= np.float32(0.07)) & (v <= enough)
        never = (k < 0) | ((distance < np.float32(0.013)) & (v > distance))
        accept = at_once | (~never & (s <= t))
        counts, accepted = np.where(accept, k, counts), accepted | accept
    return counts


def _log_factorial(k: Numbers) -> Numbers:
    """log(k!); of negative numbers, which no caller looks at, 0."""
    return np.array([math.lgamma(max(x, 0.0) + 1.0) for x in k.ravel().tolist()], np.float32).reshape(k.shape)


def _split(words: Words, num: int) -> list[Words]:
    keys = split_words(words, num)
    return [lanes_of(keys[..., i, :]) for i in range(num)]


def _at(words: Words, chosen: Numbers) -> Words:
    return Array(np.asarray(words[0])[chosen]), Array(np.asarray(words[1])[chosen])


def known(name: str, reason: str, *xs: Any) -> list[Numbers]:
    """Operands as NumPy arrays; an error if the value of one is not known yet."""
    if any([isinstance(x, Tracer) for x in xs]):
        raise TypeError(
            f"{source.where()}{name} needs a key and parameters with known values: {reason}, which is not traced. "
            "Draw outside the traced function and pass the numbers in."
        )
    return [np.asarray(x) for x in xs]
