"""Running sums and products."""

from __future__ import annotations

from graphad.ir.primitive import Primitive
from graphad.ir.types import b1
from graphad.numpy._create.filled import full
from graphad.numpy._reduce.sums import summable
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.reshaping import ravel
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.primitives import cumulative, reduce
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axis, canonical_dtype, cast, default_int, dtype_and_weakness


def cumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """The sums of all elements up to each one; of the flattened array if no axis is named.

    >>> import graphad.numpy as gnp
    >>> gnp.cumsum(gnp.arange(4))
    Array([0, 1, 3, 6], dtype=int32)
    """
    return running(reduce.cumsum, "cumsum", a, axis, dtype)


def cumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """The products of all elements up to each one; of the flattened array if no axis is named.

    >>> import graphad.numpy as gnp
    >>> gnp.cumprod(gnp.arange(1, 5))
    Array([ 1,  2,  6, 24], dtype=int32)
    """
    return running(cumulative.cumprod, "cumprod", a, axis, dtype)


def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """`cumsum` as the array API standard has it: in the dtype of `sum`; ``include_initial`` puts a 0 before.

    >>> import graphad.numpy as gnp
    >>> gnp.cumulative_sum(gnp.arange(3), include_initial=True)
    Array([0, 0, 1, 3], dtype=int32)
    """
    return _with_initial(reduce.cumsum, "cumulative_sum", x, axis, dtype, 0 if include_initial else None)


def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """`cumprod` as the array API standard has it: in the dtype of `prod`; ``include_initial`` puts a 1 before.

    >>> import graphad.numpy as gnp
    >>> gnp.cumulative_prod(gnp.arange(1, 4), include_initial=True)
    Array([1, 1, 2, 6], dtype=int32)
    """
    return _with_initial(cumulative.cumprod, "cumulative_prod", x, axis, dtype, 1 if include_initial else None)


def running(primitive: Primitive, name: str, a: ArrayLike, axis: int | None, dtype: DTypeLike | None) -> Array:
    x = as_operand(a, name)
    if axis is None:
        x, axis = ravel(x), 0
    if dtype is not None:
        x = cast(x, canonical_dtype(dtype))
    elif dtype_and_weakness(x)[0] is b1:
        x = cast(x, default_int())
    return primitive(x, axis=canonical_axis(axis, x.ndim, name), reverse=False)


def _with_initial(
    primitive: Primitive, name: str, a: ArrayLike, axis: int | None, dtype: DTypeLike | None, initial: int | None
) -> Array:
    x = summable(a, dtype, name)
    if axis is None and x.ndim != 1:
        raise ValueError(f"{source.where()}{name} of an array of {x.ndim} axes needs axis=.")
    k = canonical_axis(0 if axis is None else axis, x.ndim, name)
    result = running(primitive, name, x, k, dtype)
    if initial is None:
        return result
    shape = (*x.shape[:k], 1, *x.shape[k + 1 :])
    return concatenate([full(shape, initial, result.dtype), result], k)
