"""Sorting along an axis."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.lax._elementwise import bitcast_convert_type
from graphad.numpy._sort.sorting import along, order_by, order_of
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axis, shape_text, with_weak


def sort(
    operand: ArrayLike | Sequence[ArrayLike], dimension: int = -1, is_stable: bool = True, num_keys: int = 1
) -> Any:
    """An array sorted along an axis; or several arrays, all in the order of the first ``num_keys`` of them.

    >>> import graphad.numpy as gnp
    >>> sort((gnp.array([2, 1]), gnp.array([10.0, 20.0])))
    (Array([1, 2], dtype=int32), Array([20., 10.], dtype=float32))
    """
    del is_stable  # it always is
    several = isinstance(operand, (tuple, list))
    arrays: list[Any] = [as_operand(x, "lax.sort") for x in operand] if several else [as_operand(operand, "lax.sort")]
    if not 1 <= num_keys <= len(arrays):
        raise ValueError(f"{source.where()}lax.sort got num_keys={num_keys} for {len(arrays)} operands.")
    for x in arrays:
        if x.shape != arrays[0].shape:
            raise TypeError(
                f"{source.where()}lax.sort got {shape_text(arrays[0])} and {shape_text(x)}; shapes must be equal. "
                "Broadcast one of them."
            )
    k = canonical_axis(dimension, arrays[0].ndim, "lax.sort")
    order = gnp.moveaxis(order_by(arrays[:num_keys], k), k, -1)
    results = tuple([with_weak(gnp.moveaxis(along(gnp.moveaxis(x, k, -1), order), -1, k), x.weak_type) for x in arrays])
    return results if several else results[0]


def top_k(operand: ArrayLike, k: int) -> list[Array]:
    """The ``k`` greatest elements of the last axis, from the greatest on, and their positions.

    nan comes before all, and 0.0 before -0.0; of equals the first comes first.

    >>> import graphad.numpy as gnp
    >>> top_k(gnp.array([3.0, 9.0, 5.0]), 2)
    [Array([9., 5.], dtype=float32), Array([1, 2], dtype=int32)]
    """
    x = as_operand(operand, "lax.top_k")
    count = operator.index(k)
    if not x.ndim or not 0 <= count <= x.shape[-1]:
        raise ValueError(f"{source.where()}lax.top_k got k={count} for {shape_text(x)}; the last axis has not so many.")
    order: Any = order_of(_totally_ordered(x), x.ndim - 1, descending=True)[..., :count]
    return [along(x, order), order]


def _totally_ordered(x: Any) -> Any:
    """Integers in the order of floats, -0.0 below 0.0 and nan of either sign above all; other dtypes as they are."""
    if not x.aval.is_float:
        return x
    word = np.dtype(f"i{x.dtype.itemsize}")
    bits: Any = bitcast_convert_type(gnp.where(gnp.isnan(x), float("nan"), x), word)
    return gnp.where(bits < 0, bits ^ np.iinfo(word).max, bits)
