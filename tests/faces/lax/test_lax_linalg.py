"""`graphad.lax.linalg` gives what ``jax.lax.linalg`` gives, with its derivatives."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from tests.compose.tools import close
from tests.faces.derived import check_like_jax
from tests.thinned import every

RNG = np.random.default_rng(17)
SQUARES = [(3, 3), (1, 1), (0, 0), (2, 4, 4), (0, 2, 2), (2, 1, 3, 3), (9, 9)]
MATRICES = [(3, 3), (1, 1), (4, 2), (2, 4), (2, 3, 2), (0, 3), (3, 0), (0, 0), (0, 2, 3)]


def normal(*shape):
    return RNG.normal(size=shape)


def dominant(*shape):
    """Matrices with a large diagonal, whose factors are smooth."""
    return normal(*shape) + 3 * np.eye(*shape[-2:]) * np.arange(1, shape[-1] + 1)


def positive(*shape):
    x = normal(*shape)
    return x @ np.swapaxes(x, -1, -2) + shape[-1] * np.eye(shape[-1])


def both(function):
    """A function of the module, for graphad's and for JAX's."""
    return lambda *xs: function(lax.linalg, *xs), lambda *xs: function(jax.lax.linalg, *xs)


@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_cholesky(shape):
    check_like_jax(*both(lambda m, x: m.cholesky(x)), positive(*shape))
    check_like_jax(*both(lambda m, x: m.cholesky(x, symmetrize_input=False)), positive(*shape), order=0)


def test_cholesky_reads_the_symmetric_part_or_one_triangle():
    x = positive(4, 4)
    y = x + np.triu(normal(4, 4), 1)
    close(lax.linalg.cholesky(y, symmetrize_input=False), np.linalg.cholesky(x), 1e-12)
    close(lax.linalg.cholesky(y), np.linalg.cholesky((y + y.T) / 2), 1e-12)
    assert np.isnan(lax.linalg.cholesky(-x)[0, 0])
    graphad.check_grads(lambda x: lax.linalg.cholesky(x, symmetrize_input=False), (y,), order=2)


@pytest.mark.parametrize("shape", every(2, MATRICES), ids=str)
def test_lu(shape):
    check_like_jax(*both(lambda m, x: m.lu(x)), dominant(*shape))


@pytest.mark.parametrize("shape", every(2, MATRICES), ids=str)
def test_qr(shape):
    """But for the signs of columns, which are LAPACK's in both."""
    check_like_jax(*both(lambda m, x: m.qr(x, full_matrices=False)), dominant(*shape))
    order = 2 if shape[-2] <= shape[-1] else 0
    check_like_jax(*both(lambda m, x: m.qr(x)), dominant(*shape), order=order)


@pytest.mark.parametrize("lower", every(2, [True, False]))
@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_eigh(shape, lower):
    def squared(m, x):
        v, w = m.eigh(x, lower=lower)
        return v * v, w

    x = dominant(*shape)
    check_like_jax(*both(squared), x)
    if x.size:
        v, w = lax.linalg.eigh(x, lower=lower, symmetrize_input=False)
        triangle = np.tril(x) if lower else np.triu(x)
        symmetric = triangle + np.swapaxes(triangle, -1, -2) - x * np.eye(shape[-1])
        close(np.matmul(symmetric, v), v * w[..., None, :], 1e-10)


def test_some_eigenvalues():
    def some(m, x):
        v, w = m.eigh(x, subset_by_index=(1, 3))
        return v * v, w

    # JAX has them on TPUs alone.
    x = dominant(5, 5)
    found, expected = some(lax.linalg, x), jax.lax.linalg.eigh(x)
    assert [y.shape for y in found] == [(5, 2), (2,)]
    close(found[1], expected[1][1:3], 1e-5)
    graphad.check_grads(lambda x: some(lax.linalg, x), (x,), order=2)
    with pytest.raises(ValueError, match=r"test_lax_linalg.py:\d+: lax.linalg.eigh got subset_by_index=\(2, 7\)"):
        lax.linalg.eigh(x, subset_by_index=(2, 7))


@pytest.mark.parametrize("shape", every(2, MATRICES), ids=str)
def test_svd(shape):
    def squared(m, x):
        u, s, vh = m.svd(x, full_matrices=False)
        return u * u, s, vh * vh

    check_like_jax(*both(squared), dominant(*shape))
    check_like_jax(*both(lambda m, x: m.svd(x, compute_uv=False)), dominant(*shape))
    x = normal(*shape)
    u, s, vh = lax.linalg.svd(x)
    k = s.shape[-1]
    close(np.matmul(u[..., :k] * s[..., None, :], vh[..., :k, :]), x, 1e-12)
    assert (u.shape[-2:], vh.shape[-2:]) == ((shape[-2],) * 2, (shape[-1],) * 2)


def test_some_singular_values():
    x = normal(4, 3)
    u, s, vh = lax.linalg.svd(x, full_matrices=False, subset_by_index=(1, 3))
    whole = np.linalg.svd(x, full_matrices=False)
    close(s, whole[1][1:3], 1e-12)
    close((u * s) @ vh, (whole[0] * whole[1])[:, 1:] @ whole[2][1:], 1e-12)
    with pytest.raises(ValueError, match="with full_matrices=False"):
        lax.linalg.svd(x, subset_by_index=(1, 3))


@pytest.mark.parametrize("shape", [((2, 3, 3), (2, 2, 3)), ((1, 1), (3, 1)), ((0, 0), (2, 0))], ids=str)
@pytest.mark.parametrize("flags", every(3, range(16)))
def test_triangular_solve(shape, flags):
    left, lower, transposed, unit = (bool(flags >> k & 1) for k in range(4))
    a, b = dominant(*shape[0]), normal(*shape[1])
    b = np.swapaxes(b, -1, -2) if left else b
    options = {"left_side": left, "lower": lower, "transpose_a": transposed, "unit_diagonal": unit}
    check_like_jax(*both(lambda m, a, b: m.triangular_solve(a, b, **options)), a, b)


@pytest.mark.parametrize("left", [True, False])
def test_triangular_solve_of_a_vector_for_each_matrix(left):
    f = both(lambda m, a, b: m.triangular_solve(a, b, left_side=left, lower=True, conjugate_a=True))
    check_like_jax(*f, dominant(2, 3, 3), normal(2, 3))
    check_like_jax(*f, dominant(3, 3), normal(3))


@pytest.mark.parametrize("shape", [(5, 2), (1, 1), (3, 4, 1), (2, 3, 0)], ids=str)
def test_tridiagonal_solve(shape):
    low, high, b = normal(*shape[:-1]), normal(*shape[:-1]), normal(*shape)
    low[..., 0] = high[..., -1] = 0
    check_like_jax(*both(lambda m, *xs: m.tridiagonal_solve(*xs)), low, normal(*shape[:-1]) + 5, high, b, order=1)
    graphad.check_grads(lax.linalg.tridiagonal_solve, (low, low + high + 5, high, b), order=2)


@pytest.mark.parametrize(("size", "shape"), [(4, (3,)), (3, (3,)), (5, (2, 3)), (2, (0,)), (6, (0, 2)), (0, (0,))])
def test_pivots(size, shape):
    pivots = np.minimum(np.arange(shape[-1]) + RNG.integers(0, size + 1, shape), size - 1).astype(np.int32)
    expected = jax.lax.linalg.lu_pivots_to_permutation(pivots, size)
    for wrap in (lambda f: f, graphad.jit):
        found = wrap(lambda p: lax.linalg.lu_pivots_to_permutation(p, size))(pivots)
        assert (found.shape, found.dtype) == (expected.shape, np.int32)
        assert found.tolist() == expected.tolist()
    found = graphad.vmap(lambda p: lax.linalg.lu_pivots_to_permutation(p, size))(np.stack([pivots, pivots]))
    assert found.tolist() == [expected.tolist()] * 2


def test_pivots_of_factors():
    _, pivots, permutation = lax.linalg.lu(normal(6, 4))
    assert lax.linalg.lu_pivots_to_permutation(pivots, 6).tolist() == permutation.tolist()


@pytest.mark.parametrize("symmetrized", [True, False])
def test_symmetric_product(symmetrized):
    """JAX has no derivatives of it."""
    for a, c in ((normal(3, 2), positive(3, 3)), (normal(2, 1, 4), positive(2, 1, 1)), (normal(0, 2), normal(0, 0))):
        f = both(lambda m, a, c: m.symmetric_product(a, c, alpha=2.0, beta=-0.5, symmetrize_output=symmetrized))
        check_like_jax(*f, a, c, order=0)
        if not symmetrized:
            check_like_jax(f[0], lambda a, c: 2 * a @ a.mT - 0.5 * c, a, c)
        elif a.size:
            graphad.check_grads(f[0], (a, c), order=2)


def test_symmetric_product_of_a_triangle():
    a, c = normal(3, 2), np.tril(normal(3, 3))
    found = lax.linalg.symmetric_product(a, c, beta=1.0, symmetrize_output=True)
    close(found, a @ a.T + c + np.tril(c, -1).T, 1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_cholesky_update(n):
    r, w = np.linalg.cholesky(positive(n, n)).T, normal(n)

    def by_cholesky(r, w):
        return jax.numpy.linalg.cholesky(r.T @ r + jax.numpy.outer(w, w), upper=True)

    triangle = lambda r, w: lax.linalg.cholesky_update(gnp.triu(r), w)
    check_like_jax(triangle, lambda r, w: by_cholesky(jax.numpy.triu(r), w), r, w)


def test_cholesky_update_with_zeros():
    """Also derivatives, and where there is nothing to rotate."""
    r, w = np.linalg.cholesky(positive(4, 4)).T, np.array([0.0, 2.0, 0.0, 1.0])
    graphad.check_grads(lambda r, w: lax.linalg.cholesky_update(gnp.triu(r), w), (r, w), order=2)
    stacked = lax.linalg.cholesky_update(np.stack([r, r]), np.stack([w, 0 * w]))
    close(stacked[0], np.linalg.cholesky(r.T @ r + np.outer(w, w)).T, 1e-12)
    close(stacked[1], r, 1e-12)
    found = lax.linalg.cholesky_update(np.zeros((3, 3)), np.array([0.0, 3.0, 4.0]))
    close(found, [[0, 0, 0], [0, 3, 4], [0, 0, 0]], 1e-12)


NAN = np.array([[np.nan, 1.0], [1.0, 2.0]])
INF = np.array([[np.inf, 1.0], [1.0, 2.0]])


@pytest.mark.parametrize("x", [NAN, INF], ids=["nan", "inf"])
def test_what_is_not_finite(x):
    """Stays with its matrix."""
    pair = np.stack([x, np.eye(2)])
    for function in (lax.linalg.cholesky, lax.linalg.eigh, lax.linalg.svd, lax.linalg.lu, lax.linalg.qr):
        found = function(pair)
        for y in found if isinstance(found, tuple) else (found,):
            if y.dtype.kind == "f":
                assert np.isfinite(y[1]).all(), function.__name__
        first = found if not isinstance(found, tuple) else found[0] if function is lax.linalg.lu else found[1]
        assert not np.isfinite(first[0]).all(), function.__name__


def test_singular_matrices():
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    factors, _, _ = lax.linalg.lu(singular)
    close(factors, [[2.0, 4.0], [0.5, 0.0]], 1e-15)
    assert not np.isfinite(lax.linalg.triangular_solve(np.zeros((2, 2)), np.ones((1, 2)))).any()
    assert np.isnan(lax.linalg.tridiagonal_solve(np.zeros(2), np.zeros(2), np.zeros(2), np.ones((2, 1)))).all()


X, I, V = np.ones((2, 2)), np.ones((2, 2), int), np.ones(3)
WRONG = {
    "a vector": (lambda: lax.linalg.lu(V), ValueError, r"lax.linalg.lu takes matrices, \(..., m, n\), not f64\[3\]"),
    "not square": (lambda: lax.linalg.eigh(np.ones((2, 3))), ValueError, r"eigh takes square matrices, .*f64\[2,3\]"),
    "integers": (lambda: lax.linalg.cholesky(I), TypeError, r"got i64\[2,2\]; convert it to float32 or float64"),
    "16 bits": (lambda: lax.linalg.qr(X.astype(np.float16)), TypeError, "convert it to float32 or float64"),
    "pivoting": (lambda: lax.linalg.qr(X, pivoting=True), ValueError, "Leave out pivoting=True"),
    "a method": (lambda: lax.linalg.svd(X, algorithm="QR"), ValueError, "Leave out algorithm='QR'"),
    "two dtypes": (
        lambda: lax.linalg.triangular_solve(X, X.astype(np.float32)),
        TypeError,
        r"triangular_solve got f64\[2,2\] and f32\[2,2\]: dtypes must be equal. Convert one of them with astype",
    ),
    "a right side": (
        lambda: lax.linalg.triangular_solve(X, np.ones((2, 3))),
        ValueError,
        r"right sides of shape \(2, 3\); with left_side=False these must be \(m, 2\), or one vector",
    ),
    "a stack": (lambda: lax.linalg.triangular_solve(X, np.ones((1, 2, 2))), ValueError, r"these must be \(m, 2\)"),
    "a diagonal": (
        lambda: lax.linalg.tridiagonal_solve(V[:2], V, V, np.ones((3, 1))),
        ValueError,
        r"got f64\[2\] as dl .* must have the shape \(3,\)",
    ),
    "a perturbed one": (
        lambda: lax.linalg.tridiagonal_solve(V, V, V, np.ones((3, 1)), perturb_singular=True),
        ValueError,
        "Leave out perturb_singular=True",
    ),
    "few rows": (
        lambda: lax.linalg.lu_pivots_to_permutation(np.arange(3), 2),
        ValueError,
        "it must be as many or more",
    ),
    "pivots of floats": (lambda: lax.linalg.lu_pivots_to_permutation(V, 3), TypeError, r"takes integers .*f64\[3\]"),
    "an update": (lambda: lax.linalg.cholesky_update(X, V), ValueError, r"the vectors must have the shape \(2,\)"),
    "a product": (lambda: lax.linalg.symmetric_product(V[:, None], X), ValueError, r"have the shape \(3, 3\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_uses(case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=r"test_lax_linalg.py:\d+: .*" + message):
        call()
