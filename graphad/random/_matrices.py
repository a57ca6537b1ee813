"""Normal vectors with a covariance, and orthogonal matrices.

NumPy factors matrices with known values. Those that are traced are factored column by column in the program, which
therefore grows with them: they may have `MOST_COLUMNS`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from graphad import numpy as gnp
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.random._keys import words_of
from graphad.random._uniform import check_shapes, float_dtype, from_list, standard_normal
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_floats, broadcast_shapes, canonical_shape, cast, dtype_and_weakness, shape_text
from graphad.trace.tracer import Tracer

#: The size of the greatest matrix that is factored in a traced program.
MOST_COLUMNS: Final = 32


def multivariate_normal(
    key: ArrayLike,
    mean: ArrayLike,
    cov: ArrayLike,
    shape: Shape | None = None,
    dtype: DTypeLike | None = None,
    method: str = "cholesky",
) -> Array:
    """Normal vectors with this mean and covariance.

    Parameters
    ----------
    mean, cov
        Of shapes ``(..., n)`` and ``(..., n, n)``.
    shape
        Of the result, without the last axis.
    method
        How the covariance is factored: ``"cholesky"``, the fastest, ``"eigh"`` or ``"svd"``, which allow it to be
        singular but need its values.

    Examples
    --------
    >>> from graphad.random import key
    >>> multivariate_normal(key(0), [0.0, 1.0], [[2.0, 1.0], [1.0, 2.0]], (3,)).shape
    (3, 2)
    """
    if method not in ("cholesky", "eigh", "svd"):
        raise ValueError(
            f"{source.where()}multivariate_normal takes method 'cholesky', 'eigh' or 'svd', got {method!r}."
        )
    given = float_dtype(dtype, "multivariate_normal")
    mean, cov = as_floats("multivariate_normal", from_list(mean, given), from_list(cov, given))
    if not mean.ndim or cov.shape[-2:] != mean.shape[-1:] * 2:
        raise ValueError(
            f"{source.where()}multivariate_normal takes a mean (..., n) and a covariance (..., n, n), got "
            f"{shape_text(mean)} and {shape_text(cov)}."
        )
    wanted = dtype_and_weakness(mean)[0] if dtype is None else given
    if shape is None:
        sizes = broadcast_shapes([mean.shape[:-1], cov.shape[:-2]], "multivariate_normal")
    else:
        sizes = canonical_shape(shape, "multivariate_normal")
        check_shapes("multivariate_normal", sizes, mean.shape[:-1], cov.shape[:-2])
    if isinstance(cov, Tracer):
        _check_traceable("multivariate_normal", cov.shape[-1], method)
        factor = cast(_cholesky(cov), wanted)
    else:
        factor = cast(gnp.asarray(_factor(np.asarray(cov), method)), wanted)
    words = words_of(key, "multivariate_normal")
    drawn = standard_normal(words, (*sizes, mean.shape[-1]), wanted)
    return cast(mean, wanted) + gnp.matmul(factor, drawn[..., None])[..., 0]


def _factor(cov: np.ndarray[Any, Any], method: str) -> np.ndarray[Any, Any]:
    """A matrix that gives ``cov`` when multiplied with its transpose."""
    cov = _at_least_float32(cov)
    if method == "cholesky":
        try:
            return np.linalg.cholesky(cov)
        except np.linalg.LinAlgError:
            return np.full_like(cov, np.nan)
    if method == "eigh":
        values, vectors = np.linalg.eigh(cov)
    else:
        vectors, values, _ = np.linalg.svd(cov)
    return vectors * np.sqrt(values[..., None, :])


def orthogonal(
    key: ArrayLike, n: int, shape: Shape = (), dtype: DTypeLike | None = None, m: int | None = None
) -> Array:
    """Matrices ``(..., n, m)`` with orthonormal columns, or rows if ``n < m``; all are equally likely (Mezzadri 2007).

    >>> from graphad.random import key
    >>> q = orthogonal(key(0), 3)
    >>> bool(abs(q @ q.T - gnp.eye(3)).max() < 1e-6)
    True
    """
    wanted = float_dtype(dtype, "orthogonal")
    columns = n if m is None else m
    sizes = (*canonical_shape(shape, "orthogonal"), max(n, columns), min(n, columns))
    drawn = standard_normal(words_of(key, "orthogonal"), sizes, wanted)
    if isinstance(drawn, Tracer):
        _check_traceable("orthogonal", min(n, columns))
        q = cast(_orthonormal(drawn), wanted)
    else:
        q, r = np.linalg.qr(_at_least_float32(np.asarray(drawn)))
        # The signs of the diagonal make the factors unique.
        q = Array((q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]).astype(wanted.numpy))
    return gnp.swapaxes(q, -1, -2) if n < columns else q


def _at_least_float32(x: Any) -> Any:
    """What is accurate enough to factor, and what NumPy can."""
    return x.astype(np.result_type(x.dtype, np.float32))


# ---------------------------------------------------------------------------------------------------------------------
# Factors of traced matrices


def _check_traceable(name: str, columns: int, method: str = "cholesky") -> None:
    if method != "cholesky":
        raise TypeError(
            f"{source.where()}{name} factors a traced matrix by method='cholesky' only, got {method!r}. Take that, or "
            "draw outside the traced function and pass the numbers in."
        )
    if columns > MOST_COLUMNS:
        raise ValueError(
            f"{source.where()}{name} factors traced matrices of at most {MOST_COLUMNS} columns, got {columns}. "
            "Draw outside the traced function and pass the numbers in."
        )


def _cholesky(cov: Any) -> Any:
    """The lower factor, column by column; nan unless ``cov`` is positive definite."""
    rest = _at_least_float32((cov + gnp.swapaxes(cov, -1, -2)) / 2)
    n = rest.shape[-1]
    columns: list[Any] = []
    for k in range(n):
        pivot = rest[..., k, k]
        root = gnp.sqrt(gnp.where(pivot > 0, pivot, math.nan))
        columns.append(gnp.where(np.arange(n) >= k, rest[..., k] / root[..., None], 0))
        rest = rest - columns[k][..., :, None] * columns[k][..., None, :]
    factor = gnp.stack(columns, -1) if columns else rest
    return gnp.where(gnp.isnan(factor[..., -1:, -1:]), math.nan, factor)


def _orthonormal(x: Any) -> Any:
    """The columns made orthonormal one after the other, by the method of Gram and Schmidt, twice for accuracy."""
    x = _at_least_float32(x)
    done: list[Any] = []
    for k in range(x.shape[-1]):
        column = x[..., k]
        for _ in range(2 if done else 0):
            basis = gnp.stack(done, -1)
            column = column - gnp.matvec(basis, gnp.vecmat(column, basis))
        done.append(column / gnp.linalg.norm(column, axis=-1, keepdims=True))
    return gnp.stack(done, -1) if done else x
