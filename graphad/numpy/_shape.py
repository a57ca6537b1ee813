"""The same elements under another shape, or repeated."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from graphad.numpy._typing import ArrayLike, Axis, Shape
from graphad.primitives import layout as prims
from graphad.primitives.shape import rev
from graphad.trace import semantics, source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    broadcast_shapes,
    canonical_axes,
    canonical_axis,
    canonical_shape,
    shape_text,
    with_weak,
)

# ---------------------------------------------------------------------------------------------------------------------
# Questions


def shape(x: ArrayLike) -> tuple[int, ...]:
    """The sizes of the axes.

    >>> import graphad.numpy as gnp
    >>> gnp.shape(gnp.zeros((2, 3)))
    (2, 3)
    """
    return as_operand(x, "shape").shape


def ndim(x: ArrayLike) -> int:
    """The number of axes.

    >>> import graphad.numpy as gnp
    >>> gnp.ndim(gnp.zeros((2, 3)))
    2
    """
    return as_operand(x, "ndim").ndim


def size(x: ArrayLike, axis: int | None = None) -> int:
    """The number of elements, or the size of one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.size(gnp.zeros((2, 3)))
    6
    """
    x = as_operand(x, "size")
    return x.size if axis is None else x.shape[canonical_axis(axis, x.ndim, "size")]


# ---------------------------------------------------------------------------------------------------------------------
# Another shape


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


def ravel(x: ArrayLike, order: str = "C") -> Array:
    """All elements along one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.ravel(gnp.ones((2, 2)))
    Array([1., 1., 1., 1.], dtype=float32)
    """
    return reshape(x, -1 if as_operand(x, "ravel").size else 0, order)


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


def atleast_1d(*xs: ArrayLike) -> Any:
    """``x`` with at least one axis; a list for several.

    >>> import graphad.numpy as gnp
    >>> gnp.atleast_1d(gnp.float32(2))
    Array([2.], dtype=float32)
    """
    results = [_reshaped(x, x.shape or (1,)) for x in [as_operand(x, "atleast_1d") for x in xs]]
    return results[0] if len(results) == 1 else results


def atleast_2d(*xs: ArrayLike) -> Any:
    """``x`` with at least two axes, new ones in front; a list for several.

    >>> import graphad.numpy as gnp
    >>> gnp.atleast_2d(gnp.ones(3)).shape
    (1, 3)
    """
    results = [_reshaped(x, (1,) * (2 - x.ndim) + x.shape) for x in [as_operand(x, "atleast_2d") for x in xs]]
    return results[0] if len(results) == 1 else results


# ---------------------------------------------------------------------------------------------------------------------
# Another order of axes or elements


def transpose(x: ArrayLike, axes: Sequence[int] | None = None) -> Array:
    """The axes in reverse order, or in the order given.

    >>> import graphad.numpy as gnp
    >>> gnp.transpose(gnp.ones((2, 3))).shape
    (3, 2)
    """
    x = as_operand(x, "transpose")
    perm = tuple(range(x.ndim))[::-1] if axes is None else canonical_axes(tuple(axes), x.ndim, "transpose")
    if len(perm) != x.ndim:
        raise ValueError(f"{source.where()}transpose of {shape_text(x)} takes {x.ndim} axes, got {tuple(perm)}.")
    if perm == tuple(range(x.ndim)):
        return x
    return with_weak(prims.transpose(x, perm=perm), x.weak_type)


def permute_dims(x: ArrayLike, axes: Sequence[int]) -> Array:
    """`transpose` under the name of the array API.

    >>> import graphad.numpy as gnp
    >>> gnp.permute_dims(gnp.ones((2, 3)), (1, 0)).shape
    (3, 2)
    """
    return transpose(x, axes)


def matrix_transpose(x: ArrayLike) -> Array:
    """The last two axes swapped.

    >>> import graphad.numpy as gnp
    >>> gnp.matrix_transpose(gnp.ones((5, 2, 3))).shape
    (5, 3, 2)
    """
    return swapaxes(x, -1, -2)


def swapaxes(x: ArrayLike, axis1: int, axis2: int) -> Array:
    """Two axes in each other's place.

    >>> import graphad.numpy as gnp
    >>> gnp.swapaxes(gnp.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = as_operand(x, "swapaxes")
    a, b = canonical_axis(axis1, x.ndim, "swapaxes"), canonical_axis(axis2, x.ndim, "swapaxes")
    perm = list(range(x.ndim))
    perm[a], perm[b] = b, a
    return transpose(x, perm)


def moveaxis(x: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """The axes ``source`` at the positions ``destination``, the others in their order.

    >>> import graphad.numpy as gnp
    >>> gnp.moveaxis(gnp.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = as_operand(x, "moveaxis")
    taken, placed = (canonical_axes(axes, x.ndim, "moveaxis") for axes in (source, destination))
    if len(taken) != len(placed):
        raise ValueError(f"moveaxis takes as many destinations as sources, got {source} and {destination}.")
    rest = iter([k for k in range(x.ndim) if k not in taken])
    at = dict(zip(placed, taken, strict=True))
    return transpose(x, [at[k] if k in at else next(rest) for k in range(x.ndim)])


def flip(x: ArrayLike, axis: Axis = None) -> Array:
    """The elements in reverse order along all axes, or those named.

    >>> import graphad.numpy as gnp
    >>> gnp.flip(gnp.arange(3))
    Array([2, 1, 0], dtype=int32)
    """
    x = as_operand(x, "flip")
    return with_weak(rev(x, axes=canonical_axes(axis, x.ndim, "flip")), x.weak_type)


def fliplr(x: ArrayLike) -> Array:
    """Reversed along axis 1.

    >>> import graphad.numpy as gnp
    >>> gnp.fliplr(gnp.array([[1, 2]]))
    Array([[2, 1]], dtype=int32)
    """
    return flip(x, 1)


def flipud(x: ArrayLike) -> Array:
    """Reversed along axis 0.

    >>> import graphad.numpy as gnp
    >>> gnp.flipud(gnp.arange(3))
    Array([2, 1, 0], dtype=int32)
    """
    return flip(x, 0)


# ---------------------------------------------------------------------------------------------------------------------
# Repeated


def broadcast_to(x: ArrayLike, shape: Shape) -> Array:
    """``x`` repeated along new leading axes, and along its axes of size 1.

    >>> import graphad.numpy as gnp
    >>> gnp.broadcast_to(gnp.arange(2), (2, 2))
    Array([[0, 1],
           [0, 1]], dtype=int32)
    """
    x, wanted = as_operand(x, "broadcast_to"), canonical_shape(shape, "broadcast_to")
    if broadcast_shapes((x.shape, wanted), "broadcast_to") != wanted:
        raise ValueError(
            f"{source.where()}broadcast_to cannot repeat {shape_text(x)} to the shape {wanted}: "
            "axes are aligned from the last one backwards, and only new axes and those of size 1 are repeated."
        )
    return semantics.broadcast_to(x, wanted)


def broadcast_arrays(*xs: ArrayLike) -> list[Array]:
    """All arrays repeated to their common shape.

    >>> import graphad.numpy as gnp
    >>> [x.shape for x in gnp.broadcast_arrays(gnp.ones((3, 1)), gnp.ones(2))]
    [(3, 2), (3, 2)]
    """
    arrays = [as_operand(x, "broadcast_arrays") for x in xs]
    common = broadcast_shapes([x.shape for x in arrays], "broadcast_arrays")
    return [semantics.broadcast_to(x, common) for x in arrays]


def meshgrid(*xs: ArrayLike, sparse: bool = False, indexing: str = "xy") -> list[Array]:
    """Coordinates of a grid: one array per axis, each varying along its own axis only.

    >>> import graphad.numpy as gnp
    >>> x, y = gnp.meshgrid(gnp.arange(2), gnp.arange(3))
    >>> x.shape, y[:, 0]
    ((3, 2), Array([0, 1, 2], dtype=int32))
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"{source.where()}meshgrid got indexing={indexing!r}; it takes 'xy' and 'ij'.")
    arrays = [atleast_1d(x) for x in xs]
    if any([x.ndim > 1 for x in arrays]):
        raise ValueError(f"{source.where()}meshgrid takes arrays of one axis, got shapes {[x.shape for x in arrays]}.")
    order = list(range(len(arrays)))
    if indexing == "xy" and len(arrays) > 1:
        order[0], order[1] = 1, 0
    grids = [_reshaped(x, tuple([x.size if a == k else 1 for a in order])) for k, x in enumerate(arrays)]
    return grids if sparse else broadcast_arrays(*grids)
