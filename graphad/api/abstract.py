"""Looking at functions without running them: `make_graph`, `eval_shape`, `ShapeDtypeStruct`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from graphad.api.functions import Function, call_with, check_callable, name_of
from graphad.api.transformed import Transformed
from graphad.ir.graph import Graph
from graphad.ir.types import Aval, aval, dtype_of
from graphad.trace.bind import Spec, trace_function, type_of
from graphad.trace.keys import KEY_TYPE, KeyArray, is_keys
from graphad.trace.pytree import Tree, flatten, tree_map, unflatten
from graphad.trace.tracebacks import boundary

P = ParamSpec("P")


class ShapeDtypeStruct:
    """The shape and dtype of an array, in place of one.

    Parameters
    ----------
    shape
        The size of each axis.
    dtype
        An element type, or its name; also that of random keys.
    weak_type
        Whether it gives way in promotion, as a Python number does.

    Examples
    --------
    >>> ShapeDtypeStruct((3, 4), "float32")
    ShapeDtypeStruct(shape=(3, 4), dtype=float32)
    """

    __slots__ = ("dtype", "shape", "weak_type")

    def __init__(self, shape: tuple[int, ...], dtype: Any, weak_type: bool = False) -> None:
        self.shape = tuple(shape)
        self.dtype: Any = dtype if dtype is KEY_TYPE else dtype_of(dtype).numpy
        self.weak_type = weak_type

    @property
    def aval(self) -> Aval:
        return aval(self.shape, dtype_of(self.dtype))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeDtypeStruct) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[Any, ...]:
        return self.shape, self.dtype, self.weak_type

    def __repr__(self) -> str:
        weak = ", weak_type=True" if self.weak_type else ""
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype.name}{weak})"


def as_spec(x: Any) -> Any:
    """A `Spec` for a `ShapeDtypeStruct`; other leaves as they are."""
    return Spec(x.aval, x.weak_type) if isinstance(x, ShapeDtypeStruct) else x


def _with_words(tree: Tree) -> Tree:
    """``tree`` with arrays of keys in the place of their types."""

    def opened(x: Any) -> Any:
        if not isinstance(x, ShapeDtypeStruct) or x.dtype is not KEY_TYPE:
            return x
        return KeyArray(ShapeDtypeStruct((*x.shape, 2), np.uint32))

    return tree_map(opened, tree)


def _without_words(tree: Tree) -> Tree:
    """``tree`` with the types of arrays of keys in their place."""
    return tree_map(lambda x: ShapeDtypeStruct(x.shape, x.dtype) if is_keys(x) else x, tree, is_leaf=is_keys)


@boundary
def make_graph(fun: Callable[P, Any]) -> Callable[P, Graph]:
    """The IR of a function at given arguments.

    Parameters
    ----------
    fun
        A function of arrays, numbers and containers of these.

    Returns
    -------
    callable
        Takes the arguments of ``fun``, a `ShapeDtypeStruct` in the place of any array; returns the graph.

    Raises
    ------
    TracerBoolError
        By the callable: Python branches on a value of which the type alone was given.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> print(graphad.make_graph(lambda x: x * 2.0 + 1.0)(gnp.ones(2)))  # doctest: +ELLIPSIS
    graph @lambda(%0: f32[2]) -> (f32[2]) {
    ...
    """
    check_callable(fun, "make_graph")

    def graph_of(*args: P.args, **kwargs: P.kwargs) -> Graph:
        leaves, treedef = flatten(_with_words((args, kwargs)))
        specs = [as_spec(x) for x in leaves]
        return trace_function(call_with(fun), specs, treedef, name=name_of(fun), path=True).graph

    return Transformed(graph_of, fun, make_graph, "make_graph")


@boundary
def eval_shape(fun: Function, *args: Any, **kwargs: Any) -> Any:
    """Shapes and dtypes of the result of ``fun``, computed without any arithmetic.

    Parameters
    ----------
    fun
        A function of arrays, numbers and containers of these.
    *args, **kwargs
        Its arguments; of arrays only the types count, so that a `ShapeDtypeStruct` will do.

    Returns
    -------
    pytree
        The structure of the result, with a `ShapeDtypeStruct` for each leaf.

    Raises
    ------
    TracerBoolError
        Python branches on a value: which way depends on more than its type.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.eval_shape(lambda x: x @ x.T, graphad.ShapeDtypeStruct((3, 4), "float32"))
    ShapeDtypeStruct(shape=(3, 3), dtype=float32)
    """
    check_callable(fun, "eval_shape")
    leaves, treedef = flatten(_with_words((args, kwargs)))
    specs = [type_of(as_spec(x)) for x in leaves]
    traced = trace_function(call_with(fun), specs, treedef, name=name_of(fun), examples=False)
    graph = traced.graph
    shapes = [ShapeDtypeStruct(a.shape, a.dtype, w) for a, w in zip(graph.out_avals, graph.weak, strict=True)]
    return _without_words(unflatten(traced.out_tree, shapes))
