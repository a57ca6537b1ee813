"""Running combinations along an axis."""

from __future__ import annotations

from collections.abc import Callable

from graphad.ir.primitive import Primitive
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives import cumulative, reduce
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axis, with_weak


def _cumulative(primitive: Primitive, name: str, call: str, result: str) -> Callable[..., Array]:
    """The function ``lax.<name>``; ``call`` and what it gives are the example in its docstring."""

    def function(operand: ArrayLike, axis: int = 0, reverse: bool = False) -> Array:
        x = as_operand(operand, f"lax.{name}")
        k = canonical_axis(axis, x.ndim, f"lax.{name}")
        return with_weak(primitive(x, axis=k, reverse=reverse), x.weak_type)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{primitive.doc}\n\n    >>> import graphad.numpy as gnp\n    >>> {call}\n    {result}\n    "
    return in_float32(function)


cumsum = _cumulative(reduce.cumsum, "cumsum", "cumsum(gnp.array([1, 5, 3]))", "Array([1, 6, 9], dtype=int32)")
cumprod = _cumulative(
    cumulative.cumprod, "cumprod", "cumprod(gnp.array([1, 5, 3]))", "Array([ 1,  5, 15], dtype=int32)"
)
cummax = _cumulative(cumulative.cummax, "cummax", "cummax(gnp.array([1, 5, 3]))", "Array([1, 5, 5], dtype=int32)")
cummin = _cumulative(
    cumulative.cummin, "cummin", "cummin(gnp.array([4, 5, 3]), reverse=True)", "Array([3, 3, 3], dtype=int32)"
)
cumlogsumexp = _cumulative(
    cumulative.cumlogsumexp,
    "cumlogsumexp",
    "cumlogsumexp(gnp.zeros(2))",
    "Array([0.       , 0.6931472], dtype=float32)",
)
