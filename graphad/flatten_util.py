"""A pytree of arrays as one vector, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphad.api.names import listing
from graphad.numpy import concatenate, ravel, reshape
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.keys import is_keys
from graphad.trace.pytree import Tree, flatten, unflatten
from graphad.trace.semantics import as_operand, cast, dtype_and_weakness, result_type

__all__ = ["ravel_pytree"]


def ravel_pytree(pytree: Tree) -> tuple[Any, Callable[[Any], Tree]]:
    """All leaves one after the other in a vector, and the function that makes the tree of such a vector.

    Parameters
    ----------
    pytree
        Containers of arrays and numbers; the vector has the dtype that they are promoted to.

    Raises
    ------
    ValueError
        By the function: the vector has another number of elements.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> vector, unravel = ravel_pytree({"w": gnp.ones((2, 2)), "b": gnp.zeros(1)})
    >>> vector
    Array([0., 1., 1., 1., 1.], dtype=float32)
    >>> unravel(2 * vector)["b"]
    Array([0.], dtype=float32)
    """
    leaves, treedef = flatten(pytree, is_keys)
    arrays = [as_operand(x, "ravel_pytree") for x in leaves]
    if not arrays:
        return Array(np.zeros(0, np.float32)), lambda _: unflatten(treedef, [])
    dtype, _ = result_type(*arrays)
    dtypes, shapes = [dtype_and_weakness(x)[0] for x in arrays], [x.shape for x in arrays]
    ends = np.cumsum([math.prod(s) for s in shapes]).tolist()

    def unravel(vector: Any) -> Tree:
        vector = as_operand(vector, "unravel")
        if vector.shape != (ends[-1],):
            raise ValueError(
                f"{source.where()}unravel takes a vector of {ends[-1]} elements, got shape {vector.shape}."
            )
        starts = [0, *ends[:-1]]
        parts = [reshape(vector[a:b], s) for a, b, s in zip(starts, ends, shapes, strict=True)]
        return unflatten(treedef, [cast(x, d) for x, d in zip(parts, dtypes, strict=True)])

    return concatenate([ravel(cast(x, dtype)) for x in arrays]), unravel


__dir__ = listing(globals())
