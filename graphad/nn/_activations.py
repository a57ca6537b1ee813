"""Activation functions: scalar functions applied to each element, and `glu`, which takes two halves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from graphad import numpy as gnp
from graphad.api.custom import custom_jvp
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_floats,
    as_number,
    as_operand,
    beside,
    canonical_axis,
    elementwise,
    with_weak,
)

# Klambauer et al. 2017: with these, mean 0 and variance 1 are a fixed point.
_SELU_ALPHA: Final = 1.6732632423543772848170429916717
_SELU_SCALE: Final = 1.0507009873554804934193349852946


def relu(x: ArrayLike) -> Array:
    """x where it is positive, else 0; its derivative at 0 is 0.

    >>> import graphad.numpy as gnp
    >>> relu(gnp.array([-1.0, 0.0, 2.0]))
    Array([0., 0., 2.], dtype=float32)
    """
    x = as_number(x, "relu")
    return gnp.where(x <= 0, 0, x)


def relu6(x: ArrayLike) -> Array:
    """`relu` that stops at 6; its derivative there is 0.

    >>> relu6(8.0)
    Array(6., dtype=float32, weak_type=True)
    """
    x = as_number(x, "relu6")
    return gnp.where(x >= 6, 6, relu(x))


@in_float32
def leaky_relu(x: ArrayLike, negative_slope: ArrayLike = 0.01) -> Array:
    """x where it is not negative, else ``negative_slope * x``.

    >>> leaky_relu(-2.0, 0.5)
    Array(-1., dtype=float32, weak_type=True)
    """
    x, negative_slope = beside("leaky_relu", x, negative_slope)
    x = as_float(x, "leaky_relu")
    return gnp.where(x >= 0, x, negative_slope * x)


@in_float32
def elu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    """x where it is positive, else ``alpha * (exp(x) - 1)``.

    >>> elu(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    x, alpha = beside("elu", x, alpha)
    x = as_float(x, "elu")
    return gnp.where(x > 0, x, alpha * gnp.expm1(gnp.where(x > 0, 0.0, x)))


@in_float32
def sigmoid(x: ArrayLike) -> Array:
    """``1 / (1 + exp(-x))``.

    >>> sigmoid(0.0)
    Array(0.5, dtype=float32, weak_type=True)
    """
    return elementwise(prims.logistic, x, to_float=True, name="sigmoid")


@in_float32
def tanh(x: ArrayLike) -> Array:
    """The hyperbolic tangent.

    >>> tanh(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return gnp.tanh(x)


@in_float32
def log_sigmoid(x: ArrayLike) -> Array:
    """The logarithm of `sigmoid`.

    >>> log_sigmoid(0.0)
    Array(-0.6931472, dtype=float32, weak_type=True)
    """
    return -softplus(-as_float(x, "log_sigmoid"))


@in_float32
def softplus(x: ArrayLike) -> Array:
    """``log(1 + exp(x))``.

    >>> softplus(0.0)
    Array(0.6931472, dtype=float32, weak_type=True)
    """
    x = as_float(x, "softplus")
    positive = x > 0
    return gnp.where(positive, x, 0.0) + gnp.log1p(gnp.exp(gnp.where(positive, -x, x)))


@in_float32
def silu(x: ArrayLike) -> Array:
    """``x * sigmoid(x)``.

    >>> silu(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return _gated(as_float(x, "silu"), sigmoid)


swish = silu


@in_float32
def gelu(x: ArrayLike, approximate: bool = True) -> Array:
    """x times the normal distribution function at x; by default through its approximation with `tanh`.

    >>> gelu(0.0)
    Array(0., dtype=float32)
    """
    x = as_float(x, "gelu")
    return with_weak(_gated(x, _normal_by_tanh if approximate else _normal), False)


def _normal_by_tanh(x: Array) -> Array:
    """``(1 + tanh(u)) / 2``, written as the logistic function of 2u: it keeps its digits where tanh is close to -1."""
    return sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _normal(x: Array) -> Array:
    return 0.5 * elementwise(prims.erfc, x * -math.sqrt(0.5))


#: Beyond it each gate below is 0 or 1 to the last digit of a float64, and its derivatives are 0 times any power of x.
_FAR: Final = 1000.0


def _gated(x: Array, gate: Callable[[Array], Array]) -> Array:
    """``x * gate(x)`` for a gate that rises from 0 to 1: without 0 times infinity, in its derivatives too."""
    held = elementwise(prims.clamp, -_FAR, x, _FAR)
    return gnp.where(x >= _FAR, x, held * gate(held))


def identity(x: ArrayLike) -> Array:
    """x itself, as an array.

    >>> identity(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return as_operand(x, "identity")


@in_float32
def celu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    """x where it is positive, else ``alpha * (exp(x / alpha) - 1)``: smooth for every alpha (Barron 2017).

    >>> celu(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    x, alpha = beside("celu", x, alpha)
    x = as_float(x, "celu")
    return gnp.maximum(x, 0.0) + alpha * gnp.expm1(gnp.minimum(x, 0.0) / alpha)


@in_float32
def selu(x: ArrayLike) -> Array:
    """`elu` scaled so that layers keep mean 0 and variance 1 (Klambauer et al. 2017).

    >>> selu(1.0)
    Array(1.050701, dtype=float32, weak_type=True)
    """
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


@in_float32
def soft_sign(x: ArrayLike) -> Array:
    """``x / (1 + abs(x))``.

    >>> soft_sign(1.0)
    Array(0.5, dtype=float32, weak_type=True)
    """
    x = as_float(x, "soft_sign")
    size = abs(x)
    near = size < 1
    # Both are the same function: the first keeps its digits near 0, and the second its derivatives, far out.
    return gnp.where(near, gnp.where(near, x, 0.0) / (size + 1), gnp.copysign(1 - 1 / (size + 1), x))


def hard_tanh(x: ArrayLike) -> Array:
    """x, kept between -1 and 1; its derivative at both is 1.

    >>> hard_tanh(2.0)
    Array(1., dtype=float32, weak_type=True)
    """
    x = as_number(x, "hard_tanh")
    return gnp.where(x > 1, 1, gnp.where(x < -1, -1, x))


@in_float32
def hard_sigmoid(x: ArrayLike) -> Array:
    """`sigmoid` in three lines: ``relu6(x + 3) / 6``.

    >>> hard_sigmoid(0.0)
    Array(0.5, dtype=float32, weak_type=True)
    """
    x = as_float(x, "hard_sigmoid")
    return gnp.where(x <= -3, 0.0, gnp.where(x >= 3, 1.0, (x + 3.0) / 6.0))


@in_float32
def hard_silu(x: ArrayLike) -> Array:
    """``x * hard_sigmoid(x)`` (Howard et al. 2019).

    >>> hard_silu(3.0)
    Array(3., dtype=float32, weak_type=True)
    """
    return _gated(as_float(x, "hard_silu"), hard_sigmoid)


hard_swish = hard_silu


@in_float32
def mish(x: ArrayLike) -> Array:
    """``x * tanh(softplus(x))`` (Misra 2020).

    >>> mish(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return _gated(as_float(x, "mish"), _tanh_of_softplus)


def _tanh_of_softplus(x: Array) -> Array:
    """In powers of ``exp(-abs(x))``: derivatives of tanh itself would cancel where it is close to 1."""
    positive = x > 0
    e = gnp.exp(gnp.where(positive, -x, x))
    square = e * e
    n = square + 2 * e
    return gnp.where(positive, 1 - 2 * square / (1 + square + n), n / (n + 2))


@in_float32
def glu(x: ArrayLike, axis: int = -1) -> Array:
    """The first half of x along an axis times `sigmoid` of the second (Dauphin et al. 2017).

    >>> import graphad.numpy as gnp
    >>> glu(gnp.array([2.0, 0.0]))
    Array([1.], dtype=float32)
    """
    x = as_float(x, "glu")
    k = canonical_axis(axis, x.ndim, "glu")
    if x.shape[k] % 2:
        raise ValueError(f"{source.where()}glu halves axis {axis}, whose size {x.shape[k]} is odd.")
    first, second = gnp.split(x, 2, k)
    return first * sigmoid(second)


@in_float32
def squareplus(x: ArrayLike, b: ArrayLike = 4) -> Array:
    """``(x + sqrt(x**2 + b)) / 2``, a `softplus` without exponentials (Barron 2021).

    >>> squareplus(0.0)
    Array(1., dtype=float32, weak_type=True)
    """
    x, b = as_floats("squareplus", *beside("squareplus", x, b))
    positive = x > 0
    total = _root(*gnp.broadcast_arrays(x, b)) + gnp.where(positive, x, -x)
    return gnp.where(positive, total / 2, b / 2 / total)  # below 0, the sum would cancel


@custom_jvp
def _root(x: Array, b: Array) -> Array:
    return gnp.hypot(x, gnp.sqrt(b))


@_root.defjvp
def _root_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """``sqrt(x**2 + b)``; written out, as the derivative of the square root of b is infinite where b is 0."""
    (x, b), (t_x, t_b) = primals, tangents
    root = _root(x, b)
    return root, t_x * elementwise(prims.cos_angle, x, gnp.sqrt(b)) + t_b * (0.5 / root)


@in_float32
def sparse_plus(x: ArrayLike) -> Array:
    """0 up to -1, x from 1, and a parabola between (Martins and Astudillo 2016).

    >>> sparse_plus(0.0)
    Array(0.25, dtype=float32, weak_type=True)
    """
    x = as_float(x, "sparse_plus")
    return gnp.where(x >= 1.0, x, (elementwise(prims.clamp, -1.0, x, 1.0) + 1.0) ** 2 / 4)


@in_float32
def sparse_sigmoid(x: ArrayLike) -> Array:
    """The derivative of `sparse_plus`: a line from 0 at -1 to 1 at 1.

    >>> sparse_sigmoid(0.5)
    Array(0.75, dtype=float32, weak_type=True)
    """
    return 0.5 * (gnp.clip(as_float(x, "sparse_sigmoid"), -1.0, 1.0) + 1.0)


@in_float32
def log1mexp(x: ArrayLike) -> Array:
    """``log(1 - exp(-x))`` for positive x, exact for small and for large ones (Mächler 2012).

    >>> log1mexp(1e-10)
    Array(-23.02585, dtype=float32, weak_type=True)
    """
    x = as_float(x, "log1mexp")
    near = x < math.log(2.0)
    small, large = gnp.where(near, x, 1.0), gnp.where(near, 1.0, x)
    return gnp.where(near, gnp.log(-gnp.expm1(-small)), gnp.log1p(-gnp.exp(-large)))
