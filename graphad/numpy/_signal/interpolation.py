"""What lies between known points."""

from __future__ import annotations

from typing import Any

from graphad.numpy._elementwise.arithmetic import remainder
from graphad.numpy._elementwise.extrema import clip
from graphad.numpy._elementwise.logic import where
from graphad.numpy._precision import in_float32
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._sort.searching import places
from graphad.numpy._sort.sorting import argsort
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_floats, cast, dtype_and_weakness, shape_text, with_weak


@in_float32
def interp(
    x: ArrayLike,
    xp: ArrayLike,
    fp: ArrayLike,
    left: ArrayLike | None = None,
    right: ArrayLike | None = None,
    period: ArrayLike | None = None,
) -> Array:
    """The piecewise linear function through the points ``(xp, fp)``, with ``xp`` rising, at ``x``.

    Outside it is ``left`` and ``right``, by default the values at the ends; with ``period`` it is repeated instead.

    >>> import graphad.numpy as gnp
    >>> gnp.interp(gnp.array([0.5, 3.0]), gnp.array([0.0, 1.0, 2.0]), gnp.array([0.0, 10.0, 20.0]))
    Array([ 5., 20.], dtype=float32)
    """
    at, knots, values = as_floats("interp", x, xp, fp)
    if knots.ndim != 1 or knots.shape != values.shape or not knots.shape[0]:
        raise ValueError(
            f"{source.where()}interp got points {shape_text(knots)} and {shape_text(values)}; it takes two arrays of "
            "one axis and of the same size, at least 1."
        )
    if period is not None:
        at, knots, values = _repeated(at, knots, values, period)
    i = clip(places(knots, at, left=False), 1, max(knots.shape[0] - 1, 1))
    step = knots[i] - knots[i - 1]
    flat = step == 0  # behind the last of several points at one place, before the first, or there is but one
    share = where(flat & (at == at), at >= knots[i], (at - knots[i - 1]) / where(flat, 1, step))
    result = values[i - 1] + share * (values[i] - values[i - 1])
    if period is None:
        result = where(at < knots[0], values[0] if left is None else left, result)
        result = where(at > knots[-1], values[-1] if right is None else right, result)
    return with_weak(cast(result, dtype_and_weakness(values)[0]), False)


def _repeated(at: Any, knots: Any, values: Any, period: ArrayLike) -> tuple[Any, Any, Any]:
    """Everything within one period, with a point added before the first and behind the last."""
    at, knots = remainder(at, period), remainder(knots, period)
    order = argsort(knots)
    knots, values = knots[order], values[order]
    return (
        at,
        concatenate([knots[-1:] - period, knots, knots[:1] + period]),
        concatenate([values[-1:], values, values[:1]]),
    )
