"""`float0`, the dtype of derivatives of integers. Its arrays hold no data, so graphs have no values for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.trace.pytree import Tree, TreeDef, flatten, register, tree_map, unflatten

#: The dtype of the derivative of an integer: it holds nothing (JAX's ``float0``).
float0 = np.dtype([("float0", np.void, 0)])


class _Shape:
    """A node without leaves that replaces an array of `float0`: the array is a part of the structure."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


register(_Shape, lambda node: ((), node.shape), lambda shape, _: np.zeros(shape, float0))


def is_float0(x: Any) -> bool:
    """Whether ``x`` is an array of `float0`."""
    return type(x) is np.ndarray and x.dtype == float0


def hidden(tree: Tree) -> Tree:
    """``tree`` with its arrays of `float0` as nodes without leaves; `unflatten` makes them arrays again."""
    return tree_map(lambda x: _Shape(x.shape) if is_float0(x) else x, tree)


def flatten_results(tree: Tree) -> tuple[list[Any], TreeDef]:
    """As `flatten`, but arrays of `float0` are no leaves."""
    leaves, treedef = flatten(tree)
    if any([is_float0(x) for x in leaves]):
        return flatten(hidden(unflatten(treedef, leaves)))
    return leaves, treedef
