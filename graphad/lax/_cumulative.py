"""Running combinations along an axis."""

from __future__ import annotations

from collections.abc import Callable

from graphad.ir.primitive import Primitive
from graphad.numpy._typing import ArrayLike
from graphad.primitives import cumulative, reduce
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axis, with_weak


def _cumulative(primitive: Primitive, name: str) -> Callable[..., Array]:
    def function(operand: ArrayLike, axis: int = 0, reverse: bool = False) -> Array:
        x = as_operand(operand, f"lax.{name}")
        k = canonical_axis(axis, x.ndim, f"lax.{name}")
        return with_weak(primitive(x, axis=k, reverse=reverse), x.weak_type)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = primitive.doc
    return function


cumsum = _cumulative(reduce.cumsum, "cumsum")
cumprod = _cumulative(cumulative.cumprod, "cumprod")
cummax = _cumulative(cumulative.cummax, "cummax")
cummin = _cumulative(cumulative.cummin, "cummin")
cumlogsumexp = _cumulative(cumulative.cumlogsumexp, "cumlogsumexp")
