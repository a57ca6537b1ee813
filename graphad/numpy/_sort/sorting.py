"""Sorted arrays, and the order that sorts them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.rearranging import flip
from graphad.numpy._shape.reshaping import expand_dims, ravel
from graphad.numpy._typing import ArrayLike
from graphad.primitives import indexing, sorting
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axis, cast, default_int, with_weak


def sort(
    a: ArrayLike, axis: int | None = -1, kind: str | None = None, *, stable: bool = True, descending: bool = False
) -> Array:
    """The elements from the least to the greatest along an axis (None: of the flattened array), nan last.

    Every sort is stable, whatever ``kind`` asks for.

    >>> import graphad.numpy as gnp
    >>> gnp.sort(gnp.array([3, 1, 2]))
    Array([1, 2, 3], dtype=int32)
    """
    del stable  # it always is
    _check_kind(kind, "sort")
    x, k = _operand(a, axis, "sort")
    rows = moveaxis(x, k, -1)
    ordered = moveaxis(along(rows, sorting.argsort(rows, axis=rows.ndim - 1)), -1, k)
    return with_weak(flip(ordered, k) if descending else ordered, x.weak_type)


def argsort(
    a: ArrayLike, axis: int | None = -1, kind: str | None = None, *, stable: bool = True, descending: bool = False
) -> Array:
    """The positions of the elements from the least to the greatest; equal ones keep their order, also if descending.

    Every sort is stable, whatever ``kind`` asks for.

    >>> import graphad.numpy as gnp
    >>> gnp.argsort(gnp.array([3, 1, 2]))
    Array([1, 2, 0], dtype=int32)
    """
    del stable
    _check_kind(kind, "argsort")
    x, k = _operand(a, axis, "argsort")
    return cast(order_of(x, k, descending), default_int())


def _check_kind(kind: str | None, name: str) -> None:
    if kind not in (None, "stable", "quicksort", "mergesort", "heapsort"):
        raise ValueError(
            f"{source.where()}{name} got kind={kind!r}; it takes NumPy's 'quicksort', 'mergesort', 'heapsort' and "
            "'stable', and is always stable."
        )


def lexsort(keys: ArrayLike | Sequence[ArrayLike], axis: int = -1) -> Array:
    """The positions that sort by the last of ``keys``, among its equals by the one before, and so on.

    >>> import graphad.numpy as gnp
    >>> gnp.lexsort((gnp.array([2, 1, 0]), gnp.array([1, 0, 1])))
    Array([1, 2, 0], dtype=int32)
    """
    listed = [as_operand(key, "lexsort") for key in (keys if isinstance(keys, (tuple, list)) else as_operand(keys))]
    if not listed:
        raise TypeError(f"{source.where()}lexsort got no keys; give at least one array.")
    k = canonical_axis(axis, listed[0].ndim, "lexsort")
    return cast(order_by(listed[::-1], k), default_int())


#: A position in the sorted array, or several.
Kth = int | Sequence[int]


def partition(a: ArrayLike, kth: Kth, axis: int | None = -1) -> Array:
    """The elements with none greater before position ``kth`` and none smaller behind it; here, sorted.

    >>> import graphad.numpy as gnp
    >>> gnp.partition(gnp.array([3, 1, 2]), 1)
    Array([1, 2, 3], dtype=int32)
    """
    _check_place("partition", a, kth, axis)
    return sort(a, axis)


def argpartition(a: ArrayLike, kth: Kth, axis: int | None = -1) -> Array:
    """The positions that `partition` takes the elements from.

    >>> import graphad.numpy as gnp
    >>> gnp.argpartition(gnp.array([3, 1, 2]), 1)
    Array([1, 2, 0], dtype=int32)
    """
    _check_place("argpartition", a, kth, axis)
    return argsort(a, axis)


def _check_place(name: str, a: ArrayLike, kth: Kth, axis: int | None) -> None:
    x = as_operand(a, name)
    size = x.size if axis is None else x.shape[canonical_axis(axis, x.ndim, name)]
    for k in kth if isinstance(kth, Sequence) else (kth,):
        if not -size <= operator.index(k) < size:
            raise ValueError(f"{source.where()}{name} got kth={k} for {size} elements: there is no such position.")


# ---------------------------------------------------------------------------------------------------------------------
# What these, and those of `graphad.lax`, are made of


def _operand(a: ArrayLike, axis: int | None, name: str) -> tuple[Any, int]:
    x = as_operand(a, name)
    if axis is None:
        return ravel(x), 0
    return x, canonical_axis(axis, x.ndim, name)


def along(rows: Any, order: Any) -> Any:
    """The elements of the last axis in the order given for each row."""
    last = rows.ndim - 1
    return indexing.gather(rows, expand_dims(order, -1), axes=(last,), batch=last, mode="clip")


def order_of(x: Any, axis: int, descending: bool = False) -> Any:
    """The positions from the least to the greatest, or from the greatest (nan before all) to the least."""
    if not descending:
        return sorting.argsort(x, axis=axis)
    backwards: Any = sorting.argsort(flip(x, axis), axis=axis)
    return (x.shape[axis] - 1) - flip(backwards, axis)


def order_by(keys: Sequence[Any], axis: int) -> Any:
    """The positions that sort by the first of ``keys``, then by the second, and so on: by the last one first."""
    *others, last = [moveaxis(key, axis, -1) for key in keys]
    order: Any = sorting.argsort(last, axis=last.ndim - 1)
    for key in reversed(others):
        order = along(order, sorting.argsort(along(key, order), axis=key.ndim - 1))
    return moveaxis(order, -1, axis)
