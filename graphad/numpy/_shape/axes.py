"""Another order of axes."""

from __future__ import annotations

from collections.abc import Sequence

from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike
from graphad.primitives import layout as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axes, canonical_axis, shape_text, with_weak


@of_keys("x")
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


@of_keys("x")
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


@of_keys("x")
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


@of_keys("a")
def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Array:
    """The axis moved to before ``start``; `moveaxis` is plainer.

    >>> import graphad.numpy as gnp
    >>> gnp.rollaxis(gnp.ones((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    x = as_operand(a, "rollaxis")
    k = canonical_axis(axis, x.ndim, "rollaxis")
    if not -x.ndim <= start <= x.ndim:
        raise ValueError(
            f"{source.where()}rollaxis got start={start} for {shape_text(x)}; -{x.ndim}..{x.ndim} are legal."
        )
    before = start + x.ndim if start < 0 else start
    return moveaxis(x, k, before - 1 if k < before else before)
