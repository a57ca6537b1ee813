"""Pytrees: nested containers as arguments and results. JAX's conventions, by way of optree.

Dictionaries are flattened in the order of their sorted keys; None is a node without leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree

from graphad.trace.static_keys import StaticKey

Tree = Any
TreeDef = optree.PyTreeSpec
NAMESPACE = "graphad"
_NONE = object()


def flatten(tree: Tree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeDef]:
    """Leaves in order, and the structure that `unflatten` takes."""
    return optree.tree_flatten(tree, is_leaf, namespace=NAMESPACE)


def unflatten(treedef: TreeDef, leaves: Any) -> Tree:
    """Inverse of `flatten`."""
    return optree.tree_unflatten(treedef, leaves)


def register(
    nodetype: type, flatten_func: Callable[[Any], tuple[Any, Any]], unflatten_func: Callable[[Any, Any], Any]
) -> None:
    """Make a class a node: ``flatten_func(x) -> (children, data)``, ``unflatten_func(data, children) -> x``.

    Structures differ if their data do, by type and sign of zero too.
    """

    def flattened(x: Any) -> tuple[Any, Any]:
        children, data = flatten_func(x)
        return children, data if data is None else StaticKey(data)

    def unflattened(data: Any, children: Any) -> Any:
        return unflatten_func(None if data is None else data.value, children)

    optree.register_pytree_node(nodetype, flattened, unflattened, namespace=NAMESPACE)


def tree_map(f: Callable[..., Any], tree: Tree, *rest: Tree, is_leaf: Callable[[Any], bool] | None = None) -> Tree:
    """Apply ``f`` to corresponding leaves."""
    return optree.tree_map(f, tree, *rest, is_leaf=is_leaf, namespace=NAMESPACE)


def broadcast_prefix(prefix: Tree, tree: Tree) -> list[Any]:
    """One leaf of ``prefix`` for each leaf of ``tree``: a leaf of the prefix stands for the whole subtree below it.

    None is a leaf of the prefix, but not of the tree.
    """
    leaves = optree.broadcast_prefix(_marked(prefix), tree, namespace=NAMESPACE)
    return [None if x is _NONE else x for x in leaves]


def cut_by_prefix(prefix: Tree, tree: Tree) -> tuple[list[Tree], TreeDef, list[Any]]:
    """The subtrees of ``tree`` at the leaves of ``prefix``, the structure that joins them, and those leaves."""
    leaves, treedef = flatten(_marked(prefix))
    return treedef.flatten_up_to(tree), treedef, [None if x is _NONE else x for x in leaves]


def _marked(prefix: Tree) -> Tree:
    return tree_map(lambda x: _NONE if x is None else x, prefix, is_leaf=lambda x: x is None)


def path_text(tree: Tree, index: int) -> str:
    """The path to leaf number ``index``, as Python text: ``['w'][0]``."""
    paths, _, _ = optree.tree_flatten_with_path(tree, namespace=NAMESPACE)
    return "".join(f"[{k!r}]" for k in paths[index])


def structure_text(treedef: TreeDef) -> str:
    """A structure for messages, ``*`` for each leaf: ``({'w': *}, *)``."""
    return str(treedef).removeprefix("PyTreeSpec(").removesuffix(")").replace(f", namespace={NAMESPACE!r}", "")
