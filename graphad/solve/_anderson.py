"""Anderson's acceleration of fixed-point iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop

Map = Callable[[Any], Any]


class Iteration(NamedTuple):
    """A vector, the residual there, and what the last steps changed of both, the newest first.

    For ``x -> cos(x)`` from 1.0 with a memory of 1: after one step x is cos(1), r is cos(cos(1)) - cos(1), and dx and
    dr have one row each, ``cos(1) - 1`` and the difference of the two residuals.
    """

    x: Any
    r: Any
    dx: Any
    dr: Any
    nit: Any


def iterated(
    residual: Map, start: Any, memory: int, limit: Any, is_there: Callable[[Any, Any], Any]
) -> tuple[Iteration, Any]:
    """The iteration that seeks ``residual(x) == 0`` by ``x + residual(x)``; and whether it ended where it should.

    Of all combinations of the last ``memory + 1`` points it goes on from the one whose residual is least, if residuals
    are linear there (Walker and Ni 2011, Anderson Acceleration for Fixed-Point Iterations, SIAM J. Numer. Anal. 49,
    equations 2.1 to 2.3): on a linear problem that is essentially GMRES. A vector of one element has a memory of one,
    which is the secant method.
    """
    n = start.shape[0]
    rows = min(memory, n)
    r = residual(start)
    nothing = gnp.zeros((rows, n), start.dtype)

    def goes_on(state: Iteration) -> Any:
        return ~is_there(state.x, state.r) & gnp.all(gnp.isfinite(state.r)) & (state.nit < limit)

    def step(state: Iteration) -> Iteration:
        x = state.x + state.r
        if rows:
            x = x - gnp.matmul(_least_squares(state.dr, state.r), state.dx + state.dr)
        r = residual(x)
        dx, dr = _pushed(state.dx, x - state.x), _pushed(state.dr, r - state.r)
        return Iteration(x, r, dx, dr, state.nit + 1)

    end = while_loop(goes_on, step, Iteration(start, r, nothing, nothing, 0))
    return end, is_there(end.x, end.r)


def _pushed(rows: Any, newest: Any) -> Any:
    return gnp.concatenate([newest[None], rows[:-1]]) if len(rows) else rows


def _least_squares(rows: Any, r: Any) -> Any:
    """The weights w for which ``w @ rows`` is nearest to ``r``, by the modified Gram-Schmidt process.

    Rows that depend on newer ones up to rounding have the weight zero, as have those that are zero: of steps not made
    yet.
    """
    least = float(gnp.finfo(rows.dtype).eps) ** 0.5
    basis: list[Any] = []
    parts: list[list[Any]] = []  # of each row along the basis before it
    lengths: list[Any] = []
    for row in rows:
        rest, along = row, []
        for q in basis:
            along.append(gnp.vdot(q, rest))
            rest = rest - along[-1] * q
        length = gnp.sqrt(gnp.vdot(rest, rest))
        is_new = length > least * gnp.sqrt(gnp.vdot(row, row))
        lengths.append(gnp.where(is_new, length, 1))
        basis.append(gnp.where(is_new, rest / lengths[-1], 0))
        parts.append(along)
    weights: list[Any] = [gnp.vdot(q, r) for q in basis]
    for k in reversed(range(len(weights))):
        later = range(k + 1, len(weights))
        weights[k] = (weights[k] - sum([parts[j][k] * weights[j] for j in later])) / lengths[k]
    return gnp.stack(weights)
