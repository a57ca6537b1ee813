"""Derivatives of whole graphs by the transforms, and by finite differences. NumPy computes both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import ml_dtypes
import numpy as np

from graphad.check.origin import Run
from graphad.ir.builder import Builder
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Graph
from graphad.ir.types import dtype_of
from graphad.primitives.layout import zeros_like_aval
from graphad.transforms.linearize import jvp_graph, linearized
from graphad.transforms.transpose import transposed

NDArray = np.ndarray[Any, Any]
Arrays = Sequence[NDArray]

_STEP: Final = 1e-5
_LARGEST, _SMALLER, _STEPS = 0.06, 4.0, 12  # steps of a search: 0.06, 0.015, ..., 1e-8


def run(graph: Graph, args: Arrays) -> list[NDArray]:
    """The outputs of ``graph``."""
    return [np.asarray(r) for r in evaluate(graph, args)]


def is_float(array: NDArray) -> bool:
    """Whether an array has tangents (is of floats)."""
    return dtype_of(array.dtype).is_float


def float_outputs(graph: Graph, values: Arrays) -> list[NDArray]:
    """Those of floating-point type among the outputs."""
    return [v for v, a in zip(values, graph.out_avals, strict=True) if a.is_float]


def float_inputs(graph: Graph) -> list[int]:
    """The inputs of floating-point type, by position."""
    return [k for k, a in enumerate(graph.in_avals) if a.is_float]


def directions(rng: np.random.Generator, arrays: Arrays) -> list[NDArray]:
    """A random array like each floating-point one of ``arrays``."""
    return [np.asarray(rng.normal(size=a.shape)).astype(a.dtype) for a in arrays if is_float(a)]


def stepped(args: Arrays, along: Arrays, step: float) -> list[NDArray]:
    """``args + step * along``; ``along`` has one entry per floating-point argument."""
    moves = iter(along)
    return [np.asarray(a + step * next(moves), a.dtype) if is_float(a) else a for a in args]


def jvp(graph: Graph, args: Arrays, along: Arrays, mask: Sequence[bool] | None = None) -> list[NDArray]:
    """The derivative along ``along``, zeros filled in; one per floating-point output.

    With a ``mask`` of the inputs only those marked have tangents: ``along`` has one entry per marked input.
    """
    marks = tuple([is_float(a) for a in args]) if mask is None else tuple(mask)
    joint, nonzero = jvp_graph(graph, marks)
    tangents = iter(run(joint, [*args, *along])[len(nonzero) :])
    filled = [next(tangents) if n else None for n in nonzero]
    return [
        np.zeros(a.shape, a.dtype.numpy) if t is None else t
        for t, a in zip(filled, graph.out_avals, strict=True)
        if a.is_float
    ]


def vjp_graph(graph: Graph) -> Graph:
    """(arguments, one cotangent per floating-point output) -> one cotangent per floating-point argument."""
    mask = tuple([a.is_float for a in graph.in_avals])
    parts = linearized(graph, mask)
    back = transposed(
        parts.linear,
        tuple([i >= parts.n_residuals for i in range(parts.linear.n_inputs)]),
        (True,) * len(parts.linear.outputs),
    )
    builder = Builder()
    primals = [builder.input(a) for a in graph.in_avals]
    cts = [builder.input(a) if a.is_float else None for a in graph.out_avals]
    residuals = builder.inline(parts.primal, primals)[len(graph.outputs) :]
    given = [c for c, n in zip(cts, parts.nonzero, strict=True) if n and c is not None]
    found = iter(builder.inline(back.graph, [*residuals, *given]))
    pulled = [next(found) if n else None for n in back.nonzero]
    floats = [graph.in_avals[k] for k in float_inputs(graph)]
    filled = [zeros_like_aval(builder, a).atom if p is None else p for p, a in zip(pulled, floats, strict=True)]
    return builder.close(filled)


class Slope(NamedTuple):
    """A directional derivative by finite differences: its elements, and bounds of their errors."""

    value: NDArray
    error: NDArray


def quick_slopes(graph: Graph, args: Arrays, along: Arrays) -> list[NDArray]:
    """Central differences at two steps, extrapolated: the error is of fourth order."""
    function = _along(graph, args, along)
    pairs = zip(_central(function, _STEP), _central(function, 2 * _STEP), strict=True)
    return [(4 * fine - coarse) / 3 for fine, coarse in pairs]


def slopes(graph: Graph, args: Arrays, along: Arrays) -> list[Slope]:
    """Central differences at many steps; for each element, the step that agrees best with its neighbours.

    The error bound is at least that of rounding intermediate values: differences of a nearly constant function may
    agree by chance.
    """
    function = _along(graph, args, along)
    steps = [_LARGEST / _SMALLER**k for k in range(_STEPS)]
    columns = [_central(function, step) for step in steps]
    epsilons = [float(ml_dtypes.finfo(a.dtype.numpy).eps) for a in graph.out_avals if a.is_float]
    found: list[Slope] = []
    with np.errstate(all="ignore"):
        size = max([_size(v) for v in Run(graph, args).values if is_float(v)], default=0.0)
        for epsilon, *column in zip(epsilons, *columns, strict=True):
            rounding = [2 * epsilon * size / step for step in steps[2:]]
            better = [(_SMALLER**2 * fine - coarse) / (_SMALLER**2 - 1) for coarse, fine in pairwise(column)]
            errors = [np.abs(b - a) + r for (a, b), r in zip(pairwise(better), rounding, strict=True)]
            errors = [np.where(np.isfinite(e), e, np.inf) for e in errors]
            best = np.argmin(np.stack(errors), axis=0)[None]
            take = [np.take_along_axis(np.stack(x), best, axis=0)[0] for x in (better[1:], errors)]
            found.append(Slope(*take))
    return found


def one_sided(graph: Graph, args: Arrays, along: Arrays, step: float) -> list[tuple[NDArray, NDArray]]:
    """The one-sided slopes, which differ at a kink."""
    function = _along(graph, args, along)
    low, here, high = function(-step), function(0.0), function(step)
    with np.errstate(all="ignore"):
        return [((h - x) / step, (x - g) / step) for g, x, h in zip(low, here, high, strict=True)]


def _size(x: NDArray) -> float:
    """The largest finite magnitude in ``x``."""
    return float(np.abs(x.astype(np.float64)).max(initial=0.0, where=np.isfinite(x)))


def _along(graph: Graph, args: Arrays, along: Arrays) -> Callable[[float], list[NDArray]]:
    def function(step: float) -> list[NDArray]:
        values = float_outputs(graph, run(graph, stepped(args, along, step)))
        return [v if v.dtype == np.float64 else v.astype(np.float64) for v in values]

    return function


def _central(function: Callable[[float], list[NDArray]], step: float) -> list[NDArray]:
    with np.errstate(all="ignore"):
        return [(high - low) / (2 * step) for high, low in zip(function(step), function(-step), strict=True)]
