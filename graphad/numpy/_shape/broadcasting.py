"""Axes of size 1 repeated, and new axes."""

from __future__ import annotations

from collections.abc import Sequence

from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike, Shape
from graphad.trace import semantics, source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_shape, shape_text


@of_keys("x")
def broadcast_to(x: ArrayLike, shape: Shape) -> Array:
    """``x`` repeated along new leading axes, and along its axes of size 1.

    >>> import graphad.numpy as gnp
    >>> gnp.broadcast_to(gnp.arange(2), (2, 2))
    Array([[0, 1],
           [0, 1]], dtype=int32)
    """
    x, wanted = as_operand(x, "broadcast_to"), canonical_shape(shape, "broadcast_to")
    if semantics.broadcast_shapes((x.shape, wanted), "broadcast_to") != wanted:
        raise ValueError(
            f"{source.where()}broadcast_to cannot repeat {shape_text(x)} to the shape {wanted}: "
            "axes are aligned from the last one backwards, and only new axes and those of size 1 are repeated."
        )
    return semantics.broadcast_to(x, wanted)


@of_keys("xs")
def broadcast_arrays(*xs: ArrayLike) -> list[Array]:
    """All arrays repeated to their common shape.

    >>> import graphad.numpy as gnp
    >>> [x.shape for x in gnp.broadcast_arrays(gnp.ones((3, 1)), gnp.ones(2))]
    [(3, 2), (3, 2)]
    """
    arrays = [as_operand(x, "broadcast_arrays") for x in xs]
    common = semantics.broadcast_shapes([x.shape for x in arrays], "broadcast_arrays")
    return [semantics.broadcast_to(x, common) for x in arrays]


def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to.

    >>> import graphad.numpy as gnp
    >>> gnp.broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    listed = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    try:
        return semantics.broadcast_shapes(listed, "broadcast_shapes") if listed else ()
    except TypeError as error:  # that of operators, as in JAX; this function's is NumPy's
        raise ValueError(*error.args) from None
