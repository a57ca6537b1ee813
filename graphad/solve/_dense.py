"""Jacobians that are written out as matrices: systems with them, their condition, and derivatives of solutions.

A singular system is solved in the sense of least squares, by Tikhonov's regularisation: ``(J^T J + mu I) x = J^T b``
with ``mu = sqrt(eps) ||J||^2``, refined once, so that what the equations determine is wrong by about eps, not by
``sqrt(eps)`` [1]_.

.. [1] J. D. Riley, Solving systems of linear equations with a positive definite, symmetric, but possibly
   ill-conditioned matrix, Mathematical Tables and Other Aids to Computation 9 (1955), 96-101.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from graphad import numpy as gnp
from graphad.api.implicit import custom_linear_solve
from graphad.api.jacobian import jacfwd
from graphad.api.vmap import vmap
from graphad.lax import cond

Map = Callable[[Any], Any]

#: A matrix of this condition, in units of 1 / eps, is singular: rounding may have made it regular.
_SINGULAR: Final = 0.1


def jacobian(f: Map, x: Any) -> Any:
    """The Jacobian of a function of a vector, by forward mode over the basis."""
    return jacfwd(f)(x)


def length(x: Any) -> Any:
    """The Euclidean norm of a vector, without overflow."""
    scale = or_one(gnp.max(abs(x), initial=0.0))
    scale = gnp.where(gnp.isfinite(scale), scale, 1)
    return scale * gnp.sqrt(gnp.sum((x / scale) ** 2))


def or_one(x: Any) -> Any:
    """``x``, and ones in place of zeros."""
    return gnp.where(x == 0, 1, x)


def condition(J: Any) -> Any:
    """The condition number of a square matrix in the 1-norm; infinite where it is singular or not finite."""
    return _condition(J, gnp.linalg.inv(J))


def _condition(J: Any, inverse: Any) -> Any:
    found = _norm1(J) * _norm1(inverse)
    return gnp.where(gnp.isfinite(found), found, np.inf)


def _norm1(J: Any) -> Any:
    return gnp.max(gnp.sum(abs(J), axis=0), initial=0.0)


def is_singular(condition: Any) -> Any:
    """Whether systems with a matrix of this condition are regularised."""
    return ~(condition < _SINGULAR / float(gnp.finfo(condition.dtype).eps))


def solved(J: Any, b: Any) -> Any:
    """The ``x`` with ``J x = b``, or that of least squares where J is singular."""
    return cond(is_singular(condition(J)), lambda: _regularised(J, b), lambda: gnp.linalg.solve(J, b))


def inverse(J: Any) -> Any:
    """The inverse of a matrix, or the regularised one where it is singular."""
    found = gnp.linalg.inv(J)
    unit = gnp.eye(J.shape[0], dtype=J.dtype)
    return cond(is_singular(_condition(J, found)), lambda: _regularised(J, unit), lambda: found)


def _regularised(J: Any, b: Any) -> Any:
    scale = gnp.max(abs(J), initial=0.0)
    scale = or_one(gnp.where(gnp.isfinite(scale), scale, 1))
    A = J / scale
    mu = float(gnp.finfo(J.dtype).eps) ** 0.5 * or_one(gnp.sum(A * A))
    normal = A.T @ A + mu * gnp.eye(J.shape[0], dtype=J.dtype)
    x = gnp.linalg.solve(normal, A.T @ b)
    return (x + gnp.linalg.solve(normal, A.T @ (b - A @ x))) / scale


def tangent_solve(g: Map, y: Any) -> Any:
    """Solves ``g(x) = y`` for a linear ``g``, with its matrix; to be differentiated as a solution of that."""

    def solve(g: Map, y: Any) -> Any:
        matrix = vmap(g, out_axes=1)(gnp.eye(y.shape[0], dtype=y.dtype))
        return solved(matrix, y)

    return custom_linear_solve(g, y, solve, solve)
