"""The method of Dormand and Prince: a step of order 5 with an error estimate and dense output.

References
----------
.. [1] J. R. Dormand, P. J. Prince, "A family of embedded Runge-Kutta formulae", J. Comput. Appl. Math. 6, 1980.
.. [2] E. Hairer, S. P. Nørsett, G. Wanner, "Solving Ordinary Differential Equations I", 2nd edition, 1993: II.6
   for the dense output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.solve._ode_control import Field, Method, Progress, State, Tolerance, as_like, error_of

# Where in the step, and of which rates, each stage is computed ([1]; [2], table II.5.2). The last is the new state.
_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
# The weights of order 5 less those of order 4.
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
# What the dense output has beyond the cubic through both ends ([2], II.6, "dopri5").
_BEND = (
    -12715105075 / 11282082432, 0.0, 87487479700 / 32700410799, -10690763975 / 1880347072, 701980252875 / 199316789632,
    -1453857185 / 822651844, 69997945 / 29380423,
)  # fmt: skip


class Piece(NamedTuple):
    """The polynomial of degree 4 that the solution follows in a step."""

    start: Any
    size: Any
    before: State
    after: State
    rate_before: State
    rate_after: State
    bend: State


def interpolated(piece: Piece, time: Any) -> State:
    """The state at a time within the last step ([2], II.6); its derivative with respect to ``time`` is right, too."""
    x = (time - piece.start) / piece.size
    return [
        _polynomial(as_like(x, y0), as_like(piece.size, y0), y0, *others)
        for y0, *others in zip(*piece[2:], strict=True)
    ]


def _polynomial(x: Any, h: Any, y0: Any, y1: Any, f0: Any, f1: Any, bend: Any) -> Any:
    difference = y1 - y0
    at_start = h * f0 - difference
    at_end = difference - h * f1
    return y0 + x * (difference + (1.0 - x) * (at_start + x * (at_end - at_start + (1.0 - x) * bend)))


def _step(field: Field, at: Progress, h: Any, tolerance: Tolerance) -> tuple[Piece, Any]:
    """A step of size ``h``, and the mean square of its error in units of the tolerance."""
    before, rates = at.piece.after, [at.piece.rate_after]
    after = before
    for node, row in zip(_NODES, _STAGES, strict=True):
        after = [y + x for y, x in zip(before, _scaled(h, row, rates), strict=True)]
        rates.append(field(after, at.time + node * h))
    piece = Piece(at.time, h, before, after, rates[0], rates[-1], _scaled(h, _BEND, rates))
    error = _scaled(h, _ERROR, rates)
    return piece, as_like(error_of(error, before, after, tolerance), h)


def _scaled(h: Any, weights: Sequence[float], rates: Sequence[State]) -> State:
    """The weighted sum of rates, times ``h``."""
    terms = [(w, rate) for w, rate in zip(weights, rates, strict=True) if w]
    sums: State = []
    for k in range(len(rates[0])):
        total = terms[0][0] * terms[0][1][k]
        for w, rate in terms[1:]:
            total = total + w * rate[k]
        sums.append(as_like(h, total) * total)
    return sums


def _begun(time: Any, size: Any, state: State, rate: State) -> Piece:
    return Piece(time, size, state, state, rate, rate, [gnp.zeros_like(y) for y in state])


#: The rate at the start of a step is the last one of the step before.
DOPRI5 = Method(_begun, _step, interpolated, len(_NODES))
