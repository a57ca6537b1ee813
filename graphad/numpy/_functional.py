"""Python functions applied along axes, over axes, over everything, and piece by piece."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from graphad.api.transformed import Transformed
from graphad.api.vmap import vmap
from graphad.numpy._create.filled import zeros_like
from graphad.numpy._elementwise.logic import where
from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.reshaping import expand_dims, reshape
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, broadcast_shapes, canonical_axis, cast, dtype_and_weakness

Function = Callable[..., Any]


def apply_along_axis(func1d: Function, axis: int, arr: ArrayLike, *args: Any, **kwargs: Any) -> Array:
    """``func1d`` of each vector along an axis, all at once; its results take the place of the vectors.

    >>> import graphad.numpy as gnp
    >>> gnp.apply_along_axis(gnp.sum, 1, gnp.ones((2, 3)))
    Array([3., 3.], dtype=float32)
    """
    x = as_operand(arr, "apply_along_axis")
    k = canonical_axis(axis, x.ndim, "apply_along_axis")
    batch_shape = (*x.shape[:k], *x.shape[k + 1 :])
    vectors = reshape(moveaxis(x, k, -1), (-1 if x.size else int(np.prod(batch_shape)), x.shape[k]))
    found = vmap(lambda v: func1d(v, *args, **kwargs))(vectors)
    result = reshape(found, batch_shape + found.shape[1:])
    new = result.ndim - len(batch_shape)
    return moveaxis(result, list(range(len(batch_shape), result.ndim)), list(range(k, k + new)))


def apply_over_axes(func: Function, a: ArrayLike, axes: int | Sequence[int]) -> Array:
    """``func(x, axis)`` for one axis after the other, axes that it takes away put in again with size 1.

    >>> import graphad.numpy as gnp
    >>> gnp.apply_over_axes(gnp.sum, gnp.ones((2, 3)), (0, 1))
    Array([[6.]], dtype=float32)
    """
    x = as_operand(a, "apply_over_axes")
    ndim = x.ndim
    for axis in axes if isinstance(axes, Sequence) else (axes,):
        k = canonical_axis(axis, ndim, "apply_over_axes")
        x = as_operand(func(x, k), "apply_over_axes")
        if x.ndim == ndim - 1:
            x = expand_dims(x, k)
        if x.ndim != ndim:
            raise ValueError(f"{source.where()}apply_over_axes: the function must keep the axes or take away one.")
    return x


def piecewise(
    x: ArrayLike, condlist: ArrayLike | Sequence[ArrayLike], funclist: Sequence[Any], *args: Any, **kw: Any
) -> Array:
    """``funclist[k]``, a function or a number, where ``condlist[k]`` holds; the last of several; else 0 or one more.

    Every function is applied to all of ``x``.

    >>> import graphad.numpy as gnp
    >>> x = gnp.array([-1.0, 2.0])
    >>> gnp.piecewise(x, [x < 0, x >= 0], [lambda v: -v, 7])
    Array([1., 7.], dtype=float32)
    """
    at = as_operand(x, "piecewise")
    masks = list(condlist) if isinstance(condlist, (list, tuple)) else [condlist]
    if isinstance(condlist, Array) and condlist.ndim > at.ndim:
        masks = list(condlist)
    conditions = [as_operand(c, "piecewise") for c in masks]
    n = len(conditions)
    if len(funclist) not in (n, n + 1):
        raise ValueError(
            f"{source.where()}piecewise got {len(funclist)} functions for {n} conditions: give {n} or {n + 1}."
        )
    dtype, _ = dtype_and_weakness(at)

    def value(f: Any) -> Any:
        return cast(f(at, *args, **kw) if callable(f) else f, dtype, name="piecewise")

    result: Any = zeros_like(at) if len(funclist) == n else broadcast_to(value(funclist[n]), at.shape)
    for condition, f in zip(conditions, funclist, strict=False):
        result = where(condition, value(f), result)
    return result


# ---------------------------------------------------------------------------------------------------------------------
# vectorize

_CORE = r"\(\s*(\w+\s*(,\s*\w+\s*)*)?\)"
_SIGNATURE = re.compile(rf"^\s*({_CORE}(\s*,\s*{_CORE})*)?\s*->\s*{_CORE}(\s*,\s*{_CORE})*\s*$")
Core = list[tuple[str, ...]]


def vectorize(
    pyfunc: Function, *, excluded: Collection[int | str] = frozenset(), signature: str | None = None
) -> Function:
    """``pyfunc``, written for single elements or vectors, over arrays whose further axes broadcast.

    Parameters
    ----------
    pyfunc
        The function.
    excluded
        Positions and names of arguments that are passed as they are.
    signature
        The axes that ``pyfunc`` itself takes and gives, such as ``"(n),(n)->()"``; by default none.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> gnp.vectorize(lambda x, y: gnp.dot(x, y), signature="(n),(n)->()")(gnp.ones((2, 3)), gnp.ones(3))
    Array([3., 3.], dtype=float32)
    """
    cores = None if signature is None else _parsed(signature)

    def vectorized(*args: Any, **kwargs: Any) -> Any:
        named = {name: value for name, value in kwargs.items() if name not in excluded}
        if named:
            raise TypeError(
                f"{source.where()}vectorize takes keyword arguments only if they are excluded, got {sorted(named)}."
            )
        mapped = [k for k in range(len(args)) if k not in excluded]
        xs = [as_operand(args[k], "vectorize") for k in mapped]

        def call(*values: Any) -> Any:
            filled = list(args)
            for k, value in zip(mapped, values, strict=True):
                filled[k] = value
            return pyfunc(*filled, **kwargs)

        takes: Core = [()] * len(xs) if cores is None else cores[0]
        if len(takes) != len(xs):
            raise TypeError(f"{source.where()}vectorize({signature!r}) got {len(xs)} arguments; it takes {len(takes)}.")
        return _mapped_over_batch_axes(call, xs, takes, signature)

    return Transformed(vectorized, pyfunc, vectorize, excluded=excluded, signature=signature)


def _parsed(signature: str) -> tuple[Core, Core]:
    """The names of the axes of each argument and of each result."""
    if not _SIGNATURE.match(signature):
        raise ValueError(f"{source.where()}vectorize got signature={signature!r}; write it as '(n,m),(m)->(n)'.")
    sides = [re.findall(r"\(([^)]*)\)", side) for side in signature.split("->")]
    takes, gives = [[tuple(re.findall(r"\w+", core)) for core in side] for side in sides]
    return takes, gives


def _mapped_over_batch_axes(call: Function, xs: list[Any], takes: Core, signature: str | None) -> Any:
    sizes: dict[str, int] = {}
    for x, core in zip(xs, takes, strict=True):
        own = x.shape[x.ndim - len(core) :] if len(core) <= x.ndim else ()
        if len(own) != len(core) or any([sizes.setdefault(c, n) != n for c, n in zip(core, own, strict=True)]):
            raise ValueError(
                f"{source.where()}vectorize({signature!r}) got shapes {[v.shape for v in xs]}: "
                "the signature does not describe them."
            )
    leads = [x.shape[: x.ndim - len(core)] for x, core in zip(xs, takes, strict=True)]
    batch_shape = broadcast_shapes(leads, "vectorize") if leads else ()
    mapped = call
    aligned = list(xs)
    for size_at in range(len(batch_shape)):  # the last batch axis innermost
        axis = len(batch_shape) - 1 - size_at
        has = [len(lead) > size_at and lead[len(lead) - 1 - size_at] == batch_shape[axis] for lead in leads]
        mapped = vmap(mapped, in_axes=tuple([0 if h else None for h in has]), axis_size=batch_shape[axis])
    for k, (x, lead) in enumerate(zip(xs, leads, strict=True)):
        kept = [n for j, n in enumerate(lead) if n == batch_shape[len(batch_shape) - len(lead) + j]]
        aligned[k] = reshape(x, (*kept, *x.shape[len(lead) :]))
    return mapped(*aligned)
