"""The exponential of matrices, by scaling and squaring.

``expm(a) == r(a / 2**s) ** (2**s)``, where ``r`` is a Padé approximant and ``s`` brings the 1-norm below the bound up
to which ``r`` is exact to rounding [1]_. There is one degree for each dtype: lower ones, where the norm is small, would
save products alone, and under `vmap` not even these.

.. [1] N. J. Higham, The scaling and squaring method for the matrix exponential revisited, SIAM J. Matrix Analysis and
   Applications 26, 2005: table 2.3, and algorithm 2.3 with ``m = 13``.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.api.linear_maps import jvp
from graphad.api.stop_gradient import stop_gradient
from graphad.lax import cond, scan
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._systems import factors, solved
from graphad.primitives.linalg.triangular_solve import solve as solve_triangle
from graphad.scipy.linalg._operands import checked_option, squares
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_floats, shape_text

#: Coefficients of the numerators, from the constant on; the denominators have them with alternating signs.
_DEGREE_7 = (17297280.0, 8648640.0, 1995840.0, 277200.0, 25200.0, 1512.0, 56.0, 1.0)
_DEGREE_13 = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
#: The 1-norms up to which the approximants are exact to rounding: of degree 7 in float32, of degree 13 in float64.
_LARGEST_NORM = {4: 3.925724783138660, 8: 5.371920351148152}


@in_float32
def expm(A: ArrayLike, *, upper_triangular: bool = False, max_squarings: int = 16) -> Array:
    """The exponential of square matrices: ``1 + A + A @ A / 2 + ...``.

    It is differentiable in every mode, to every order. In reverse mode, the squares are kept.

    Parameters
    ----------
    A
        Square matrices, ``(..., n, n)``. Those with elements that are not finite give nan.
    upper_triangular
        Read the upper triangle alone.
    max_squarings
        How often a result is squared at most. A matrix with a 1-norm above ``4 * 2**max_squarings``, in float32
        ``3 * 2**max_squarings``, may need more, and then gives nan.

    Returns
    -------
    Array
        Of the shape of ``A``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> expm(gnp.array([[0.0, 3.0], [0.0, 0.0]])).round(4)
    Array([[1., 3.],
           [0., 1.]], dtype=float32)
    """
    x = squares("expm", A)
    most = operator.index(max_squarings)
    if most < 0:
        raise ValueError(f"{source.where()}expm takes max_squarings=0 or more, not {max_squarings}.")
    if upper_triangular:
        x = gnp.triu(x)
    if not x.size:
        return x
    times, scale = _squarings(x, most)
    odd, even = _pade(x * scale)
    found = _divided(even - odd, even + odd, upper_triangular)
    return _squared(found, times, most)


def _squarings(x: Array, most: int) -> tuple[Any, Any]:
    """How often each matrix is squared, and by what it is multiplied before: nan if it is not finite or too large."""
    norm = stop_gradient(gnp.max(gnp.sum(gnp.abs(x), axis=-2), axis=-1))
    wanted = gnp.ceil(gnp.log2(norm / _LARGEST_NORM[x.dtype.itemsize]))
    fits = wanted <= most
    times = gnp.where(fits, gnp.maximum(wanted, 0.0), 0.0).astype("int32")
    scale = gnp.where(fits, gnp.ldexp(gnp.ones_like(norm), -times), np.nan)
    return times, scale[..., None, None]


def _pade(x: Array) -> tuple[Array, Array]:
    """The terms of the numerator with odd powers, and those with even ones."""
    one = gnp.eye(x.shape[-1], dtype=x.dtype)
    x2 = gnp.matmul(x, x)
    x4 = gnp.matmul(x2, x2)
    x6 = gnp.matmul(x4, x2)

    def sum_of(coefficients: Any) -> Any:
        c0, c2, c4, c6 = coefficients
        return c6 * x6 + c4 * x4 + c2 * x2 + c0 * one

    if x.dtype.itemsize == 4:
        return gnp.matmul(x, sum_of(_DEGREE_7[1::2])), sum_of(_DEGREE_7[::2])
    c = _DEGREE_13
    high_odd, high_even = c[13] * x6 + c[11] * x4 + c[9] * x2, c[12] * x6 + c[10] * x4 + c[8] * x2
    odd = gnp.matmul(x, gnp.matmul(x6, high_odd) + sum_of(c[1:8:2]))
    return odd, gnp.matmul(x6, high_even) + sum_of(c[0:7:2])


def _divided(denominator: Any, numerator: Any, triangular: bool) -> Array:
    if triangular:
        return solve_triangle(denominator, numerator, left=True, lower=False)
    return solved(denominator, numerator, factors(denominator).solve)


def _squared(x: Array, times: Any, most: int) -> Array:
    """Each matrix, squared so often; no turn is computed that no matrix of the stack needs."""
    longest = gnp.max(times)

    def turn(x: Any, k: Any) -> Any:
        def squared(x: Any) -> Any:
            return gnp.where((k < times)[..., None, None], gnp.matmul(x, x), x)

        return cond(k < longest, squared, lambda x: x, x), None

    return scan(turn, x, gnp.arange(most))[0]


def expm_frechet(A: ArrayLike, E: ArrayLike, *, method: str | None = None, compute_expm: bool = True) -> Any:
    """The exponential of square matrices, and its derivative in a direction: that of ``expm(A + t * E)`` at 0.

    Parameters
    ----------
    A, E
        Square matrices, ``(..., n, n)``, of one shape.
    method
        SciPy's names of methods are accepted; it is forward mode in any case.
    compute_expm
        Give the exponential too.

    Returns
    -------
    tuple[Array, Array]
        ``expm(A)`` and the derivative; or the latter.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> expm_frechet(gnp.zeros((2, 2)), gnp.array([[0.0, 3.0], [0.0, 0.0]]), compute_expm=False).round(4)
    Array([[0., 3.],
           [0., 0.]], dtype=float32)
    """
    checked_option("expm_frechet", "method", method, (None, "SPS", "blockEnlarge"))
    x, direction = as_floats("expm_frechet", squares("expm_frechet", A), squares("expm_frechet", E))
    if x.shape != direction.shape:
        raise ValueError(
            f"{source.where()}expm_frechet got {shape_text(x)} and {shape_text(direction)}; shapes must be equal. "
            "Broadcast one of them."
        )
    value, derivative = jvp(expm, (x,), (direction,))
    return (value, derivative) if compute_expm else derivative
