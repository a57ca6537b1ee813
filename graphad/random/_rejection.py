"""Gamma and Poisson numbers, by rejection sampling.

All numbers are drawn side by side, each from the key that it has in JAX: the same numbers come out, but for the
rounding of logarithms (and, should a number lie within rounding of being accepted, for that number).

How often to draw is not known beforehand. Where key and parameters have known values, it is as often as it takes. In a
traced program it is a fixed number of rounds, enough that one number in a hundred million may be another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, Final

import numpy as np

from graphad import numpy as gnp
from graphad.ir.types import DType, f32, f64, i32
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.primitives.random import accepted_with
from graphad.random._keys import Words, split_words, words_of, words_of_batch
from graphad.random._uniform import float_dtype, fractions, parameters, standard_normal
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import canonical_dtype, cast, default_int, elementwise
from graphad.trace.tracer import Tracer

Numbers = np.ndarray[Any, Any]

#: At least 19 in 20 gamma numbers are accepted, so that one in 10**10 is not yet after so many rounds.
ROUNDS: Final = 8
#: At most one normal number in 139 has no positive base, so that one in 10**8 is without after so many draws.
BASE_ROUNDS: Final = 4
#: One in 10**9 Poisson numbers of rate 10 takes more rounds.
FEW_ROUNDS: Final = 36
#: At least 3 in 4 Poisson numbers of greater rates are accepted.
MANY_ROUNDS: Final = 16


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
    """Gamma numbers, or their logarithms, for the function ``name``.

    The method of Marsaglia and Tsang (2000); below 1 by way of ``a + 1`` and a factor.
    """
    wanted = float_dtype(dtype, name)
    (a,), sizes = parameters(name, shape, wanted, a)
    alpha: Any = gnp.ravel(gnp.broadcast_to(elementwise(accepted_with, a), sizes))
    keys, boost_words = _split(words_of_batch(split_words(words_of(key, name), alpha.size)), 2)
    boosted = alpha < 1
    d = gnp.where(boosted, alpha + 1, alpha) - 1 / 3
    c = 1 / 3 / gnp.sqrt(d)
    cubes = (_cubes_in_rounds if _traced(alpha, *keys) else _cubes)(keys, c, d, wanted)
    uniform = fractions(boost_words, (), wanted)
    if logarithm:
        log_uniform = gnp.log1p(-uniform)
        drawn = gnp.log(d) + gnp.log(cubes) + gnp.where(boosted & (log_uniform != 0), log_uniform / alpha, 0)
    else:
        drawn = d * cubes * gnp.where(boosted, gnp.power(1 - uniform, 1 / alpha), 1)
    return gnp.reshape(drawn, sizes)


def _cubes(words: Words, c: Any, d: Any, dtype: DType) -> Array:
    """(1 + c x)**3 for normal x, each accepted with the probability that makes it a gamma number divided by d."""
    cubes = np.ones(d.shape, dtype.numpy)
    pending = np.arange(d.size)
    while pending.size:
        words, x_words, uniform_words = _split(words, 3)
        x, v = _with_positive_base(x_words, c[pending], dtype)
        cubes[pending] = v * v * v
        again = np.asarray(_rejected(x, v, d[pending], fractions(uniform_words, (), dtype)))
        pending, words = pending[again], _at(words, again)
    return Array(cubes)


def _with_positive_base(words: Words, c: Any, dtype: DType) -> tuple[Any, Any]:
    """Normal numbers x for which v = 1 + c x is positive, and v."""
    x, v = np.zeros(c.shape, dtype.numpy), np.full(c.shape, -1, dtype.numpy)
    pending = np.arange(c.size)
    while pending.size:
        words, subwords = _split(words, 2)
        x[pending] = standard_normal(subwords, (), dtype)
        v[pending] = 1 + Array(x[pending]) * c[pending]
        again = v[pending] <= 0
        pending, words = pending[again], _at(words, again)
    return Array(x), Array(v)


def _cubes_in_rounds(words: Words, c: Any, d: Any, dtype: DType) -> Any:
    """As `_cubes`, but for traces: all numbers take part in a fixed number of rounds."""
    cubes, waiting = gnp.ones_like(d), gnp.ones(d.shape, bool)
    for _ in range(ROUNDS):
        words, x_words, uniform_words = _split(words, 3)
        x, v = gnp.zeros_like(c), gnp.full_like(c, -1)
        for _ in range(BASE_ROUNDS):
            x_words, subwords = _split(x_words, 2)
            x = gnp.where(v <= 0, standard_normal(subwords, (), dtype), x)
            v = 1 + x * c
        cubes = gnp.where(waiting & (v > 0), v * v * v, cubes)
        waiting = waiting & ((v <= 0) | _rejected(x, v, d, fractions(uniform_words, (), dtype)))
    return cubes


def _rejected(x: Any, v: Any, d: Any, uniform: Any) -> Any:
    """Whether a sample is rejected, given a uniform number in [0, 1)."""
    square, cube = x * x, v * v * v
    bound = square * 0.5 + d * ((1 - cube) + gnp.log(cube))
    return (uniform >= 1 - 0.0331 * (square * square)) & (gnp.log(uniform) >= bound)


def poisson(key: ArrayLike, lam: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """How many events happen in a time in which ``lam`` are to be expected; -1 if it is negative, infinite or nan.

    >>> from graphad.random import key
    >>> poisson(key(0), 3.0, (2,)).shape
    (2,)
    """
    wanted = default_int() if dtype is None else canonical_dtype(dtype)
    if not wanted.is_integer:
        raise TypeError(f"{source.where()}poisson gives integers, not {wanted.numpy}.")
    (lam,), sizes = parameters("poisson", shape, f32, lam)
    words = words_of(key, "poisson")
    rates: Any = gnp.broadcast_to(elementwise(accepted_with, lam), sizes)
    rates = gnp.where(gnp.isinf(rates), math.nan, rates)  # which would never be reached
    few: Any = gnp.isnan(rates) | (rates < 10)
    counts = _count_few(words, gnp.where(few, rates, 0))
    if _traced(few) or not few.all():
        counts = gnp.where(few, counts, _count_many(words, gnp.where(few, 1e5, rates)))
    return cast(gnp.where(rates == 0, 0, counts), wanted)


def _count_few(words: Words, rates: Any) -> Any:
    """Knuth's method: uniform numbers multiplied until the product is below exp(-rate)."""
    counts = log_product = gnp.zeros(rates.shape, f32.numpy)
    for going in _turns(FEW_ROUNDS, rates, *words):
        running = log_product > -rates
        if not going(running):
            break
        words, subwords = _split(words, 2)
        counts = counts + running
        log_product = log_product + gnp.log(fractions(subwords, rates.shape, f32))
    return counts - 1


def _count_many(words: Words, rates: Any) -> Any:
    """The method PTRS of Hörmann (1993), in float32 throughout.

    Numbers go on being replaced by later ones that are accepted, until each has been accepted once.
    """
    log_rates, b = gnp.log(rates), 0.931 + 2.53 * gnp.sqrt(rates)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    enough = 0.9277 - 3.6224 / (b - 2)
    counts, accepted = gnp.full(rates.shape, -1, f32.numpy), gnp.zeros(rates.shape, bool)
    for going in _turns(MANY_ROUNDS, rates, *words):
        unfinished = ~accepted.all()
        if not going(unfinished):
            break
        words, u_words, v_words = _split(words, 3)
        u, v = fractions(u_words, rates.shape, f32) - 0.5, fractions(v_words, rates.shape, f32)
        distance = 0.5 - abs(u)
        k = gnp.floor((2 * a / distance + b) * u + rates + 0.43)
        s = gnp.log(v * inverse_alpha / (a / (distance * distance) + b))
        t = -rates + k * log_rates - _log_factorial(k)
        at_once = (distance >= 0.07) & (v <= enough)
        never = (k < 0) | ((distance < 0.013) & (v > distance))
        accept = unfinished & (at_once | (~never & (s <= t)))
        counts, accepted = gnp.where(accept, k, counts), accepted | accept
    return counts


def _log_factorial(k: Any) -> Any:
    """log(k!): Stirling's series in float64, and below 10, where that is too short, a table."""
    x = cast(gnp.maximum(k, 10), f64)
    series = x * gnp.log(x) - x + 0.5 * gnp.log(2 * math.pi * x) + (1 / 12 - (1 / 360 - 1 / 1260 / x**2) / x**2) / x
    table = gnp.array([math.lgamma(n + 1) for n in range(10)], np.float64)
    return cast(gnp.where(k < 10, table[cast(gnp.clip(k, 0, 9), i32)], series), f32)


# ---------------------------------------------------------------------------------------------------------------------
# Rejection loops


def _turns(rounds: int, *xs: Any) -> Iterator[Callable[[Any], bool]]:
    """Turns of a loop: as many as its condition asks for where values are known, else ``rounds``.

    Each gives the function that says whether the condition, a mask, asks for another turn.
    """
    if _traced(*xs):
        yield from [lambda _mask: True] * rounds
    else:
        yield from repeat(lambda mask: bool(mask.any()))


def _split(words: Words, num: int) -> list[Words]:
    keys = split_words(words, num)
    return [words_of_batch(keys[..., i, :]) for i in range(num)]


def _at(words: Words, chosen: Numbers) -> Words:
    return Array(np.asarray(words[0])[chosen]), Array(np.asarray(words[1])[chosen])


def _traced(*xs: Any) -> bool:
    return any([isinstance(x, Tracer) for x in xs])
