"""Covariances and correlations."""

from __future__ import annotations

from typing import Any

from graphad.ir.types import DType
from graphad.numpy._elementwise.exponential import sqrt
from graphad.numpy._elementwise.extrema import clip, maximum
from graphad.numpy._index.diagonals import diag
from graphad.numpy._precision import wide
from graphad.numpy._reduce.averages import average
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._shape.axes import transpose
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.reshaping import atleast_2d, reshape
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.numpy.linalg._products import dot
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_dtype, cast, float_for, result_type, shape_text


def cov(
    m: ArrayLike,
    y: ArrayLike | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: ArrayLike | None = None,
    aweights: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Array:
    """The covariances of variables: the rows of ``m`` and ``y``, or with ``rowvar=False`` their columns.

    >>> import graphad.numpy as gnp
    >>> gnp.cov(gnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    parts = [as_operand(x, "cov") for x in (m, y) if x is not None]
    wanted = float_for(result_type(*parts)[0]) if dtype is None else canonical_dtype(dtype)
    for x in parts:
        if x.ndim > 2:
            raise ValueError(f"{source.where()}cov got {shape_text(x)}; it takes one or two axes.")
    working = wide(wanted, *parts)
    rows = [cast(x, working) for x in parts]
    rows = [atleast_2d(x) if rowvar or x.ndim < 2 else transpose(x) for x in rows]
    x = concatenate(rows) if len(rows) > 1 else rows[0]
    weights = _weights(x.shape[1], fweights, aweights, working)
    less = (0 if bias else 1) if ddof is None else ddof
    if weights is None:
        norm: Any = x.shape[1] - less
        centered = x - average(x, 1, keepdims=True)
        weighted = centered
        norm = norm if norm > 0 else 0.0
    else:
        total = sum_(weights)
        used = sum_(weights * cast(aweights, working)) / total if aweights is not None else 1.0
        norm = maximum(total - less * used, 0.0) if less else total
        centered = x - (x * weights).sum(1, keepdims=True) / total
        weighted = centered * weights
    result = dot(weighted, transpose(centered)) / norm
    return cast(reshape(result, ()) if result.size == 1 else result, wanted)


def _weights(n: int, fweights: ArrayLike | None, aweights: ArrayLike | None, dtype: DType) -> Any:
    result: Any = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        w = cast(given, dtype, name="cov")
        if w.shape != (n,):
            raise ValueError(f"{source.where()}cov got {name} {shape_text(w)} for {n} observations: give one for each.")
        result = w if result is None else result * w
    return result


def corrcoef(x: ArrayLike, y: ArrayLike | None = None, rowvar: bool = True, dtype: DTypeLike | None = None) -> Array:
    """The correlations of variables: covariances divided by the standard deviations, within -1..1.

    >>> import graphad.numpy as gnp
    >>> gnp.corrcoef(gnp.array([[0.0, 1.0, 2.0], [4.0, 2.0, 0.0]])).round(3)
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    parts = [as_operand(v, "corrcoef") for v in (x, y) if v is not None]
    wanted = float_for(result_type(*parts)[0]) if dtype is None else canonical_dtype(dtype)
    c = cov(x, y, rowvar, dtype=wide(wanted, *parts).numpy)
    if not c.ndim:
        return cast(c / c, wanted)
    deviation = sqrt(diag(c))
    return cast(clip(c / deviation[:, None] / deviation[None, :], -1, 1), wanted)
