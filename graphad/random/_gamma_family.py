"""Distributions that are functions of gamma numbers: like those, they have no derivative in their parameters."""

from __future__ import annotations

from typing import Any

from graphad import numpy as gnp
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.random._continuous import exponential
from graphad.random._keys import split
from graphad.random._rejection import draw_gamma
from graphad.random._uniform import float_dtype, from_list, normal, parameters, rademacher
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import canonical_shape


def beta(
    key: ArrayLike, a: ArrayLike, b: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None
) -> Array:
    """Beta distribution: density proportional to ``x ** (a - 1) * (1 - x) ** (b - 1)`` for x from 0 to 1.

    >>> from graphad.random import key
    >>> beta(key(0), 2.0, 3.0, (2,)).shape
    (2,)
    """
    wanted = float_dtype(dtype, "beta")
    (a, b), sizes = parameters("beta", shape, wanted, a, b)
    logs = [
        draw_gamma("beta", k, x, sizes, wanted.numpy, logarithm=True) for k, x in zip(split(key), (a, b), strict=True)
    ]
    greater = gnp.maximum(*logs)
    first, second = (gnp.exp(x - greater) for x in logs)
    return first / (first + second)


def dirichlet(key: ArrayLike, alpha: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Positive numbers that sum to 1 along a last axis, the one that ``alpha`` has; ``shape`` is that before it.

    >>> from graphad.random import key
    >>> dirichlet(key(0), [1.0, 2.0, 3.0], (2,)).shape
    (2, 3)
    """
    wanted = float_dtype(dtype, "dirichlet")
    (alpha,), own = parameters("dirichlet", None, wanted, from_list(alpha, wanted))
    if not own:
        raise ValueError(f"{source.where()}dirichlet takes alpha with at least one axis, got a scalar.")
    sizes = own[:-1] if shape is None else canonical_shape(shape, "dirichlet")
    logs = draw_gamma("dirichlet", key, alpha, (*sizes, own[-1]), wanted.numpy, logarithm=True)
    drawn = gnp.exp(logs - gnp.max(logs, -1, keepdims=True))
    return drawn / gnp.sum(drawn, -1, keepdims=True)


def t(key: ArrayLike, df: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Numbers of Student's distribution with ``df`` degrees of freedom.

    >>> from graphad.random import key
    >>> t(key(0), 5.0, (2,)).shape
    (2,)
    """
    wanted = float_dtype(dtype, "t")
    (df,), sizes = parameters("t", shape, wanted, df)
    normal_key, gamma_key = split(key)
    half = df / 2
    drawn = draw_gamma("t", gamma_key, half, sizes, wanted.numpy, logarithm=False)
    return normal(normal_key, sizes, wanted.numpy) * gnp.sqrt(half / drawn)


def chisquare(key: ArrayLike, df: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Chi-square distribution: the sum of the squares of ``df`` normal numbers.

    >>> from graphad.random import key
    >>> chisquare(key(0), 4.0, (2,)).shape
    (2,)
    """
    return _chisquare("chisquare", key, df, shape, dtype)


def f(
    key: ArrayLike, dfnum: ArrayLike, dfden: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None
) -> Array:
    """The ratio of two numbers of `chisquare`, each divided by its degrees of freedom.

    >>> from graphad.random import key
    >>> f(key(0), 2.0, 3.0, (2,)).shape
    (2,)
    """
    wanted = float_dtype(dtype, "f")
    (dfnum, dfden), sizes = parameters("f", shape, wanted, dfnum, dfden)
    below_key, above_key = split(key)
    above = _chisquare("f", above_key, dfnum, sizes, wanted.numpy) / dfnum
    return above / (_chisquare("f", below_key, dfden, sizes, wanted.numpy) / dfden)


def generalized_normal(key: ArrayLike, p: float, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Numbers with density proportional to ``exp(-abs(x) ** p)``.

    >>> from graphad.random import key
    >>> generalized_normal(key(0), 2.0, (2,)).shape
    (2,)
    """
    return _generalized_normal("generalized_normal", key, p, canonical_shape(shape, "generalized_normal"), dtype)


def ball(key: ArrayLike, d: int, p: float = 2, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Uniform points in the unit ball of the p-norm in ``d`` dimensions (Barthe et al. 2005).

    >>> from graphad.random import key
    >>> ball(key(0), 3, shape=(2,)).shape
    (2, 3)
    """
    wanted, sizes = float_dtype(dtype, "ball").numpy, canonical_shape(shape, "ball")
    direction_key, radius_key = split(key)
    x = _generalized_normal("ball", direction_key, p, (*sizes, d), wanted)
    radius = ((abs(x) ** p).sum(-1) + exponential(radius_key, sizes, wanted)) ** (1 / p)
    return x / radius[..., None]


def _chisquare(name: str, key: Any, df: Any, shape: Any, dtype: Any) -> Any:
    wanted = float_dtype(dtype, name)
    (df,), sizes = parameters(name, shape, wanted, df)
    return gnp.exp(draw_gamma(name, key, df / 2, sizes, wanted.numpy, logarithm=True)) * 2


def _generalized_normal(name: str, key: Any, p: Any, sizes: tuple[int, ...], dtype: Any) -> Any:
    gamma_key, sign_key = split(key)
    wanted = float_dtype(dtype, name).numpy
    drawn = draw_gamma(name, gamma_key, 1 / p, sizes, wanted, logarithm=False)
    return rademacher(sign_key, sizes, wanted) * drawn ** (1 / p)
