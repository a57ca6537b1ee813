"""Shapes, contractions and reductions, with every axis spelled out."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.ir.primitive import Primitive
from graphad.lax._elementwise import check_alike
from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.primitives import barrier, contract, reduce
from graphad.primitives import shape as shapes
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.exact import Exact
from graphad.trace.pytree import Tree, flatten, unflatten
from graphad.trace.scalars import is_scalar, number
from graphad.trace.semantics import (
    as_operand,
    beside,
    broadcast_to,
    canonical_axes,
    canonical_axis,
    canonical_dtype,
    canonical_shape,
    cast,
    default_int,
    dtype_and_weakness,
    shape_text,
    with_weak,
)

# ---------------------------------------------------------------------------------------------------------------------
# Shapes


@of_keys("x")
def broadcast(x: ArrayLike, sizes: Sequence[int]) -> Array:
    """x repeated along new leading axes.

    >>> broadcast(1.0, (2,))
    Array([1., 1.], dtype=float32, weak_type=True)
    """
    x = as_operand(x, "lax.broadcast")
    return broadcast_to(x, (*canonical_shape(sizes, "lax.broadcast"), *x.shape))


@of_keys("x")
def broadcast_in_dim(x: ArrayLike, shape: Sequence[int], broadcast_dimensions: Sequence[int]) -> Array:
    """x repeated to ``shape``; its axis ``k`` becomes the axis ``broadcast_dimensions[k]``.

    >>> import graphad.numpy as gnp
    >>> broadcast_in_dim(gnp.arange(2), (2, 2), (0,))
    Array([[0, 0],
           [1, 1]], dtype=int32)
    """
    x, sizes = as_operand(x, "lax.broadcast_in_dim"), canonical_shape(shape, "lax.broadcast_in_dim")
    dims = canonical_axes(tuple(broadcast_dimensions), len(sizes), "lax.broadcast_in_dim")
    fits = (
        len(dims) == x.ndim and dims == tuple(sorted(dims)) and all([n in (1, sizes[d]) for n, d in zip(x.shape, dims)])
    )
    if not fits:
        raise ValueError(
            f"{source.where()}lax.broadcast_in_dim got {shape_text(x)}, shape {sizes} and broadcast_dimensions {dims}: "
            "it takes an increasing dimension for each axis, of the axis' size (or the axis has size 1)."
        )
    aligned = [1] * len(sizes)
    for n, d in zip(x.shape, dims, strict=True):
        aligned[d] = n
    return broadcast_to(gnp.reshape(x, aligned), sizes)


def reshape(x: ArrayLike, new_sizes: Sequence[int]) -> Array:
    """The elements in row-major order under another shape.

    >>> import graphad.numpy as gnp
    >>> reshape(gnp.arange(4), (2, 2)).shape
    (2, 2)
    """
    return gnp.reshape(x, new_sizes)


def transpose(x: ArrayLike, permutation: Sequence[int]) -> Array:
    """The axes in another order.

    >>> import graphad.numpy as gnp
    >>> transpose(gnp.ones((2, 3)), (1, 0)).shape
    (3, 2)
    """
    return gnp.transpose(x, permutation)


def rev(x: ArrayLike, dimensions: Sequence[int]) -> Array:
    """The elements in reverse order along axes.

    >>> import graphad.numpy as gnp
    >>> rev(gnp.arange(3), (0,))
    Array([2, 1, 0], dtype=int32)
    """
    return gnp.flip(x, tuple(dimensions))


@of_keys("operands")
def concatenate(operands: Sequence[ArrayLike], dimension: int) -> Array:
    """Arrays one after the other along an axis.

    >>> import graphad.numpy as gnp
    >>> concatenate([gnp.zeros(1), gnp.ones(2)], 0)
    Array([0., 1., 1.], dtype=float32)
    """
    check_alike("concatenate", operands)
    return gnp.concatenate(list(operands), dimension)


@of_keys("x")
def slice(  # noqa: A001
    x: ArrayLike, start_indices: Sequence[int], limit_indices: Sequence[int], strides: Sequence[int] | None = None
) -> Array:
    """The elements from start to limit (excluded), every so many, for each axis.

    >>> import graphad.numpy as gnp
    >>> slice(gnp.arange(5), (1,), (4,), (2,))
    Array([1, 3], dtype=int32)
    """
    x = as_operand(x, "lax.slice")
    steps = (1,) * x.ndim if strides is None else tuple(strides)
    return with_weak(shapes.slice_(x, start=tuple(start_indices), stop=tuple(limit_indices), step=steps), x.weak_type)


@of_keys("x")
def slice_in_dim(
    x: ArrayLike, start_index: int | None, limit_index: int | None, stride: int = 1, axis: int = 0
) -> Array:
    """The elements from start to limit (excluded) along one axis.

    >>> import graphad.numpy as gnp
    >>> slice_in_dim(gnp.arange(5), 1, 3)
    Array([1, 2], dtype=int32)
    """
    x = as_operand(x, "lax.slice_in_dim")
    index: list[Any] = [np.s_[:]] * x.ndim
    index[canonical_axis(axis, x.ndim, "lax.slice_in_dim")] = np.s_[start_index:limit_index:stride]
    return x[tuple(index)]


def pad(x: ArrayLike, padding_value: ArrayLike, padding_config: Sequence[tuple[int, int, int]]) -> Array:
    """x with a value around and between its elements: ``(low, high, interior)`` for each axis.

    >>> import graphad.numpy as gnp
    >>> pad(gnp.ones(2), 0.0, [(1, 0, 1)])
    Array([0., 1., 0., 1.], dtype=float32)
    """
    x = as_operand(x, "lax.pad")
    dtype, _ = dtype_and_weakness(x)
    if is_scalar(padding_value):
        fill: Any = number(padding_value, dtype, "lax.pad")
    else:
        fill = as_operand(padding_value, "lax.pad")
        fill = cast(fill, dtype) if type(fill) is Exact else fill
    low, high, interior = (tuple([operator.index(c[k]) for c in padding_config]) for k in range(3))
    return with_weak(shapes.pad(x, fill, low=low, high=high, interior=interior), x.weak_type)


def iota(dtype: DTypeLike, size: int) -> Array:
    """0, 1, 2, ... in a dtype.

    >>> iota(float, 3)
    Array([0., 1., 2.], dtype=float32)
    """
    return gnp.arange(size, dtype=dtype)


def broadcasted_iota(dtype: DTypeLike, shape: Sequence[int], dimension: int) -> Array:
    """An array that counts along one axis.

    >>> broadcasted_iota(int, (2, 2), 1)
    Array([[0, 1],
           [0, 1]], dtype=int32)
    """
    sizes = canonical_shape(shape, "lax.broadcasted_iota")
    k = canonical_axis(dimension, len(sizes), "lax.broadcasted_iota")
    return broadcast_in_dim(iota(dtype, sizes[k]), sizes, (k,))


def full(shape: Sequence[int], fill_value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """An array with one value everywhere.

    >>> full((2,), 7.0)
    Array([7., 7.], dtype=float32, weak_type=True)
    """
    return gnp.full(shape, fill_value, dtype)


def full_like(x: ArrayLike, fill_value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """An array like x with one value everywhere.

    >>> import graphad.numpy as gnp
    >>> full_like(gnp.ones(2), 7)
    Array([7., 7.], dtype=float32)
    """
    return gnp.full_like(x, fill_value, dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Contractions and reductions


def dot(x: ArrayLike, y: ArrayLike) -> Array:
    """The product of vectors and matrices.

    >>> import graphad.numpy as gnp
    >>> dot(gnp.ones(3), gnp.ones(3))
    Array(3., dtype=float32)
    """
    return gnp.dot(x, y)


Dimensions = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


def dot_general(x: ArrayLike, y: ArrayLike, dimension_numbers: Dimensions) -> Array:
    """Products summed over axes: ``dimension_numbers = ((contract x, contract y), (batch x, batch y))``.

    >>> import graphad.numpy as gnp
    >>> dot_general(gnp.ones((2, 3)), gnp.ones((3, 4)), (((1,), (0,)), ((), ()))).shape
    (2, 4)
    """
    x, y = beside("lax.dot_general", x, y)
    summed, batch = (tuple([tuple(axes) for axes in pair]) for pair in dimension_numbers)
    weak = x.weak_type and y.weak_type
    return with_weak(contract.dot_general(x, y, contract=summed, batch=batch), weak)


def _reducer(primitive: Primitive, name: str, call: str, result: str) -> Callable[..., Array]:
    """The function ``lax.<name>``; ``call`` and what it gives are the example in its docstring."""

    def function(operand: ArrayLike, axes: Sequence[int]) -> Array:
        x = as_operand(operand, f"lax.{name}")
        return with_weak(primitive(x, axes=canonical_axes(tuple(axes), x.ndim, f"lax.{name}")), False)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{primitive.doc}\n\n    >>> import graphad.numpy as gnp\n    >>> {call}\n    {result}\n    "
    return function


reduce_and = _reducer(
    reduce.reduce_and, "reduce_and", "reduce_and(gnp.array([True, False]), [0])", "Array(False, dtype=bool)"
)
reduce_max = _reducer(
    reduce.reduce_max, "reduce_max", "reduce_max(gnp.array([[1, 5], [3, 2]]), [0])", "Array([3, 5], dtype=int32)"
)
reduce_min = _reducer(
    reduce.reduce_min, "reduce_min", "reduce_min(gnp.array([[1, 5], [3, 2]]), [0])", "Array([1, 2], dtype=int32)"
)
reduce_or = _reducer(
    reduce.reduce_or, "reduce_or", "reduce_or(gnp.array([True, False]), [0])", "Array(True, dtype=bool)"
)
reduce_prod = _reducer(
    reduce.reduce_prod, "reduce_prod", "reduce_prod(gnp.array([[1, 5], [3, 2]]), [0])", "Array([ 3, 10], dtype=int32)"
)
reduce_sum = _reducer(
    reduce.reduce_sum, "reduce_sum", "reduce_sum(gnp.array([[1, 5], [3, 2]]), [0, 1])", "Array(11, dtype=int32)"
)


def optimization_barrier(operand: Tree) -> Tree:
    """The operand, all of it computed before anything that uses the result.

    The compiler merges, moves and rewrites nothing past it. Compiled for the CPU, the arrays are in memory there, and
    no loop is fused with one behind it; for a GPU, kernels may be fused. Derivatives pass through barriers of their
    own.

    Parameters
    ----------
    operand
        An array, a number, or containers of these.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> optimization_barrier({"x": gnp.arange(3)})
    {'x': Array([0, 1, 2], dtype=int32)}
    """
    leaves, treedef = flatten(operand)
    xs = [as_operand(x, "lax.optimization_barrier") for x in leaves]
    results = barrier.optimization_barrier(*xs) if xs else []
    return unflatten(treedef, [with_weak(y, x.weak_type) for y, x in zip(results, xs, strict=True)])


def argmax(operand: ArrayLike, axis: int, index_dtype: DTypeLike | None = None) -> Array:
    """The index of the greatest element along an axis.

    >>> import graphad.numpy as gnp
    >>> argmax(gnp.array([1.0, 3.0]), 0)
    Array(1, dtype=int32)
    """
    return cast(gnp.argmax(operand, axis), default_int() if index_dtype is None else canonical_dtype(index_dtype))


def argmin(operand: ArrayLike, axis: int, index_dtype: DTypeLike | None = None) -> Array:
    """The index of the least element along an axis.

    >>> import graphad.numpy as gnp
    >>> argmin(gnp.array([1.0, 3.0]), 0)
    Array(0, dtype=int32)
    """
    return cast(gnp.argmin(operand, axis), default_int() if index_dtype is None else canonical_dtype(index_dtype))
