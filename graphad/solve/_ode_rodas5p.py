"""The Rosenbrock method Rodas5P, for stiff equations: a step of order 5 with an error estimate and dense output.

A step solves eight linear systems with one matrix, ``I / (h gamma) - J``, and no nonlinear one. It is L-stable: what
decays much faster than steps are long is damped, as it is in the equation. ``J`` is the Jacobian of the right side at
the start of the step, by forward mode.

The error of a step is the greater one of those at its end and, of the polynomial, halfway.

References
----------
.. [1] G. Steinebach, "Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks within the Julia
   Differential Equations package", BIT Numerical Mathematics 63:27, 2023: the coefficients.
.. [2] E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II", 2nd edition, 1996: IV.7, equations 7.25 and
   7.26 for this form of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.api.jacobian import jacfwd
from graphad.api.linear_maps import jvp
from graphad.flatten_util import ravel_pytree
from graphad.solve._ode_control import Field, Method, Progress, State, Tolerance, as_like, error_of

_GAMMA = 0.21193756319429014
# Where in the step each stage is, and how much of the derivative by time it has.
_NODES = (0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0)
_BY_TIME = (_GAMMA, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069, 0.0, 0.0, 0.0)
# The state of a stage, of the increments before it. The last increment is the estimate of the error.
_SIXTH = (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946)
_STAGES = (
    (),
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    _SIXTH,
    (*_SIXTH, 1.0),
    (*_SIXTH, 1.0, 1.0),
)
_AFTER = (*_SIXTH, 1.0, 1.0, 1.0)
# Of the right side of a system, in units of 1 / h.
_MIXED = (
    (),
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
    (30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
     -28.087943162872662),
    (37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
     -54.66780262877968, -9.48861652309627),
)  # fmt: skip
# The polynomial of degree 4, beyond the line through both ends.
_BENDS = (
    (25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204, 0.524948541321073,
     1.1241088310450404, 0.4272876194431874, -0.17202221070155493),
    (-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796, 20.176138334709044,
     15.98066361424651, -6.789040303419874, -6.710236069923372),
    (11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643, -52.072871366152654,
     -59.78993625266729, -0.15582684282751913, 4.883087185713722),
)  # fmt: skip


class Piece(NamedTuple):
    """The polynomial of degree 4 that the solution follows in a step."""

    start: Any
    size: Any
    before: State
    after: State
    bends: tuple[State, State, State]


def _interpolated(piece: Piece, time: Any) -> State:
    x = (time - piece.start) / piece.size
    found = zip(piece.before, piece.after, *piece.bends, strict=True)
    return [_polynomial(as_like(x, y0), y0, *others) for y0, *others in found]


def _polynomial(x: Any, y0: Any, y1: Any, k1: Any, k2: Any, k3: Any) -> Any:
    return (1.0 - x) * y0 + x * (y1 + (1.0 - x) * (k1 + x * (k2 + x * k3)))


def _step(field: Field, at: Progress, h: Any, tolerance: Tolerance) -> tuple[Piece, Any]:
    before = at.piece.after
    y0, unravel = ravel_pytree(before)
    quiet = field._replace(again=True)
    J = jacfwd(lambda y: ravel_pytree(quiet(unravel(y), at.time))[0])(y0)
    by_time = jvp(lambda t: ravel_pytree(quiet(before, t))[0], (at.time,), (gnp.ones_like(at.time),))[1]
    W = gnp.eye(y0.shape[0], dtype=y0.dtype) / (h * _GAMMA) - J
    increments: list[Any] = []
    for node, share, row, mixed in zip(_NODES, _BY_TIME, _STAGES, _MIXED, strict=True):
        rate = ravel_pytree(field(unravel(_plus(y0, row, increments)), at.time + node * h))[0]
        right = _plus(rate, mixed, [k / h for k in increments])
        if share:
            right = right + share * h * by_time
        increments.append(gnp.linalg.solve(W, right))
    y1 = _plus(y0, _AFTER, increments)
    bends = [_plus(gnp.zeros_like(y0), row, increments) for row in _BENDS]
    # Steps may be so long that the polynomial is less exact than its end. What it misses of the equation halfway is
    # solved for as the increments are.
    middle, slope = jvp(lambda x: _polynomial(x, y0, y1, *bends), (gnp.full_like(h, 0.5),), (1 / h,))
    missed = gnp.linalg.solve(W, ravel_pytree(field(unravel(middle), at.time + h / 2))[0] - slope)
    after = unravel(y1)
    errors = [error_of(unravel(e), before, after, tolerance) for e in (increments[-1], missed)]
    first, second, third = (unravel(k) for k in bends)
    return Piece(at.time, h, before, after, (first, second, third)), as_like(gnp.maximum(*errors), h)


def _plus(y: Any, weights: Sequence[float], increments: Sequence[Any]) -> Any:
    for w, k in zip(weights, increments, strict=True):
        y = y + w * k
    return y


def _begun(time: Any, size: Any, state: State, rate: State) -> Piece:
    """It begins with the slope of the solution, which is the derivative by a time that is equal to the first."""
    zeros = [gnp.zeros_like(y) for y in state]
    return Piece(time, size, state, state, ([as_like(size, r) * r for r in rate], zeros, zeros))


RODAS5P = Method(_begun, _step, _interpolated, len(_NODES) + 1)
