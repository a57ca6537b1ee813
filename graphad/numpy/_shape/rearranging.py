"""Another order of elements: turned round, shifted."""

from __future__ import annotations

from collections.abc import Sequence

from graphad.numpy._keys import of_keys
from graphad.numpy._shape.axes import swapaxes
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.reshaping import ravel, reshape
from graphad.numpy._shape.splitting import cut_at
from graphad.numpy._typing import ArrayLike, Axis
from graphad.primitives.shape import rev
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axes, canonical_axis, shape_text, with_weak


@of_keys("x")
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


@of_keys("x")
def roll(x: ArrayLike, shift: int | Sequence[int], axis: Axis = None) -> Array:
    """The elements shifted along axes; what falls out comes back in at the other end.

    >>> import graphad.numpy as gnp
    >>> gnp.roll(gnp.arange(4), 1)
    Array([3, 0, 1, 2], dtype=int32)
    """
    x = as_operand(x, "roll")
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    axes = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    shifts = tuple(shift) if isinstance(shift, Sequence) else (shift,)
    if len(axes) != len(shifts) and 1 not in (len(axes), len(shifts)):
        raise ValueError(f"{source.where()}roll got {len(shifts)} shifts for {len(axes)} axes: give one for each.")
    for j in range(max(len(axes), len(shifts)) if axes and shifts else 0):
        k, by = canonical_axis(axes[j % len(axes)], x.ndim, "roll"), shifts[j % len(shifts)]
        n = x.shape[k]
        cut = -int(by) % n if n else 0
        if cut:
            x = concatenate(cut_at(x, k, [cut, n]) + cut_at(x, k, [0, cut]), k)
    return x


@of_keys("m")
def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """Turned ``k`` times by 90 degrees, from the first of ``axes`` towards the second.

    >>> import graphad.numpy as gnp
    >>> gnp.rot90(gnp.array([[1, 2], [3, 4]]))
    Array([[2, 4],
           [1, 3]], dtype=int32)
    """
    x = as_operand(m, "rot90")
    a, b = (canonical_axis(axis, x.ndim, "rot90") for axis in axes)
    if a == b:
        raise ValueError(f"{source.where()}rot90 of {shape_text(x)} got axes={axes}; give two axes.")
    turns = k % 4
    if turns == 0:
        return x
    if turns == 2:
        return flip(x, (a, b))
    return swapaxes(flip(x, b), a, b) if turns == 1 else flip(swapaxes(x, a, b), b)
