"""The same elements in the same order under another shape, and what the shape is."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.numpy._keys import of_keys
from graphad.numpy._shape.axes import transpose
from graphad.numpy._typing import ArrayLike, Axis, Shape
from graphad.primitives import layout as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.keys import is_keys
from graphad.trace.semantics import as_operand, canonical_axes, canonical_axis, shape_text, with_weak

# ---------------------------------------------------------------------------------------------------------------------
# Questions


def shape(x: ArrayLike) -> tuple[int, ...]:
    """The sizes of the axes.

    >>> import graphad.numpy as gnp
    >>> gnp.shape(gnp.zeros((2, 3)))
    (2, 3)
    """
    return _measured(x, "shape").shape


def ndim(x: ArrayLike) -> int:
    """The number of axes.

    >>> import graphad.numpy as gnp
    >>> gnp.ndim(gnp.zeros((2, 3)))
    2
    """
    return _measured(x, "ndim").ndim


def size(x: ArrayLike, axis: int | None = None) -> int:
    """The number of elements, or the size of one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.size(gnp.zeros((2, 3)))
    6
    """
    measured = _measured(x, "size")
    return measured.size if axis is None else measured.shape[canonical_axis(axis, measured.ndim, "size")]


def _measured(x: Any, name: str) -> Any:
    return x if is_keys(x) else as_operand(x, name)


def isscalar(element: Any) -> bool:
    """Whether this is a number, or an array without axes.

    >>> import graphad.numpy as gnp
    >>> gnp.isscalar(2.0), gnp.isscalar(gnp.ones(2))
    (True, False)
    """
    return bool(np.isscalar(element)) or (isinstance(element, (Array, np.ndarray)) and not element.ndim)


def iterable(y: Any) -> bool:
    """Whether one can iterate over this.

    >>> import graphad.numpy as gnp
    >>> gnp.iterable([1]), gnp.iterable(1)
    (True, False)
    """
    return bool(np.iterable(y))


# ---------------------------------------------------------------------------------------------------------------------
# Another shape


@of_keys("x")
def reshape(x: ArrayLike, shape: Shape, order: str = "C") -> Array:
    """The elements in row-major order under another shape; one size may be -1, and follows from the others.

    >>> import graphad.numpy as gnp
    >>> gnp.reshape(gnp.arange(6), (2, -1))
    Array([[0, 1, 2],
           [3, 4, 5]], dtype=int32)
    """
    x = as_operand(x, "reshape")
    if order not in ("C", "F"):
        raise ValueError(
            f"{source.where()}reshape got order={order!r}; it takes 'C' (row-major) and 'F' (column-major)."
        )
    sizes = _resolved(x, shape)
    if order == "F":
        return transpose(_reshaped(transpose(x), sizes[::-1]))
    return _reshaped(x, sizes)


def _resolved(x: Any, shape: Shape) -> tuple[int, ...]:
    """``shape`` with its -1 filled in."""
    sizes = [operator.index(n) for n in (shape if isinstance(shape, Sequence) else (shape,))]
    unknown = [k for k, n in enumerate(sizes) if n == -1]
    known = math.prod([n for n in sizes if n != -1])
    if len(unknown) == 1 and known > 0 and x.size % known == 0:
        sizes[unknown[0]] = x.size // known
    if len(unknown) > 1 or any([n < 0 for n in sizes]) or math.prod(sizes) != x.size:
        raise TypeError(
            f"{source.where()}reshape cannot give {shape_text(x)} with {x.size} elements the shape {tuple(sizes)}: "
            "the product of the sizes must be the number of elements, and one size at most may be -1."
        )
    return tuple(sizes)


def _reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else with_weak(prims.reshape(x, shape=shape), x.weak_type)


@of_keys("x")
def ravel(x: ArrayLike, order: str = "C") -> Array:
    """All elements along one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.ravel(gnp.ones((2, 2)))
    Array([1., 1., 1., 1.], dtype=float32)
    """
    return reshape(x, -1 if as_operand(x, "ravel").size else 0, order)


@of_keys("x")
def squeeze(x: ArrayLike, axis: Axis = None) -> Array:
    """Without axes of size 1: all of them, or those named.

    >>> import graphad.numpy as gnp
    >>> gnp.squeeze(gnp.ones((1, 3, 1))).shape
    (3,)
    """
    x = as_operand(x, "squeeze")
    if axis is None:
        axes = tuple([k for k, n in enumerate(x.shape) if n == 1])
    else:
        axes = canonical_axes(axis, x.ndim, "squeeze")
        for k in axes:
            if x.shape[k] != 1:
                raise ValueError(
                    f"{source.where()}squeeze cannot take away axis {k} of {shape_text(x)}: its size is "
                    f"{x.shape[k]}, not 1. Write x[{':, ' * k}0] to choose one index of it."
                )
    return _reshaped(x, tuple([n for k, n in enumerate(x.shape) if k not in axes]))


@of_keys("x")
def expand_dims(x: ArrayLike, axis: int | Sequence[int]) -> Array:
    """With a new axis of size 1 at each position ``axis`` of the result.

    >>> import graphad.numpy as gnp
    >>> gnp.expand_dims(gnp.ones(3), (0, -1)).shape
    (1, 3, 1)
    """
    x = as_operand(x, "expand_dims")
    count = len(axis) if isinstance(axis, Sequence) else 1
    new = canonical_axes(axis, x.ndim + count, "expand_dims")
    old = iter(x.shape)
    return _reshaped(x, tuple([1 if k in new else next(old) for k in range(x.ndim + count)]))


@of_keys("xs")
def atleast_1d(*xs: ArrayLike) -> Any:
    """``x`` with at least one axis; a list for several.

    >>> import graphad.numpy as gnp
    >>> gnp.atleast_1d(gnp.float32(2))
    Array([2.], dtype=float32)
    """
    results = [_reshaped(x, x.shape or (1,)) for x in [as_operand(x, "atleast_1d") for x in xs]]
    return results[0] if len(results) == 1 else results


@of_keys("xs")
def atleast_2d(*xs: ArrayLike) -> Any:
    """``x`` with at least two axes, new ones in front; a list for several.

    >>> import graphad.numpy as gnp
    >>> gnp.atleast_2d(gnp.ones(3)).shape
    (1, 3)
    """
    results = [_reshaped(x, (1,) * (2 - x.ndim) + x.shape) for x in [as_operand(x, "atleast_2d") for x in xs]]
    return results[0] if len(results) == 1 else results


@of_keys("arys")
def atleast_3d(*arys: ArrayLike) -> Any:
    """``x`` with at least three axes; a list for several.

    >>> import graphad.numpy as gnp
    >>> gnp.atleast_3d(gnp.ones(3)).shape, gnp.atleast_3d(gnp.ones((2, 3))).shape
    ((1, 3, 1), (2, 3, 1))
    """
    results = [with_three_axes(as_operand(x, "atleast_3d")) for x in arys]
    return results[0] if len(results) == 1 else results


def with_three_axes(x: Any) -> Any:
    shapes = ((1, 1, 1), (1, *x.shape, 1), (*x.shape, 1))
    return reshape(x, shapes[x.ndim]) if x.ndim < 3 else x
