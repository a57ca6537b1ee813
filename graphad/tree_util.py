"""Pytrees under JAX's names: nested tuples, lists, dictionaries and registered classes, None being an empty one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import optree

from graphad.api.names import listing
from graphad.trace.keys import is_keys
from graphad.trace.pytree import NAMESPACE, Tree, TreeDef, flatten, register, structure_text, unflatten
from graphad.trace.source import located, where

PyTreeDef = TreeDef
T = TypeVar("T")
C = TypeVar("C", bound=type)
IsLeaf = Callable[[Any], bool] | None


def _leaf(is_leaf: IsLeaf) -> Callable[[Any], bool]:
    """What is a leaf: to users keys are, as all arrays, and whatever ``is_leaf`` says."""
    return is_keys if is_leaf is None else lambda x: is_keys(x) or is_leaf(x)


def tree_flatten(tree: Tree, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeDef]:
    """The leaves in order, and the structure.

    >>> leaves, structure = tree_flatten({"a": (1, None), "b": 2})
    >>> leaves, tree_unflatten(structure, [10, 20])
    ([1, 2], {'a': (10, None), 'b': 20})
    """
    return flatten(tree, _leaf(is_leaf))


def tree_unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Tree:
    """The tree of this structure with these leaves.

    >>> tree_unflatten(tree_structure((0, [0])), [1, 2])
    (1, [2])
    """
    leaves = list(leaves)
    if len(leaves) != treedef.num_leaves:
        raise ValueError(
            f"{where()}the structure {structure_text(treedef)} has {treedef.num_leaves} leaves; "
            f"tree_unflatten got {len(leaves)}"
        )
    return unflatten(treedef, leaves)


def tree_map(f: Callable[..., Any], tree: Tree, *rest: Tree, is_leaf: IsLeaf = None) -> Tree:
    """``f(leaf, ...)`` for each leaf, and the corresponding parts of the ``rest``.

    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": (2,)}, {"a": 10, "b": (20,)})
    {'a': 11, 'b': (22,)}
    """
    leaves, treedef = flatten(tree, _leaf(is_leaf))
    return unflatten(treedef, map(f, leaves, *_matched("tree_map", treedef, rest)))


def _matched(name: str, treedef: TreeDef, rest: Sequence[Tree]) -> list[list[Any]]:
    """The parts of each of the ``rest`` at the leaves of ``treedef``."""
    try:
        return [treedef.flatten_up_to(other) for other in rest]
    except ValueError as error:
        raise ValueError(f"{where()}{name} got trees of different structures: {error}") from error


def tree_leaves(tree: Tree, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves in order.

    >>> tree_leaves({"b": 2, "a": (1, None)})
    [1, 2]
    """
    return flatten(tree, _leaf(is_leaf))[0]


def tree_structure(tree: Tree, is_leaf: IsLeaf = None) -> TreeDef:
    """The structure without the leaves.

    >>> tree_structure((1, 2)) == tree_structure(("a", "b"))
    True
    """
    return flatten(tree, _leaf(is_leaf))[1]


def tree_all(tree: Tree, is_leaf: IsLeaf = None) -> bool:
    """Whether all leaves are true.

    >>> tree_all({"a": True, "b": (False,)})
    False
    """
    return all(tree_leaves(tree, is_leaf))


def tree_reduce(function: Callable[[T, Any], T], tree: Tree, *initializer: T, is_leaf: IsLeaf = None) -> T:
    """The leaves combined two at a time, from the left.

    >>> tree_reduce(lambda total, leaf: total + leaf, {"a": 1, "b": (2, 3)})
    6
    """
    return functools.reduce(function, tree_leaves(tree, is_leaf), *initializer)


def tree_transpose(outer_treedef: TreeDef, inner_treedef: TreeDef | None, pytree_to_transpose: Tree) -> Tree:
    """A tree of trees turned inside out.

    >>> pairs = [(1, 2), (3, 4), (5, 6)]
    >>> tree_transpose(tree_structure([0, 0, 0]), tree_structure((0, 0)), pairs)
    ([1, 3, 5], [2, 4, 6])
    """
    try:
        if inner_treedef is None:
            inner_treedef = tree_structure(outer_treedef.flatten_up_to(pytree_to_transpose)[0])
        return optree.tree_transpose(outer_treedef, inner_treedef, pytree_to_transpose, is_leaf=is_keys)
    except (TypeError, ValueError) as error:
        raise located(error) from error


def tree_flatten_with_path(tree: Tree, is_leaf: IsLeaf = None) -> tuple[list[tuple[tuple[Any, ...], Any]], TreeDef]:
    """Pairs of a leaf's path (keys and indices) and the leaf, and the structure.

    >>> tree_flatten_with_path({"a": (1, 2)})[0]
    [(('a', 0), 1), (('a', 1), 2)]
    """
    paths, leaves, treedef = optree.tree_flatten_with_path(tree, _leaf(is_leaf), namespace=NAMESPACE)
    return list(zip(paths, leaves, strict=True)), treedef


def tree_leaves_with_path(tree: Tree, is_leaf: IsLeaf = None) -> list[tuple[tuple[Any, ...], Any]]:
    """Pairs of a leaf's path and the leaf.

    >>> tree_leaves_with_path([10, {"a": 20}])
    [((0,), 10), ((1, 'a'), 20)]
    """
    return tree_flatten_with_path(tree, is_leaf)[0]


def tree_map_with_path(f: Callable[..., Any], tree: Tree, *rest: Tree, is_leaf: IsLeaf = None) -> Tree:
    """``f(path, leaf, ...)`` for each leaf.

    >>> tree_map_with_path(lambda path, x: (path, x), {"a": 1})
    {'a': (('a',), 1)}
    """
    paths, leaves, treedef = optree.tree_flatten_with_path(tree, _leaf(is_leaf), namespace=NAMESPACE)
    return unflatten(treedef, map(f, paths, leaves, *_matched("tree_map_with_path", treedef, rest)))


def keystr(path: tuple[Any, ...]) -> str:
    """A path as Python text.

    >>> keystr(("a", 0))
    "['a'][0]"
    """
    return "".join([f"[{key!r}]" for key in path])


def register_pytree_node(
    nodetype: type, flatten_func: Callable[[Any], tuple[Any, Any]], unflatten_func: Callable[[Any, Any], Any]
) -> None:
    """Make a class a container: ``flatten_func(x) -> (children, data)``, ``unflatten_func(data, children) -> x``.

    >>> class Pair:
    ...     def __init__(self, a, b):
    ...         self.a, self.b = a, b
    >>> register_pytree_node(Pair, lambda p: ((p.a, p.b), None), lambda _, ab: Pair(*ab))
    >>> tree_leaves(Pair(1, (2, 3)))
    [1, 2, 3]
    """
    try:
        register(nodetype, flatten_func, unflatten_func)
    except (TypeError, ValueError) as error:
        raise located(error) from error


def register_pytree_node_class(cls: C) -> C:
    """Decorator: make a class with ``tree_flatten`` and the class method ``tree_unflatten`` a container.

    >>> @register_pytree_node_class
    ... class Scaled:
    ...     def __init__(self, x, by):
    ...         self.x, self.by = x, by
    ...     def tree_flatten(self):
    ...         return (self.x,), self.by
    ...     @classmethod
    ...     def tree_unflatten(cls, by, children):
    ...         return cls(*children, by)
    >>> tree_leaves(Scaled(1.0, by="2"))
    [1.0]
    """
    missing = [name for name in ("tree_flatten", "tree_unflatten") if not hasattr(cls, name)]
    if missing:
        raise TypeError(
            f"{where()}register_pytree_node_class got {cls.__name__} without {' and '.join(missing)}; "
            "define both, or write register_pytree_node with two functions"
        )
    register_pytree_node(cls, lambda x: x.tree_flatten(), cls.tree_unflatten)
    return cls


def register_dataclass(
    nodetype: C,
    data_fields: Sequence[str] | None = None,
    meta_fields: Sequence[str] | None = None,
    drop_fields: Sequence[str] = (),
) -> C:
    """Make a dataclass a container: its data fields are its children, its meta fields part of the structure.

    Parameters
    ----------
    nodetype
        The class; usable as a decorator of a dataclass.
    data_fields, meta_fields
        Names of fields, together all that `__init__` takes. By default, meta fields are those declared with
        ``dataclasses.field(metadata={"static": True})``, and data fields all others.
    drop_fields
        Names of fields that take their defaults when the container is built again.

    Raises
    ------
    TypeError
        For a class that is no dataclass.
    ValueError
        For names that are not the fields.

    Examples
    --------
    >>> @register_dataclass
    ... @dataclasses.dataclass
    ... class Layer:
    ...     w: float
    ...     name: str = dataclasses.field(metadata={"static": True})
    >>> tree_map(lambda x: 2 * x, Layer(1.5, "first"))
    Layer(w=3.0, name='first')
    """
    cls: Any = nodetype
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise TypeError(
            f"{where()}register_dataclass takes a dataclass, got {cls!r}; decorate it with dataclasses.dataclass"
        )
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in drop_fields}
    static = [name for name, f in fields.items() if f.metadata.get("static", False)]
    meta = tuple(static if meta_fields is None else meta_fields)
    data = tuple([name for name in fields if name not in meta] if data_fields is None else data_fields)
    if {*data, *meta} != {*fields} or {*data} & {*meta}:
        raise ValueError(
            f"{where()}register_dataclass got the data fields {list(data)} and the meta fields {list(meta)}; together "
            f"they must be the fields of {cls.__name__}, {list(fields)}, each once"
        )

    def flattened(x: Any) -> tuple[Any, Any]:
        return [getattr(x, name) for name in data], tuple([getattr(x, name) for name in meta])

    def unflattened(values: Any, children: Any) -> Any:
        return cls(**dict(zip(data, children, strict=True)), **dict(zip(meta, values, strict=True)))

    register_pytree_node(nodetype, flattened, unflattened)
    return nodetype


class Partial(functools.partial[Any]):
    """``functools.partial`` whose arguments are leaves; the function is part of the structure.

    >>> tree_leaves(Partial(max, 1, 2))
    [1, 2]
    """


register_pytree_node(
    Partial,
    lambda p: ((p.args, p.keywords), p.func),
    lambda func, children: Partial(func, *children[0], **children[1]),
)


__dir__ = listing(globals(), "PyTreeDef")
