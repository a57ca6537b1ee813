"""Polynomials, as arrays of their coefficients, that of the highest power first."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.numpy._create.filled import zeros_like
from graphad.numpy._elementwise.arithmetic import add, subtract
from graphad.numpy._padding import pad
from graphad.numpy._precision import in_float32
from graphad.numpy._shape.joining import concatenate, stack
from graphad.numpy._shape.reshaping import atleast_1d
from graphad.numpy._signal.convolution import convolve
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, beside, cast, dtype_and_weakness, result_type, shape_text


@in_float32
def polyval(p: ArrayLike, x: ArrayLike) -> Array:
    """The polynomial ``p`` at ``x``, by Horner's rule.

    >>> import graphad.numpy as gnp
    >>> gnp.polyval(gnp.array([1, 0, -2]), gnp.array([1, 2, 3]))
    Array([-1,  2,  7], dtype=int32)
    """
    coefficients, at = beside("polyval", p, x)
    if not coefficients.ndim:
        raise ValueError(
            f"{source.where()}polyval got the coefficients {shape_text(coefficients)}; give an axis of them."
        )
    dtype, _ = result_type(coefficients, at)
    coefficients, at = cast(coefficients, dtype), cast(at, dtype)
    result = zeros_like(at)
    for k in range(coefficients.shape[0]):
        result = result * at + coefficients[k]
    return result


def polyadd(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The sum of two polynomials.

    >>> import graphad.numpy as gnp
    >>> gnp.polyadd(gnp.array([1, 2]), gnp.array([1, 0, 0]))
    Array([1, 1, 2], dtype=int32)
    """
    return add(*_aligned("polyadd", a1, a2))


def polysub(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The difference of two polynomials.

    >>> import graphad.numpy as gnp
    >>> gnp.polysub(gnp.array([1, 2]), gnp.array([1, 0, 0]))
    Array([-1,  1,  2], dtype=int32)
    """
    return subtract(*_aligned("polysub", a1, a2))


def _aligned(name: str, a1: ArrayLike, a2: ArrayLike) -> list[Any]:
    """Both with as many coefficients as the longer one."""
    sides = [atleast_1d(x) for x in beside(name, a1, a2)]
    longest = max([x.shape[0] for x in sides])
    return [pad(x, [(longest - x.shape[0], 0)] + [(0, 0)] * (x.ndim - 1)) for x in sides]


def polymul(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The product of two polynomials.

    >>> import graphad.numpy as gnp
    >>> gnp.polymul(gnp.array([1, 1]), gnp.array([1, -1]))
    Array([ 1.,  0., -1.], dtype=float32)
    """
    left, right = (as_float(atleast_1d(x), "polymul") for x in beside("polymul", a1, a2))
    return convolve(left, right)


@in_float32
def polydiv(u: ArrayLike, v: ArrayLike) -> tuple[Array, Array]:
    """Quotient and remainder of two polynomials, the remainder with as many coefficients as ``u``.

    >>> import graphad.numpy as gnp
    >>> gnp.polydiv(gnp.array([1.0, 0.0, -2.0]), gnp.array([1.0, 1.0]))
    (Array([ 1., -1.], dtype=float32), Array([ 0.,  0., -1.], dtype=float32))
    """
    dividend, divisor = (as_float(atleast_1d(x), "polydiv") for x in beside("polydiv", u, v))
    m, n = dividend.shape[0] - 1, divisor.shape[0] - 1
    dtype, _ = result_type(dividend, divisor)
    rest, divisor = cast(dividend, dtype), cast(divisor, dtype)
    if m < n:
        return rest[:1] * 0, rest
    found: list[Any] = []
    for k in range(m - n + 1):
        found.append(rest[k] / divisor[0])
        rest = rest - pad(found[-1] * divisor, (k, m - n - k))
        rest = rest.at[k].set(0)  # what rounding leaves of it
    return stack(found), rest


def polyder(p: ArrayLike, m: int = 1) -> Array:
    """The ``m``-th derivative of a polynomial.

    >>> import graphad.numpy as gnp
    >>> gnp.polyder(gnp.array([1.0, 2.0, 3.0]))
    Array([2., 2.], dtype=float32)
    """
    coefficients = _counted("polyder", p, m)
    n = coefficients.shape[0]
    if m == 0:
        return coefficients
    if m >= n:
        return coefficients[:0]
    powers = np.arange(n - 1, m - 1, -1)
    factors = np.prod([powers - k for k in range(m)], axis=0)
    return coefficients[: n - m] * cast(Array(factors), dtype_and_weakness(coefficients)[0])


@in_float32
def polyint(p: ArrayLike, m: int = 1, k: ArrayLike | None = None) -> Array:
    """The polynomial whose ``m``-th derivative is ``p``, with the constants of integration ``k``, by default 0.

    >>> import graphad.numpy as gnp
    >>> gnp.polyint(gnp.array([2.0, 2.0]))
    Array([1., 2., 0.], dtype=float32)
    """
    coefficients = _counted("polyint", p, m)
    _, constants = beside("polyint", coefficients, 0.0 if k is None else k)
    constants = atleast_1d(as_float(constants, "polyint"))
    if constants.shape[0] not in (1, m):
        raise ValueError(f"{source.where()}polyint got {constants.shape[0]} constants for m={m}; give 1 or {m}.")
    dtype, _ = result_type(coefficients, constants)
    result = cast(coefficients, dtype)
    for step in range(m):
        below = cast(Array(np.arange(result.shape[0], 0, -1)), dtype)
        constant = cast(constants[step if constants.shape[0] > 1 else 0], dtype)
        result = concatenate([result / below, constant[None]])
    return result


def _counted(name: str, p: ArrayLike, m: int) -> Any:
    coefficients = as_float(p, name)
    if coefficients.ndim != 1 or m < 0:
        raise ValueError(f"{source.where()}{name} got {shape_text(coefficients)} and m={m}: give one axis, and m >= 0.")
    return coefficients


@in_float32
def poly(seq_of_zeros: ArrayLike) -> Array:
    """The polynomial with these zeros, and 1 as its first coefficient.

    >>> import graphad.numpy as gnp
    >>> gnp.poly(gnp.array([1.0, -1.0]))
    Array([ 1.,  0., -1.], dtype=float32)
    """
    zeros = as_float(atleast_1d(seq_of_zeros), "poly")
    if zeros.ndim != 1:
        raise ValueError(f"{source.where()}poly got {shape_text(zeros)}; of a matrix it would need the eigenvalues.")
    one = cast(1.0, dtype_and_weakness(zeros)[0])[None]
    result = one
    for k in range(zeros.shape[0]):
        result = convolve(result, concatenate([one, -zeros[k : k + 1]]))
    return result
