"""Continuous distributions that are functions of uniform or normal numbers. All may be traced and differentiated."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from graphad import numpy as gnp
from graphad.ir.types import DType, dtype_of
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.primitives.cast import bitcast
from graphad.primitives.elementwise import erf, erf_inv, nextafter, stop_gradient
from graphad.random._keys import split, words_of
from graphad.random._uniform import between, float_dtype, fractions, parameters, rademacher, standard_normal, uniform
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import beside, canonical_shape, dtype_and_weakness, elementwise


def exponential(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Exponential distribution: density exp(-x) for x > 0.

    >>> from graphad.random import key
    >>> exponential(key(0), (2,))
    Array([0.24372..., 1.63027...], dtype=float32)
    """
    return -gnp.log1p(-_uniform_from(key, "exponential", shape, dtype))


def gumbel(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None, mode: str | None = None) -> Array:
    """Gumbel distribution: density exp(-(x + exp(-x))); with ``mode="high"`` the tail is drawn from twice the bits.

    >>> from graphad.random import key
    >>> gumbel(key(0), (2,))
    Array([-0.4259...,  1.5232...], dtype=float32)
    """
    if mode not in (None, "low", "high"):
        raise ValueError(f"{source.where()}gumbel takes mode 'low' or 'high', got {mode!r}.")
    if mode != "high":
        return -gnp.log(-gnp.log(_uniform_from(key, "gumbel", shape, dtype, "tiny")))
    wanted = float_dtype(dtype, "gumbel")
    info = ml_dtypes.finfo(wanted.numpy)
    high, low = fractions(words_of(key, "gumbel"), (2, *canonical_shape(shape, "gumbel")), wanted)
    fine = gnp.where(high >= 0.5, high, high + 2.0**-info.nmant * low + float(info.tiny))
    return -gnp.log(-gnp.log1p(-fine))


def laplace(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Laplace distribution: density exp(-abs(x)) / 2.

    >>> from graphad.random import key
    >>> laplace(key(0), (2,))
    Array([ 0.8379..., -0.9371...], dtype=float32)
    """
    wanted = float_dtype(dtype, "laplace")
    low = -1.0 + float(ml_dtypes.finfo(wanted.numpy).epsneg)
    u = uniform(key, shape, wanted.numpy, low, 1.0)
    return gnp.sign(u) * gnp.log1p(-abs(u))


def logistic(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Logistic distribution: the distribution function is `nn.sigmoid`.

    >>> from graphad.random import key
    >>> logistic(key(0), (2,))
    Array([-1.2873...,  1.4122...], dtype=float32)
    """
    x = _uniform_from(key, "logistic", shape, dtype, "tiny")
    return gnp.log(x) - gnp.log1p(-x)


def cauchy(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Cauchy distribution: density 1 / (pi * (x**2 + 1)).

    >>> from graphad.random import key
    >>> cauchy(key(0), (2,))
    Array([-1.2378...,  1.4145...], dtype=float32)
    """
    return gnp.tan(math.pi * (_uniform_from(key, "cauchy", shape, dtype, "eps") - 0.5))


def truncated_normal(
    key: ArrayLike, lower: ArrayLike, upper: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None
) -> Array:
    """Truncated normal distribution between two bounds, neither included.

    >>> from graphad.random import key
    >>> truncated_normal(key(0), -1.0, 1.0, (2,))
    Array([-0.5063...,  0.5464...], dtype=float32)
    """
    wanted = float_dtype(dtype, "truncated_normal")
    (low, high), sizes = parameters("truncated_normal", shape, wanted, lower, upper)
    root = np.asarray(math.sqrt(2), wanted.numpy)[()]
    a, b = elementwise(erf, low / root), elementwise(erf, high / root)
    drawn = root * elementwise(erf_inv, between(words_of(key, "truncated_normal"), sizes, wanted, a, b))
    # Rounding must not carry a number to a bound.
    low, high = (elementwise(stop_gradient, x) for x in (low, high))
    return gnp.clip(drawn, _next_above(low), -_next_above(-high))


def lognormal(
    key: ArrayLike, sigma: ArrayLike = 1.0, shape: Shape | None = None, dtype: DTypeLike | None = None
) -> Array:
    """Log-normal distribution: the logarithm is normal with standard deviation ``sigma``.

    >>> from graphad.random import key
    >>> lognormal(key(0), 0.5, (2,))
    Array([0.6754..., 1.5345...], dtype=float32)
    """
    wanted = float_dtype(dtype, "lognormal")
    (sigma,), sizes = parameters("lognormal", shape, wanted, sigma)
    return gnp.exp(standard_normal(words_of(key, "lognormal"), sizes, wanted) * sigma)


def pareto(key: ArrayLike, b: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Pareto distribution: density b / x ** (b + 1) for x > 1.

    >>> from graphad.random import key
    >>> pareto(key(0), 2.0, (2,))
    Array([1.1295..., 2.2594...], dtype=float32)
    """
    wanted = float_dtype(dtype, "pareto")
    (b,), sizes = parameters("pareto", shape, wanted, b)
    return gnp.exp(exponential(key, sizes, wanted.numpy) / b)


def rayleigh(key: ArrayLike, scale: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Rayleigh distribution: the length of a vector of two normal numbers, times ``scale``.

    >>> from graphad.random import key
    >>> rayleigh(key(0), 1.0, (2,))
    Array([1.7499..., 0.6603...], dtype=float32)
    """
    wanted = float_dtype(dtype, "rayleigh")
    (scale,), sizes = parameters("rayleigh", shape, wanted, scale)
    return scale * gnp.sqrt(gnp.log(fractions(words_of(key, "rayleigh"), sizes, wanted)) * -2.0)


def weibull_min(
    key: ArrayLike,
    scale: ArrayLike,
    concentration: ArrayLike,
    shape: Shape = (),
    dtype: DTypeLike | None = None,
) -> Array:
    """Weibull distribution: the probability to exceed x is ``exp(-(x / scale) ** concentration)``.

    >>> from graphad.random import key
    >>> weibull_min(key(0), 1.0, 1.0, (2,))
    Array([0.24372..., 1.63027...], dtype=float32)
    """
    drawn = exponential(key, shape, dtype)
    _, concentration = beside("weibull_min", drawn, concentration)
    return gnp.power(drawn, gnp.divide(1.0, concentration)) * scale


def triangular(
    key: ArrayLike,
    left: ArrayLike,
    mode: ArrayLike,
    right: ArrayLike,
    shape: Shape | None = None,
    dtype: DTypeLike | None = None,
) -> Array:
    """Triangular distribution: the density rises linearly from ``left`` to ``mode`` and falls linearly to ``right``.

    >>> from graphad.random import key
    >>> triangular(key(0), 0.0, 1.0, 2.0, (2,))
    Array([0.6577..., 1.3740...], dtype=float32)
    """
    wanted = float_dtype(dtype, "triangular")
    (left, mode, right), sizes = parameters("triangular", shape, wanted, left, mode, right)
    u = fractions(words_of(key, "triangular"), sizes, wanted)
    rising = left + gnp.sqrt(u * (right - left) * (mode - left))
    falling = right - gnp.sqrt((1 - u) * (right - left) * (right - mode))
    return gnp.where(u < (mode - left) / (right - left), rising, falling)


def wald(key: ArrayLike, mean: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Wald (inverse Gaussian) distribution with this ``mean`` (Michael, Schucany and Haas 1976).

    >>> from graphad.random import key
    >>> wald(key(0), 1.0, (2,)).shape
    (2,)
    """
    wanted = float_dtype(dtype, "wald")
    (mean,), sizes = parameters("wald", shape, wanted, mean)
    normal_key, choice_key = split(key)
    y = standard_normal(words_of(normal_key, "wald"), sizes, wanted) ** 2
    root = gnp.sqrt(4 * mean * y + mean**2 * y**2)
    x = mean + mean**2 * y / 2 - mean / 2 * root
    chosen = fractions(words_of(choice_key, "wald"), sizes, wanted) <= mean / (mean + x)
    return gnp.where(chosen, x, mean**2 / x)


def maxwell(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Maxwell distribution: the length of a vector of three normal numbers.

    >>> from graphad.random import key
    >>> maxwell(key(0), (2,)).shape
    (2,)
    """
    wanted = float_dtype(dtype, "maxwell")
    vectors = standard_normal(words_of(key, "maxwell"), (*canonical_shape(shape, "maxwell"), 3), wanted)
    return gnp.linalg.norm(vectors, axis=-1)


def double_sided_maxwell(
    key: ArrayLike, loc: ArrayLike, scale: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None
) -> Array:
    """``loc`` plus ``scale`` times a number of `maxwell`, of either sign; of shape ``shape`` and the parameters'.

    >>> from graphad.random import key
    >>> double_sided_maxwell(key(0), 0.0, 1.0, (2,)).shape
    (2,)
    """
    wanted = float_dtype(dtype, "double_sided_maxwell")
    (loc, scale), own = parameters("double_sided_maxwell", None, wanted, loc, scale)
    sizes = canonical_shape(shape, "double_sided_maxwell") or own
    maxwell_key, sign_key = split(key)
    lengths = maxwell(maxwell_key, (*sizes, *own), wanted.numpy)
    return rademacher(sign_key, lengths.shape, wanted.numpy) * lengths * scale + loc


def _uniform_from(key: Any, name: str, shape: Any, dtype: Any, least: str | None = None) -> Any:
    """Uniform numbers from 0, or from ``finfo(dtype).tiny`` or ``.eps`` if ``least`` names that, to 1."""
    wanted: DType = float_dtype(dtype, name)
    words, sizes = words_of(key, name), canonical_shape(shape, name)
    if least is None:
        return fractions(words, sizes, wanted)
    low = np.asarray(getattr(ml_dtypes.finfo(wanted.numpy), least), wanted.numpy)
    return between(words, sizes, wanted, Array(low), Array(np.ones((), wanted.numpy)))


def _next_above(x: Any) -> Any:
    """The number next to x, towards infinity."""
    dtype = dtype_and_weakness(x)[0]
    if dtype.bits > 16:
        return elementwise(nextafter, x, math.inf)
    pattern = bitcast(x, dtype=dtype_of("u16"))
    one = np.uint16(1)
    return bitcast(gnp.where(x > 0, pattern + one, gnp.where(x < 0, pattern - one, one)), dtype=dtype)
