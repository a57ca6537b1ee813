"""Sums, products, logic and counts over axes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from graphad.ir.primitive import Primitive
from graphad.ir.types import dtype_of
from graphad.numpy._elementwise.logic import truth
from graphad.numpy._elementwise.logic import where as choose
from graphad.numpy._precision import wide
from graphad.numpy._shape.reshaping import expand_dims
from graphad.numpy._typing import ArrayLike, Axis, DTypeLike
from graphad.primitives import reduce as reducers
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axes, canonical_dtype, cast, default_int, dtype_and_weakness


def sum(  # noqa: A001  (NumPy's name)
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The sum over all axes, or those named; booleans and small integers are summed in the default integer type.

    >>> import graphad.numpy as gnp
    >>> gnp.sum(gnp.ones((2, 3)), axis=0)
    Array([2., 2., 2.], dtype=float32)
    """
    x = masked(summable(a, dtype, "sum"), where, 0)
    return _accumulated(reducers.reduce_sum, operator.add, x, initial, axis, keepdims, "sum")


def prod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The product over all axes, or those named.

    >>> import graphad.numpy as gnp
    >>> gnp.prod(gnp.arange(1, 5))
    Array(24, dtype=int32)
    """
    x = masked(summable(a, dtype, "prod"), where, 1)
    return _accumulated(reducers.reduce_prod, operator.mul, x, initial, axis, keepdims, "prod")


def _accumulated(
    reducer: Primitive, combine: Callable[[Any, Any], Any], x: Any, initial: Any, axis: Axis, keepdims: bool, name: str
) -> Array:
    """A sum or product that begins with ``initial``, rounded once at the end."""
    if initial is None:
        return reduced(reducer, x, axis, keepdims, name)
    wanted, _ = dtype_and_weakness(x)
    working = wide(wanted)
    total = reduced(reducer, cast(x, working), axis, keepdims, name)
    return cast(combine(total, cast(initial, working, name=name)), wanted)


def any(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False, where: ArrayLike | None = None) -> Array:  # noqa: A001
    """Whether any element is true, that is not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.any(gnp.arange(3) > 1)
    Array(True, dtype=bool)
    """
    return reduced(reducers.reduce_or, masked(truth(a, "any"), where, False), axis, keepdims, "any")


def all(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False, where: ArrayLike | None = None) -> Array:  # noqa: A001
    """Whether all elements are true, that is not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.all(gnp.arange(3) > 1)
    Array(False, dtype=bool)
    """
    return reduced(reducers.reduce_and, masked(truth(a, "all"), where, True), axis, keepdims, "all")


def count_nonzero(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """How many elements are not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.count_nonzero(gnp.arange(3))
    Array(2, dtype=int32)
    """
    return sum(truth(a, "count_nonzero"), axis, keepdims=keepdims)


# ---------------------------------------------------------------------------------------------------------------------
# What reductions are made of


def reduced(primitive: Primitive, x: Any, axis: Axis, keepdims: bool, name: str) -> Any:
    axes = canonical_axes(axis, x.ndim, name)
    result = primitive(x, axes=axes)
    return expand_dims(result, sorted(axes)) if keepdims and axes else result


def masked(x: Any, where: ArrayLike | None, neutral: Any) -> Any:
    """``x`` with what does not count replaced by the value that changes nothing."""
    if where is None:
        return x
    return choose(where, x, dtype_and_weakness(x)[0].numpy.type(neutral))


def summable(x: ArrayLike, dtype: DTypeLike | None, name: str) -> Any:
    """``x`` in the dtype its sum has."""
    x = as_operand(x, name)
    if dtype is not None:
        return cast(x, canonical_dtype(dtype))
    have, _ = dtype_and_weakness(x)
    if have.is_float or have.bits >= default_int().bits:
        return x
    return cast(x, dtype_of(f"u{default_int().bits}") if have.kind == "u" else default_int())
