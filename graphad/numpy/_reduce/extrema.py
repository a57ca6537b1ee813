"""The greatest and the least element over axes, and where it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import DType, b1, i8
from graphad.numpy._elementwise.extrema import maximum, minimum
from graphad.numpy._reduce.sums import masked, reduced
from graphad.numpy._shape.reshaping import expand_dims, ravel
from graphad.numpy._typing import ArrayLike, Axis
from graphad.primitives import reduce as reducers
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    canonical_axes,
    canonical_axis,
    cast,
    default_int,
    dtype_and_weakness,
    shape_text,
)

# ---------------------------------------------------------------------------------------------------------------------
# Values


def max(  # noqa: A001  (NumPy's name)
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The greatest element over all axes, or those named; nan if there is one.

    >>> import graphad.numpy as gnp
    >>> gnp.max(gnp.array([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Array([5., 3.], dtype=float32)
    """
    return _extremum(reducers.reduce_max, a, axis, keepdims, initial, where, "max")


def min(  # noqa: A001  (NumPy's name)
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The least element over all axes, or those named; nan if there is one.

    >>> import graphad.numpy as gnp
    >>> gnp.min(gnp.array([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Array([1., 2.], dtype=float32)
    """
    return _extremum(reducers.reduce_min, a, axis, keepdims, initial, where, "min")


def _extremum(
    primitive: Primitive,
    x: ArrayLike,
    axis: Axis,
    keepdims: bool,
    initial: ArrayLike | None,
    where: ArrayLike | None,
    name: str,
) -> Any:
    x = as_operand(x, name)
    dtype, _ = dtype_and_weakness(x)
    if initial is None:
        if where is not None:
            raise ValueError(f"{source.where()}{name} with where= needs initial=: the result where nothing counts.")
        empty = [k for k in canonical_axes(axis, x.ndim, name) if x.shape[k] == 0]
        if empty:
            raise ValueError(
                f"{source.where()}{name} of {shape_text(x)} over axis {empty[0]}, which is empty: there is no {name}. "
                "Give initial= as the result in that case."
            )
    if dtype is b1:
        of_bools = reducers.reduce_or if name == "max" else reducers.reduce_and
        result = reduced(of_bools, masked(x, where, name == "min"), axis, keepdims, name)
    else:
        result = reduced(primitive, masked(x, where, _lowest(dtype, name)), axis, keepdims, name)
    if initial is None:
        return result
    combine = maximum if name == "max" else minimum
    return combine(result, cast(initial, dtype, name=name))


def _lowest(dtype: DType, name: str) -> Any:
    """What changes no extremum."""
    if dtype.is_float:
        return -math.inf if name == "max" else math.inf
    limits = np.iinfo(dtype.numpy)
    return limits.min if name == "max" else limits.max


def ptp(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """From the least to the greatest element: ``max - min``.

    >>> import graphad.numpy as gnp
    >>> gnp.ptp(gnp.array([3, 1, 7]))
    Array(6, dtype=int32)
    """
    x = as_operand(a, "ptp")
    return max(x, axis, keepdims=keepdims) - min(x, axis, keepdims=keepdims)


# ---------------------------------------------------------------------------------------------------------------------
# Positions


def argmax(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The index of the greatest element, the first of equals; in the flattened array if no axis is named.

    >>> import graphad.numpy as gnp
    >>> gnp.argmax(gnp.array([1.0, 3.0, 2.0]))
    Array(1, dtype=int32)
    """
    return _position(reducers.argmax, a, axis, keepdims, "argmax")


def argmin(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The index of the least element, the first of equals; in the flattened array if no axis is named.

    >>> import graphad.numpy as gnp
    >>> gnp.argmin(gnp.array([1.0, 3.0, 2.0]))
    Array(0, dtype=int32)
    """
    return _position(reducers.argmin, a, axis, keepdims, "argmin")


def _position(primitive: Primitive, x: ArrayLike, axis: int | None, keepdims: bool, name: str) -> Any:
    x = as_operand(x, name)
    if dtype_and_weakness(x)[0] is b1:
        x = cast(x, i8)
    ndim = x.ndim
    if axis is None:
        x, k = ravel(x), 0
    else:
        k = canonical_axis(axis, ndim, name)
    if not x.shape[k]:
        raise ValueError(f"{source.where()}{name} of {shape_text(x)}: axis {k} is empty and has no extremum.")
    result = primitive(x, axis=k, dtype=default_int())
    if not keepdims:
        return result
    return expand_dims(result, tuple(range(ndim)) if axis is None else k)


amax, amin = max, min
