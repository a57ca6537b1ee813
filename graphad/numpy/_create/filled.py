"""Arrays filled with one value."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.types import literal
from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.trace.array import Array
from graphad.trace.keys import KEY_TYPE, KeyArray
from graphad.trace.semantics import (
    as_operand,
    broadcast_to,
    canonical_dtype,
    canonical_shape,
    cast,
    default_float,
    dtype_and_weakness,
)


@of_keys("fill_value")
def full(shape: Shape, fill_value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """An array with ``fill_value`` everywhere.

    >>> import graphad.numpy as gnp
    >>> gnp.full(2, 7.0, dtype="float32")
    Array([7., 7.], dtype=float32)
    """
    value = as_operand(fill_value, "full") if dtype is None else cast(fill_value, canonical_dtype(dtype), name="full")
    return broadcast_to(value, canonical_shape(shape, "full"))


def zeros(shape: Shape, dtype: DTypeLike | None = None) -> Array:
    """An array of zeros, float32 by default.

    >>> import graphad.numpy as gnp
    >>> gnp.zeros((2, 2))
    Array([[0., 0.],
           [0., 0.]], dtype=float32)
    """
    return _filled(shape, 0, dtype, "zeros")


def ones(shape: Shape, dtype: DTypeLike | None = None) -> Array:
    """An array of ones, float32 by default.

    >>> import graphad.numpy as gnp
    >>> gnp.ones(3, dtype=int)
    Array([1, 1, 1], dtype=int32)
    """
    return _filled(shape, 1, dtype, "ones")


def empty(shape: Shape, dtype: DTypeLike | None = None) -> Array:
    """The same as `zeros`: arrays do not change, so there is nothing to leave out.

    >>> import graphad.numpy as gnp
    >>> gnp.empty(2)
    Array([0., 0.], dtype=float32)
    """
    return _filled(shape, 0, dtype, "empty")


def _filled(shape: Shape, value: int, dtype: DTypeLike | None, name: str) -> Any:
    """One number seen through zero strides: a trace takes it as a literal."""
    if dtype is KEY_TYPE:
        return KeyArray(_filled((*canonical_shape(shape, name), 2), value, "uint32", name))
    element = literal(value, default_float() if dtype is None else canonical_dtype(dtype)).value
    return Array(np.broadcast_to(np.asarray(element), canonical_shape(shape, name)))


@of_keys("x", "fill_value")
def full_like(x: ArrayLike, fill_value: ArrayLike, dtype: DTypeLike | None = None, shape: Shape | None = None) -> Array:
    """An array like ``x`` in shape and dtype, with ``fill_value`` everywhere.

    >>> import graphad.numpy as gnp
    >>> gnp.full_like(gnp.zeros(2), 7)
    Array([7., 7.], dtype=float32)
    """
    x = as_operand(x, "full_like")
    like, weak = dtype_and_weakness(x)
    wanted = like if dtype is None else canonical_dtype(dtype)
    value = cast(fill_value, wanted, weak and dtype is None, "full_like")
    return broadcast_to(value, x.shape if shape is None else canonical_shape(shape, "full_like"))


@of_keys("x")
def zeros_like(x: ArrayLike, dtype: DTypeLike | None = None, shape: Shape | None = None) -> Array:
    """Zeros in the shape and dtype of ``x``.

    >>> import graphad.numpy as gnp
    >>> gnp.zeros_like(gnp.arange(3))
    Array([0, 0, 0], dtype=int32)
    """
    return full_like(x, 0, dtype, shape)


@of_keys("x")
def ones_like(x: ArrayLike, dtype: DTypeLike | None = None, shape: Shape | None = None) -> Array:
    """Ones in the shape and dtype of ``x``.

    >>> import graphad.numpy as gnp
    >>> gnp.ones_like(gnp.arange(3))
    Array([1, 1, 1], dtype=int32)
    """
    return full_like(x, 1, dtype, shape)


@of_keys("x")
def empty_like(x: ArrayLike, dtype: DTypeLike | None = None, shape: Shape | None = None) -> Array:
    """The same as `zeros_like`.

    >>> import graphad.numpy as gnp
    >>> gnp.empty_like(gnp.arange(3))
    Array([0, 0, 0], dtype=int32)
    """
    return full_like(x, 0, dtype, shape)
