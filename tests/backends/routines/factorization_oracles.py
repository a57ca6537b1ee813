"""What results of the routines that call LAPACK must be, by NumPy in double precision and by their definition."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def near(x: Any, y: Any, scale: Any, dtype: Any, size: int) -> None:
    """``x`` and ``y`` differ by a few roundings of numbers as large as ``scale``."""
    limit = 30 * (size + 3) * np.finfo(dtype).eps * np.maximum(scale, np.finfo(dtype).tiny)
    assert np.isfinite(x).all()
    worst = np.max(np.abs(x - y) / limit, initial=0.0)
    assert worst <= 1, f"{worst} times the error that may be"


def orthonormal(x: Array, dtype: Any) -> None:
    near(x.T @ x, np.eye(x.shape[1]), 1.0, dtype, len(x))


def cholesky(sizes: Any, reads: Any, results: Any) -> None:
    batch, n, upper = sizes
    matrices, factors = [x.reshape(batch, n, n) for x in (reads[0], results[0])]
    if upper:
        matrices, factors = matrices.swapaxes(1, 2), factors.swapaxes(1, 2)
    for a, found in zip(matrices, factors, strict=True):
        whole = (np.tril(a) + np.tril(a, -1).T).astype(np.float64)
        assert (np.triu(found, 1) == 0).all()
        least = np.linalg.eigvalsh(whole).min(initial=np.inf)
        doubt = 100 * (n + 1) * np.finfo(a.dtype).eps * np.abs(whole).max(initial=0.0)
        if least > doubt:
            lower = found.astype(np.float64)
            near(lower @ lower.T, whole, np.abs(lower) @ np.abs(lower.T), a.dtype, n)
            near(lower, np.linalg.cholesky(whole), np.abs(whole).max(initial=0) / least, a.dtype, n)
        elif least < -doubt:
            assert np.isnan(found[np.tril_indices(n)]).all()


def _with_turned(x: Array) -> Array:
    return x + x.T


def _half(x: Array) -> Array:
    return np.tril(x) - 0.5 * np.diag(np.diag(x))


def cholesky_tangent(sizes: Any, reads: Any, results: Any) -> None:
    """The derivative of ``l l.T``, with an error as large as those of ``l p l.T``."""
    batch, n = sizes
    for factor, t, found in zip(*[x.reshape(batch, n, n) for x in (*reads, *results)], strict=True):
        low, whole = np.tril(factor).astype(np.float64), (np.tril(t) + np.tril(t, -1).T).astype(np.float64)
        assert (np.triu(found, 1) == 0).all()
        if (np.diag(low) == 0).any():
            continue
        inner = np.abs(_with_turned(np.linalg.solve(low, found.astype(np.float64))))
        near(_with_turned(found @ low.T), whole, np.abs(low) @ inner @ np.abs(low.T) + 1e-30, factor.dtype, n)


def cholesky_adjoint(sizes: Any, reads: Any, results: Any) -> None:
    """``l.T n l == f + f.T`` for ``n``, the sum of the result and its transpose, and ``f``, half of ``l.T c``."""
    batch, n = sizes
    for factor, ct, found in zip(*[x.reshape(batch, n, n) for x in (*reads, *results)], strict=True):
        low, c, both = np.tril(factor).astype(np.float64), np.tril(ct).astype(np.float64), _with_turned(found)
        assert (np.triu(found, 1) == 0).all()
        if (np.diag(low) == 0).any():
            continue
        scale = np.abs(low.T) @ np.abs(both) @ np.abs(low) + _with_turned(np.abs(low.T) @ np.abs(c)) + 1e-30
        near(low.T @ both @ low, _with_turned(_half(low.T @ c)), scale, factor.dtype, n)


def _applied(matrix: Array, x: Array, b: Array, dtype: Any, by_element: bool) -> None:
    """``matrix @ x == b``, by the backward error of each element, or of columns; what has overflowed is passed over."""
    if np.abs(x).max(initial=0.0) < 1e30:  # not where x is infinite, or nan
        scale = np.abs(matrix) @ np.abs(x) + np.abs(b)
        scale = scale if by_element else scale.max(axis=0, initial=0.0)
        near(matrix @ x, b, scale, dtype, len(matrix))


def triangular_solve(sizes: Any, reads: Any, results: Any) -> None:
    batch, n, m, left, lower, transposed, unit = sizes
    shape = (batch, n, m) if left else (batch, m, n)
    dtype = results[0].dtype
    a, b, x = reads[0].reshape(batch, n, n), reads[1].reshape(shape), results[0].reshape(shape)
    for matrix, right, found in zip(*[z.astype(np.float64) for z in (a, b, x)], strict=True):
        triangle = np.tril(matrix) if lower else np.triu(matrix)
        if unit:
            triangle = triangle - np.diag(np.diag(triangle)) + np.eye(n)
        assert np.isfinite(found).all() or (np.diag(triangle) == 0).any() or np.isinf(found).any()
        triangle = triangle.T if transposed else triangle
        _applied(*((triangle, found, right) if left else (triangle.T, found.T, right.T)), dtype, by_element=True)


def lu(sizes: Any, reads: Any, results: Any) -> None:
    batch, m, n = sizes
    k, dtype = min(m, n), reads[0].dtype
    packed, pivots, order = results[0].reshape(batch, m, n), results[1].reshape(batch, k), results[2].reshape(batch, m)
    for a, f, p, o in zip(reads[0].reshape(batch, m, n), packed, pivots, order, strict=True):
        lower = (np.tril(f, -1)[:, :k] + np.eye(m, k)).astype(np.float64)
        upper = np.triu(f)[:k].astype(np.float64)
        assert np.max(np.abs(lower), initial=0.0) <= 1
        near(lower @ upper, a[o], np.abs(lower) @ np.abs(upper), dtype, k)
        rows = list(range(m))
        for i, j in enumerate(p.tolist()):
            assert i <= j < m
            rows[i], rows[j] = rows[j], rows[i]
        assert rows == o.tolist()


def lu_by_columns(sizes: Any, reads: Any, results: Any) -> None:
    batch, m, n = sizes
    turned = [x.reshape(batch, m, n).swapaxes(1, 2) for x in (reads[0], results[0])]
    *found, order, places = results[1:]
    lu((batch, n, m), (turned[0],), (turned[1], *found, order))
    np.testing.assert_array_equal(places.reshape(batch, n), np.argsort(order.reshape(batch, n), axis=1))


def qr(sizes: Any, reads: Any, results: Any) -> None:
    batch, m, n, k = sizes
    matrices, dtype = reads[0].reshape(batch, m, n).astype(np.float64), reads[0].dtype
    qs, rs = results[0].reshape(batch, m, k).astype(np.float64), results[1].reshape(batch, k, n).astype(np.float64)
    for a, q, r in zip(matrices, qs, rs, strict=True):
        orthonormal(q, dtype)
        assert (np.tril(r, -1) == 0).all()
        near(q @ r, a, np.linalg.norm(a), dtype, m + n)


def eigh(sizes: Any, reads: Any, results: Any) -> None:
    batch, n = sizes
    vs, ws = results[0].reshape(batch, n, n).astype(np.float64), results[1].reshape(batch, n).astype(np.float64)
    for a, v, w in zip(reads[0].reshape(batch, n, n), vs, ws, strict=True):
        whole = (np.tril(a) + np.tril(a, -1).T).astype(np.float64)
        orthonormal(v, a.dtype)
        near(w, np.linalg.eigvalsh(whole), np.linalg.norm(whole), a.dtype, n)
        near(whole @ v, v * w, np.linalg.norm(whole), a.dtype, n)


def schur(sizes: Any, reads: Any, results: Any) -> None:
    batch, n = sizes
    whole = [x.reshape(batch, n, n).astype(np.float64) for x in (reads[0], *results[:2])]
    for a, z, t, pairs in zip(*whole, results[2].reshape(batch, n), strict=True):
        dtype, scale = reads[0].dtype, np.linalg.norm(a)
        orthonormal(z, dtype)
        near(z @ t @ z.T, a, scale, dtype, n)
        assert (np.tril(t, -2) == 0).all()
        (blocks,) = np.nonzero(np.diag(t, -1))
        assert (np.diff(blocks) > 1).all()
        assert np.flatnonzero(pairs).tolist() == blocks.tolist()
        for i in blocks:
            assert t[i, i] == t[i + 1, i + 1]
            assert t[i, i + 1] * t[i + 1, i] < 0
            assert abs(t[i, i + 1]) >= abs(t[i + 1, i])


def _are_eigenvalues(a: Array, wr: Array, wi: Array, dtype: Any) -> None:
    """Each of a matrix near ``a``, with their sum, and pairs as neighbours."""
    n, scale = len(a), np.linalg.norm(a)
    for value in wr + 1j * wi:
        near(np.linalg.svd(a - value * np.eye(n), compute_uv=False)[-1], 0.0, scale, dtype, n)
    near(wr.sum(), np.trace(a), n * scale, dtype, n)
    firsts = np.flatnonzero(wi > 0)
    assert np.flatnonzero(wi < 0).tolist() == (firsts + 1).tolist()
    assert (wi[firsts + 1] == -wi[firsts]).all()
    assert (wr[firsts + 1] == wr[firsts]).all()


def eig(sizes: Any, reads: Any, results: Any) -> None:
    batch, n = sizes
    dtype = reads[0].dtype
    wrs, wis = [x.reshape(batch, n).astype(np.float64) for x in results[:2]]
    matrices, packed = [x.reshape(batch, n, n).astype(np.float64) for x in (reads[0], results[2])]
    for a, wr, wi, v in zip(matrices, wrs, wis, packed, strict=True):
        _are_eigenvalues(a, wr, wi, dtype)
        vectors = v.astype(complex)
        for j in np.flatnonzero(wi > 0):
            vectors[:, j], vectors[:, j + 1] = v[:, j] + 1j * v[:, j + 1], v[:, j] - 1j * v[:, j + 1]
            size = np.abs(vectors[:, j])
            assert v[(v[:, j + 1] == 0) & (size >= size.max() * (1 - 10 * np.finfo(dtype).eps)), j].max() > 0
        near(np.linalg.norm(vectors, axis=0), 1.0, 1.0, dtype, n)
        near(a @ vectors, vectors * (wr + 1j * wi), np.linalg.norm(a), dtype, n)


def eigvals(sizes: Any, reads: Any, results: Any) -> None:
    batch, n = sizes
    whole = [reads[0].reshape(batch, n, n), *[x.reshape(batch, n) for x in results]]
    for a, wr, wi in zip(*[x.astype(np.float64) for x in whole], strict=True):
        _are_eigenvalues(a, wr, wi, reads[0].dtype)


def svd(sizes: Any, reads: Any, results: Any) -> None:
    batch, m, n, full = sizes
    least = min(m, n)
    rows, columns = (m, n) if full else (least, least)
    shapes = [(batch, m, rows), (batch, least), (batch, columns, n)]
    us, ss, vts = [x.reshape(shape).astype(np.float64) for x, shape in zip(results, shapes, strict=True)]
    dtype = reads[0].dtype
    for a, u, s, vt in zip(reads[0].reshape(batch, m, n).astype(np.float64), us, ss, vts, strict=True):
        orthonormal(u, dtype)
        orthonormal(vt.T, dtype)
        scale = np.linalg.norm(a)
        near(s, np.linalg.svd(a, compute_uv=False), scale, dtype, m + n)
        near((u[:, :least] * s) @ vt[:least], a, scale, dtype, m + n)


def tridiagonal_solve(sizes: Any, reads: Any, results: Any) -> None:
    batch, n, m = sizes
    dtype = results[0].dtype
    low, diagonal, high = [x.reshape(batch, n).astype(np.float64) for x in reads[:3]]
    right, found = [x.reshape(batch, n, m).astype(np.float64) for x in (reads[3], results[0])]
    for k in range(batch):
        matrix = np.diag(diagonal[k]) + np.diag(low[k, 1:], -1) + np.diag(high[k, : max(n - 1, 0)], 1)
        matrix = matrix if n else np.zeros((0, 0))
        if np.isnan(found[k]).any():
            assert np.isnan(found[k]).all()
            assert np.linalg.cond(matrix) * np.finfo(dtype).eps > 1e-3
        else:
            _applied(matrix, found[k], right[k], dtype, by_element=False)


def _reflected(a: Array, taus: Array, columns: int) -> tuple[Array, float]:
    """A product of reflectors, and how large its terms are."""
    q, size = np.eye(len(a), columns), 1.0
    for k in reversed(range(len(taus))):
        v = np.concatenate([np.zeros(k), [1], a[k + 1 :, k]])
        q = q - taus[k] * np.outer(v, v @ q)
        size *= 1 + abs(taus[k]) * (v @ v)
    return q, size


def householder_product(sizes: Any, reads: Any, results: Any) -> None:
    batch, m, n, k = sizes
    a, q = reads[0].reshape(batch, m, n).astype(np.float64), results[0].reshape(batch, m, n)
    for x, taus, found in zip(a, reads[1].reshape(batch, k).astype(np.float64), q, strict=True):
        expected, size = _reflected(x, taus, n)
        near(found, expected, size, reads[0].dtype, m)


def hessenberg_reflectors(sizes: Any, reads: Any, results: Any) -> None:
    batch, n = sizes
    a, packed = [x.reshape(batch, n, n).astype(np.float64) for x in (reads[0], results[0])]
    dtype = reads[0].dtype
    for x, p, taus in zip(a, packed, results[1].reshape(batch, max(n - 1, 0)).astype(np.float64), strict=True):
        q = np.eye(n)
        if n > 1:
            q[1:, 1:], _ = _reflected(p[1:, :-1], taus, n - 1)
        orthonormal(q, dtype)
        near(q @ np.triu(p, -1) @ q.T, x, np.linalg.norm(x), dtype, n)


def hessenberg(sizes: Any, reads: Any, results: Any) -> None:
    batch, n = sizes
    for a, q, h in zip(*[x.reshape(batch, n, n).astype(np.float64) for x in (reads[0], *results)], strict=True):
        orthonormal(q, reads[0].dtype)
        near(q @ h @ q.T, a, np.linalg.norm(a), reads[0].dtype, n)
        assert (np.tril(h, -2) == 0).all()
        assert (q[:, :1] == np.eye(n, min(n, 1))).all()


def hessenberg_form(sizes: Any, reads: Any, results: Any) -> None:
    """With the eigenvalues of the matrix, in the sense of `eigvals`, and its norm."""
    batch, n = sizes
    for a, h in zip(*[x.reshape(batch, n, n).astype(np.float64) for x in (reads[0], results[0])], strict=True):
        dtype, scale = reads[0].dtype, np.linalg.norm(a)
        assert (np.tril(h, -2) == 0).all()
        near(np.linalg.norm(h), scale, scale, dtype, n)
        values = np.linalg.eigvals(h)
        _are_eigenvalues(a, values.real, values.imag, dtype)


def _of_blocks(quasi_triangular: Any) -> Any:
    """The eigenvalues, without the errors of those of a whole matrix that is far from normal."""
    below = np.diag(quasi_triangular, -1)
    starts = [i for i in range(len(quasi_triangular)) if i == 0 or below[i - 1] == 0]
    ends = [*starts[1:], len(quasi_triangular)]
    return np.concatenate([np.linalg.eigvals(quasi_triangular[i:j, i:j]) for i, j in zip(starts, ends, strict=True)])


def quasi_sylvester(sizes: Any, reads: Any, results: Any) -> None:
    batch, m, n, across = sizes
    dtype = results[0].dtype
    p, q = reads[0].reshape(batch, m, m).astype(np.float64), reads[2].reshape(batch, n, n).astype(np.float64)
    rights, found = [x.reshape(batch, m, n).astype(np.float64) for x in (reads[4], results[0])]
    for k in range(batch):
        factors = []
        for whole, pairs in ((p[k], reads[1].reshape(batch, m)[k]), (q[k], reads[3].reshape(batch, n)[k])):
            factor = np.triu(whole) + np.diag(np.diag(whole, -1) * pairs[:-1], -1) if len(whole) else whole
            factors.append(factor.T if across else factor)
        left, right = factors
        x = found[k]
        if np.isnan(x).any():
            assert np.isnan(x).all()
            gaps = _of_blocks(left.T if across else left)[:, None] + _of_blocks(right.T if across else right)
            size = np.linalg.norm(left) + np.linalg.norm(right)
            assert np.abs(gaps).min() <= 100 * np.sqrt(np.finfo(dtype).eps) * size
        elif np.abs(x).max(initial=0.0) < 1e30:
            scale = (np.linalg.norm(left) + np.linalg.norm(right)) * np.linalg.norm(x) + np.linalg.norm(rights[k])
            near(left @ x + x @ right, rights[k], scale, dtype, m + n)


def banded_solve(sizes: Any, reads: Any, results: Any) -> None:
    batch, n, m, low, high, transposed = sizes
    dtype = results[0].dtype
    bands = reads[0].reshape(batch, low + high + 1, n).astype(np.float64)
    right, found = [x.reshape(batch, n, m).astype(np.float64) for x in (reads[1], results[0])]
    for band, b, x in zip(bands, right, found, strict=True):
        matrix = np.zeros((n, n))
        for i in range(n):
            for j in range(max(i - low, 0), min(i + high + 1, n)):
                matrix[i, j] = band[high + i - j, j]
        if np.isnan(x).any():
            assert np.isnan(x).all()
            assert np.linalg.cond(matrix) * np.finfo(dtype).eps > 1e-3
        else:
            _applied(matrix.T if transposed else matrix, x, b, dtype, by_element=False)


def eigvalsh(sizes: Any, reads: Any, results: Any) -> None:
    batch, n = sizes
    for a, w in zip(reads[0].reshape(batch, n, n), results[0].reshape(batch, n).astype(np.float64), strict=True):
        whole = (np.tril(a) + np.tril(a, -1).T).astype(np.float64)
        near(w, np.linalg.eigvalsh(whole), np.linalg.norm(whole), a.dtype, n)


def svdvals(sizes: Any, reads: Any, results: Any) -> None:
    batch, m, n, _ = sizes
    for a, s in zip(reads[0].reshape(batch, m, n), results[0].reshape(batch, min(m, n)), strict=True):
        near(s, np.linalg.svd(a.astype(np.float64), compute_uv=False), np.linalg.norm(a), a.dtype, m + n)


def _of_diagonals(sizes: Any, reads: Any) -> list[Array]:
    """The lower triangles of symmetric tridiagonal matrices."""
    batch, n = sizes
    out = np.zeros((batch, n, n), reads[0].dtype)
    for a, d, e in zip(out, reads[0].reshape(batch, n), reads[1].reshape(batch, max(n - 1, 0)), strict=True):
        a[np.arange(n), np.arange(n)] = d
        a[np.arange(1, n), np.arange(max(n - 1, 0))] = e
    return [out]


def eigh_tridiagonal(sizes: Any, reads: Any, results: Any) -> None:
    eigh(sizes, _of_diagonals(sizes, reads), results)


def eigvalsh_tridiagonal(sizes: Any, reads: Any, results: Any) -> None:
    eigvalsh(sizes, _of_diagonals(sizes, reads), results)


ORACLES = {
    f.__name__: f
    for f in (
        cholesky,
        cholesky_tangent,
        cholesky_adjoint,
        triangular_solve,
        lu,
        lu_by_columns,
        qr,
        eigh,
        svd,
        tridiagonal_solve,
        schur,
        householder_product,
        hessenberg,
        hessenberg_form,
        hessenberg_reflectors,
        quasi_sylvester,
        banded_solve,
        eigvalsh,
        eig,
        eigvals,
        svdvals,
        eigh_tridiagonal,
        eigvalsh_tridiagonal,
    )
}
