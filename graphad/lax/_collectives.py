"""Collectives over named batch axes: what the elements of a ``vmap(f, axis_name=...)`` have together."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeVar

from graphad import numpy as gnp
from graphad.errors import AxisNameError, did_you_mean
from graphad.ir.primitive import Primitive
from graphad.ir.types import b1, i32
from graphad.numpy._keys import of_keys
from graphad.primitives import collectives
from graphad.trace.array import Array
from graphad.trace.keys import is_keys
from graphad.trace.pytree import flatten, unflatten
from graphad.trace.recording import current, lift, state
from graphad.trace.semantics import as_operand, canonical_axis, cast, shape_text, with_weak
from graphad.trace.source import user_loc, where
from graphad.trace.tracer import Tracer

T = TypeVar("T")
AxisNames = str | Sequence[str]


# ---------------------------------------------------------------------------------------------------------------------
# Axes, and operands


def _names(axis_name: Any, function: str) -> tuple[str, ...]:
    """The names, each of a batch axis in scope."""
    names = tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)
    bound = [name for name, _ in state.axes]
    for name in names:
        if type(name) is not str:
            raise TypeError(
                f"{where()}lax.{function} takes the name of a batch axis or a tuple of names, not {name!r}."
            )
        if name not in bound:
            there = did_you_mean(name, bound) if bound else "No batch axis has a name here."
            raise AxisNameError(
                f"{where()}lax.{function} is over the batch axis {name!r}, which is not bound. {there} "
                f"Name it where the function is mapped: vmap(f, axis_name={name!r})."
            )
    if len(set(names)) < len(names):
        raise ValueError(f"{where()}lax.{function} got axis_name={names}, which names an axis twice.")
    return names


def _size(name: str) -> int:
    return dict(state.axes)[name]


def _over_batch(x: Any, function: str) -> Array:
    """``x`` as a value of the running trace."""
    x = as_operand(x, f"lax.{function}")
    trace = current()
    assert trace is not None, "an axis is bound while a function is traced"
    if isinstance(x, Tracer):
        return x  # pyright: ignore[reportReturnType]
    return Tracer(trace, lift(trace, x), x.weak_type)  # pyright: ignore[reportReturnType]


def _mapped(function: Callable[[Any], Any], tree: T) -> T:
    leaves, treedef = flatten(tree, is_keys)
    return unflatten(treedef, [function(x) for x in leaves])


# ---------------------------------------------------------------------------------------------------------------------
# Reductions


def psum(x: T, axis_name: AxisNames) -> T:
    """The sum of x over named batch axes, for all elements of the batch the same.

    Parameters
    ----------
    x
        An array, a number, or a container of these. Booleans are counted. A number that is no traced value is
        multiplied by the size of the axes: ``psum(1, "i")`` is an int.
    axis_name
        The name given by ``vmap(f, axis_name=...)``, or a tuple of names of nested ones.

    Raises
    ------
    AxisNameError
        If no batch axis has the name here.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: x - psum(x, "i"), axis_name="i")(gnp.array([1.0, 2.0]))
    Array([-2., -1.], dtype=float32)
    """
    names = _names(axis_name, "psum")
    leaves, treedef = flatten(x, is_keys)
    if not any([isinstance(leaf, Tracer) for leaf in leaves]):
        size = prod([_size(n) for n in names])
        return unflatten(treedef, [size * (cast(v, i32) if _is_bool(v) else v) for v in leaves])
    return unflatten(treedef, [_reduced(collectives.psum, v, names, "psum") for v in leaves] if names else leaves)


def _is_bool(x: Any) -> bool:
    return as_operand(x, "lax.psum").dtype == bool


def _reduced(primitive: Primitive, x: Any, names: tuple[str, ...], function: str) -> Array:
    x = _over_batch(x, function)
    weak = x.weak_type
    if x.aval.dtype is b1:
        x = cast(x, i32)
    return with_weak(primitive(x, axes=names), weak)


def pmean(x: T, axis_name: AxisNames) -> T:
    """The mean of x over named batch axes; see `psum`.

    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: x - pmean(x, "i"), axis_name="i")(gnp.array([1.0, 2.0]))
    Array([-0.5,  0.5], dtype=float32)
    """
    size = axis_size(axis_name)
    return _mapped(lambda v: v / size, psum(x, axis_name))


def _extremum(primitive: Primitive, x: T, axis_name: AxisNames) -> T:
    name = primitive.name
    names = _names(axis_name, name)

    def one(v: Any) -> Array:
        v = _over_batch(v, name)
        found = _reduced(primitive, v, names, name)
        return cast(found, b1) if v.aval.dtype is b1 else found

    return _mapped(one, x) if names else x


def pmax(x: T, axis_name: AxisNames) -> T:
    """The greatest value of x over named batch axes; see `psum`.

    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: pmax(x, "i"), axis_name="i")(gnp.array([1.0, 2.0]))
    Array([2., 2.], dtype=float32)
    """
    return _extremum(collectives.pmax, x, axis_name)


def pmin(x: T, axis_name: AxisNames) -> T:
    """The least value of x over named batch axes; see `psum`.

    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: pmin(x, "i"), axis_name="i")(gnp.array([1.0, 2.0]))
    Array([1., 1.], dtype=float32)
    """
    return _extremum(collectives.pmin, x, axis_name)


# ---------------------------------------------------------------------------------------------------------------------
# Sizes and places


def axis_size(axis_name: AxisNames) -> int:
    """The size of a named batch axis; of several, the product.

    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: x / axis_size("i"), axis_name="i")(gnp.ones(2))
    Array([0.5, 0.5], dtype=float32)
    """
    return prod([_size(n) for n in _names(axis_name, "axis_size")])


def axis_index(axis_name: AxisNames) -> Array:
    """The place of each element on a named batch axis; on several, counted with the last running fastest.

    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: x + axis_index("i"), axis_name="i")(gnp.ones(3))
    Array([1., 2., 3.], dtype=float32)
    """
    trace = current()
    index: Any = None
    for name in _names(axis_name, "axis_index"):
        assert trace is not None, "an axis is bound while a function is traced"
        trace.loc = user_loc(2)
        place = Tracer(trace, trace.emit(collectives.axis_index, (), (name,))[0])
        index = place if index is None else index * _size(name) + place
    return gnp.zeros((), "int32") if index is None else index


# ---------------------------------------------------------------------------------------------------------------------
# Values of other elements


def all_gather(x: T, axis_name: AxisNames, *, axis: int = 0, tiled: bool = False) -> T:
    """The values of all elements of the batch, for each of them.

    Parameters
    ----------
    x, axis_name
        As for `psum`.
    axis
        Where the batch becomes an axis of the result.
    tiled
        Concatenate along ``axis``, which x has, instead of stacking.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: all_gather(x, "i"), axis_name="i", out_axes=None)(gnp.arange(3))
    Array([0, 1, 2], dtype=int32)
    """
    names = _names(axis_name, "all_gather")

    @of_keys("v")
    def one(v: Any) -> Array:
        v = _over_batch(v, "all_gather")
        weak, shape = v.weak_type, v.shape
        for name in reversed(names):
            v = collectives.all_gather(v, axis=name, axis_size=_size(name))
        v = gnp.reshape(v, (axis_size(names), *shape))
        k = canonical_axis(axis, len(shape) + (not tiled), "lax.all_gather")
        v = gnp.moveaxis(v, 0, k)
        return with_weak(_folded(v, k) if tiled else v, weak)

    return _mapped(one, x) if names else x


def _folded(x: Array, axis: int) -> Array:
    """Axes ``axis`` and the next as one."""
    return gnp.reshape(x, (*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))


def _split(x: Array, axis: int, names: tuple[str, ...], tiled: bool, function: str) -> Array:
    """``x`` with an axis for each name in front, made of ``axis``."""
    sizes = [_size(n) for n in names]
    n, size = x.shape[axis], prod(sizes)
    if n % size if tiled and size else n != size:
        wanted = f"divisible by {size}, the size" if tiled else f"{size}, the size"
        raise ValueError(
            f"{where()}lax.{function} got {shape_text(x)}: its axis {axis} has size {n}, and must be {wanted} of the "
            f"batch axis {' x '.join(map(repr, names))}."
        )
    rest = (n // size,) if tiled and size else ()
    x = gnp.reshape(x, (*x.shape[:axis], *sizes, *rest, *x.shape[axis + 1 :]))
    return gnp.moveaxis(x, tuple(range(axis, axis + len(sizes))), tuple(range(len(sizes))))


def psum_scatter(x: T, axis_name: AxisNames, *, scatter_dimension: int = 0, tiled: bool = False) -> T:
    """`psum` of which each element of the batch gets the part at its place.

    Parameters
    ----------
    x, axis_name
        As for `psum`.
    scatter_dimension
        The axis of x that is distributed over the batch. It has the size of the batch axis and is not in the result.
    tiled
        The axis has a multiple of that size, and stays with as many elements as there are in each part.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: psum_scatter(x, "i"), axis_name="i")(gnp.array([[1.0, 2.0], [3.0, 4.0]]))
    Array([4., 6.], dtype=float32)
    """
    names = _names(axis_name, "psum_scatter")

    def one(v: Any) -> Array:
        v = _over_batch(v, "psum_scatter")
        weak = v.weak_type
        k = canonical_axis(scatter_dimension, len(v.shape), "lax.psum_scatter")
        v = _split(cast(v, i32) if v.aval.dtype is b1 else v, k, names, tiled, "psum_scatter")
        for name in names:
            v = collectives.psum_scatter(v, axis=name, axis_size=_size(name))
        return with_weak(v, weak)

    return _mapped(one, x) if names else x


def all_to_all(x: T, axis_name: AxisNames, split_axis: int, concat_axis: int, *, tiled: bool = False) -> T:
    """The batch axis becomes an axis of x, and an axis of x the batch axis.

    Parameters
    ----------
    x, axis_name
        As for `psum`.
    split_axis
        The axis of x that is distributed over the batch; it has the size of the batch axis.
    concat_axis
        Where the batch becomes an axis of the result.
    tiled
        ``split_axis`` has a multiple of that size and stays, and the parts are concatenated along ``concat_axis``.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: all_to_all(x, "i", 0, 0), axis_name="i")(gnp.array([[1, 2], [3, 4]]))
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    names = _names(axis_name, "all_to_all")

    @of_keys("v")
    def one(v: Any) -> Array:
        v = _over_batch(v, "all_to_all")
        weak, ndim = v.weak_type, len(v.shape)
        source = canonical_axis(split_axis, ndim, "lax.all_to_all")
        target = canonical_axis(concat_axis, ndim, "lax.all_to_all")
        v = _split(v, source, names, tiled, "all_to_all")
        for k, name in enumerate(names):
            v = gnp.moveaxis(collectives.all_to_all(gnp.moveaxis(v, k, 0), axis=name, axis_size=_size(name)), 0, k)
        v = gnp.moveaxis(gnp.reshape(v, (axis_size(names), *v.shape[len(names) :])), 0, target)
        return with_weak(_folded(v, target) if tiled else v, weak)

    return _mapped(one, x) if names else x


def pswapaxes(x: T, axis_name: AxisNames, axis: int) -> T:
    """The batch axis and an axis of x exchanged: `all_to_all` from ``axis`` to ``axis``.

    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: pswapaxes(x, "i", 0), axis_name="i")(gnp.array([[1, 2], [3, 4]]))
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    return all_to_all(x, axis_name, axis, axis)


def ppermute(x: T, axis_name: AxisNames, perm: Sequence[tuple[int, int]]) -> T:
    """The value of another element of the batch.

    Parameters
    ----------
    x
        As for `psum`.
    axis_name
        The name of one batch axis.
    perm
        Pairs ``(from, to)`` of places on the axis. An element that no pair leads to gets zeros.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: ppermute(x, "i", [(0, 1), (1, 2)]), axis_name="i")(gnp.array([5, 6, 7]))
    Array([0, 5, 6], dtype=int32)
    """
    names = _names(axis_name, "ppermute")
    if len(names) != 1:
        raise ValueError(f"{where()}lax.ppermute is over one batch axis, got {names}.")
    pairs = tuple([(operator.index(s), operator.index(t)) for s, t in perm])
    _check_pairs(pairs, _size(names[0]))

    @of_keys("v")
    def one(v: Any) -> Array:
        v = _over_batch(v, "ppermute")
        return with_weak(collectives.ppermute(v, axis=names[0], perm=pairs), v.weak_type)

    return _mapped(one, x)


def _check_pairs(pairs: tuple[tuple[int, int], ...], size: int) -> None:
    for places, what in zip(zip(*pairs, strict=True), ("source", "destination"), strict=False):
        if len(set(places)) < len(places):
            raise ValueError(f"{where()}lax.ppermute got perm={pairs}, in which a {what} is twice.")
        if min(places) < 0 or max(places) >= size:
            raise ValueError(f"{where()}lax.ppermute got perm={pairs}; places must be in range({size}).")


def pshuffle(x: T, axis_name: AxisNames, perm: Sequence[int]) -> T:
    """Element ``k`` of the batch gets the value of element ``perm[k]``.

    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x: pshuffle(x, "i", [2, 0, 1]), axis_name="i")(gnp.array([5, 6, 7]))
    Array([7, 5, 6], dtype=int32)
    """
    if sorted(perm) != list(range(axis_size(axis_name))):
        raise ValueError(f"{where()}lax.pshuffle takes a permutation of range({axis_size(axis_name)}), got {perm}.")
    return ppermute(x, axis_name, [(source, k) for k, source in enumerate(perm)])
