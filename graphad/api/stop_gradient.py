"""`stop_gradient`: a value that derivatives take for a constant."""

from __future__ import annotations

from graphad.primitives import elementwise as prims
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.semantics import elementwise


def stop_gradient(x: Tree) -> Tree:
    """x itself, or a pytree of such, with derivative zero.

    Parameters
    ----------
    x
        An array, a number, or containers of these; integers and booleans are left as they are.

    Examples
    --------
    >>> stop_gradient(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return tree_map(lambda leaf: elementwise(prims.stop_gradient, leaf), x)
