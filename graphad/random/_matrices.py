"""Normal vectors with a covariance, and orthogonal matrices: NumPy factors the matrices, so their values are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.random._keys import words_of
from graphad.random._rejection import known
from graphad.random._uniform import check_shapes, float_dtype, standard_normal
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_floats, broadcast_shapes, canonical_shape, cast, dtype_and_weakness, shape_text


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
        Of shapes ``(..., n)`` and ``(..., n, n)``. The covariance must be known: it is factored at once.
    shape
        Of the result, without the last axis.
    method
        How the covariance is factored: ``"cholesky"``, the fastest, ``"eigh"`` or ``"svd"``, which allow it to be
        singular.

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
    mean, cov = as_floats("multivariate_normal", gnp.asarray(mean), gnp.asarray(cov))
    if not mean.ndim or cov.shape[-2:] != mean.shape[-1:] * 2:
        raise ValueError(
            f"{source.where()}multivariate_normal takes a mean (..., n) and a covariance (..., n, n), got "
            f"{shape_text(mean)} and {shape_text(cov)}."
        )
    wanted = dtype_and_weakness(mean)[0] if dtype is None else float_dtype(dtype, "multivariate_normal")
    if shape is None:
        sizes = broadcast_shapes([mean.shape[:-1], cov.shape[:-2]], "multivariate_normal")
    else:
        sizes = canonical_shape(shape, "multivariate_normal")
        check_shapes("multivariate_normal", sizes, mean[..., 0], cov[..., 0, 0])
    (values,) = known("multivariate_normal", "NumPy factors the covariance", cov)
    factor = cast(gnp.asarray(_factor(values, method)), wanted)
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
    words = words_of(key, "orthogonal")
    known("orthogonal", "NumPy factors a matrix", *words)
    sizes = (*canonical_shape(shape, "orthogonal"), max(n, columns), min(n, columns))
    q, r = np.linalg.qr(_at_least_float32(np.asarray(standard_normal(words, sizes, wanted))))
    # The signs of the diagonal make the factors unique.
    q = (q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]).astype(wanted.numpy)
    return Array(np.swapaxes(q, -1, -2).copy() if n < columns else q)


def _at_least_float32(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What NumPy can factor."""
    return x.astype(np.result_type(x.dtype, np.float32))
