"""Factorizations in `graphad.scipy.linalg`, against SciPy's and JAX's, with derivatives."""

from __future__ import annotations

import jax.numpy as jnp
import jax.scipy.linalg as jax_linalg
import numpy as np
import pytest
import scipy.linalg as theirs

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg as ours
from graphad.errors import DifferentiationError
from tests.compose.tools import close
from tests.faces.derived import check_like_jax
from tests.thinned import every

RNG = np.random.default_rng(23)
SQUARES = [(3, 3), (1, 1), (0, 0), (2, 4, 4), (0, 2, 2)]
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
    return lambda *xs: function(ours, *xs), lambda *xs: function(jax_linalg, *xs)


def each(function, *xs):
    """A function of SciPy's for each matrix of stacks."""
    leading = xs[0].shape[:-2]
    found = [function(*[x[at] for x in xs]) for at in np.ndindex(*leading)]
    return [np.stack(ys).reshape(*leading, *ys[0].shape) for ys in zip(*found, strict=True)]


# ---------------------------------------------------------------------------------------------------------------------
# Triangles


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("shape", every(2, SQUARES), ids=str)
def test_cholesky(shape, lower):
    x = positive(*shape)
    check_like_jax(*both(lambda m, x: m.cho_factor(x, lower=lower)[0]), x, order=0)

    def of_triangle(x):  # JAX's derivatives take it that tangents are symmetric
        triangle = jnp.tril(x) if lower else jnp.triu(x)
        return jax_linalg.cholesky(triangle + triangle.mT - x * jnp.eye(x.shape[-1]), lower=lower)

    check_like_jax(lambda x: ours.cholesky(x, lower=lower), of_triangle, x)
    assert ours.cho_factor(x, lower)[1] is lower


@pytest.mark.parametrize("lower", [True, False])
def test_cholesky_reads_one_triangle(lower):
    x = positive(4, 4)
    y = x + (np.triu if lower else np.tril)(normal(4, 4), 1 if lower else -1)
    close(ours.cholesky(y, lower), theirs.cholesky(y, lower), 1e-12)
    graphad.check_grads(lambda x: ours.cholesky(x, lower), (y,), order=2)
    assert np.isnan(ours.cholesky(np.stack([-x, x]), lower)).any(axis=(-1, -2)).tolist() == [True, False]


@pytest.mark.parametrize("shape", every(2, MATRICES), ids=str)
def test_lu_factor(shape):
    x = dominant(*shape)
    check_like_jax(*both(lambda m, x: m.lu_factor(x)), x)


@pytest.mark.parametrize("shape", every(2, MATRICES), ids=str)
def test_lu(shape):
    """JAX's takes no stacks."""
    x = normal(*shape)
    p, low, up = ours.lu(x)
    close(np.matmul(np.matmul(p, low), up), x, 1e-12)
    permuted, up_again = ours.lu(x, permute_l=True)
    close(permuted, np.matmul(p, low), 0.0)
    close(up_again, up, 0.0)
    if x.size:
        for found, expected in zip((p, low, up), each(theirs.lu, x), strict=True):
            close(found, expected, 1e-12)
    for permute in (True, False):
        graphad.check_grads(lambda x: ours.lu(x, permute)[-2:], (dominant(*shape),), order=2)
        if len(shape) == 2:
            check_like_jax(*both(lambda m, x: m.lu(x, permute_l=permute)), dominant(*shape))


# ---------------------------------------------------------------------------------------------------------------------
# Orthonormal columns, and eigenvalues


@pytest.mark.parametrize("mode", ["full", "economic", "r"])
@pytest.mark.parametrize("shape", every(2, MATRICES), ids=str)
def test_qr(shape, mode):
    order = 0 if mode != "economic" and shape[-2] > shape[-1] else 2
    check_like_jax(*both(lambda m, x: m.qr(x, mode=mode)), dominant(*shape), order=order)
    if mode == "r":
        graphad.check_grads(lambda x: ours.qr(x, mode="r")[0], (dominant(*shape),), order=2)


@pytest.mark.parametrize("shape", MATRICES, ids=str)
def test_svd(shape):
    def squared(m, x):
        u, s, vh = m.svd(x, full_matrices=False)
        return u * u, s, vh * vh

    check_like_jax(*both(squared), dominant(*shape))
    check_like_jax(*both(lambda m, x: m.svd(x, compute_uv=False)), dominant(*shape))
    check_like_jax(*both(lambda m, x: m.svd(x)[1]), dominant(*shape), order=0)
    assert [y.shape for y in ours.svd(normal(*shape))] == [y.shape for y in np.linalg.svd(normal(*shape))]


@pytest.mark.parametrize("shape", every(2, SQUARES), ids=str)
def test_eigh(shape):
    def squared(m, x):
        w, v = m.eigh(x)
        return w, v * v

    check_like_jax(*both(squared), dominant(*shape))
    check_like_jax(*both(lambda m, x: m.eigh(x, eigvals_only=True)), dominant(*shape))


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("shape", every(2, [(4, 4), (1, 1), (2, 3, 3)]), ids=str)
def test_generalized_eigh(shape, lower, kind):
    a, b = dominant(*shape), positive(*shape) + 0.1 * normal(*shape)
    w, v = ours.eigh(a, b, lower=lower, type=kind)
    expected, vectors = each(lambda a, b: theirs.eigh(a, b, lower=lower, type=kind), a, b)
    close(w, expected, 1e-10)
    close(v * v, vectors * vectors, 1e-9)
    close(ours.eigh(a, b, lower=lower, type=kind, eigvals_only=True), w, 1e-12)

    def squared(a, b):
        w, v = ours.eigh(a, b, lower=lower, type=kind)
        return w, v * v

    graphad.check_grads(squared, (a, b), order=2)
    found = graphad.vmap(squared, in_axes=(0, None))(np.stack([a, 2 * a]), b)
    close(found[0], np.stack([expected, 2 * expected]), 1e-9)
    for wrap in (lambda f: f, graphad.jit):
        narrow = wrap(squared)(a.astype(np.float32), b.astype(np.float32))
        close(narrow[0], expected, 2e-4)


def test_generalized_eigh_broadcasts():
    a, b = dominant(2, 3, 3), positive(3, 3)
    close(ours.eigh(a, b)[0], np.stack([ours.eigh(x, b)[0] for x in a]), 1e-12)
    assert [y.shape for y in ours.eigh(np.ones((0, 2, 2)), np.eye(2))] == [(0, 2), (0, 2, 2)]
    assert np.isnan(ours.eigh(a, -b)[0]).all()


def test_dtypes():
    x = np.array([[4, 1], [1, 3]])
    for dtype, wide in ((np.int32, np.float32), (np.float16, np.float16), (np.float32, np.float32)):
        for function in (ours.cholesky, ours.lu, ours.lu_factor, ours.qr, ours.svd, ours.eigh):
            found = function(x.astype(dtype))
            for y in found if isinstance(found, tuple) else (found,):
                assert y.dtype in (wide, np.int32), function.__name__
    for function in (gnp.linalg.eigh, gnp.linalg.qr, gnp.linalg.svd, gnp.linalg.slogdet):
        found = function(x.astype(np.float16))
        assert type(found) is type(function(x.astype(np.float32)))
        assert all(y.dtype == np.float16 for y in found)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite(bad):
    """Stays with its matrix."""
    x = np.stack([np.array([[bad, 1.0], [1.0, 2.0]]), np.eye(2)])
    for function in (ours.cholesky, ours.lu, ours.qr, ours.svd, ours.eigh):
        found = function(x)
        found = found if isinstance(found, tuple) else (found,)
        assert all(np.isfinite(y[1]).all() for y in found), function.__name__
        assert not all(np.isfinite(y[0]).all() for y in found), function.__name__


X = np.ones((2, 2))
WRONG = {
    "a vector": (lambda: ours.lu(np.ones(3)), r"lu takes matrices, \(..., m, n\), not f64\[3\]"),
    "not square": (lambda: ours.cholesky(np.ones((2, 3))), r"cholesky takes square matrices, .* of shape \(2, 3\)"),
    "a mode": (lambda: ours.qr(X, mode="reduced"), "qr takes mode='full', 'economic' or 'r', not 'reduced'"),
    "pivoting": (lambda: ours.qr(X, pivoting=True), "Leave out pivoting=True"),
    "a type": (lambda: ours.eigh(X, type=4), "eigh takes type=1, 2 or 3, not 4"),
    "some eigenvalues": (lambda: ours.eigh(X, eigvals=(0, 1)), "Leave out eigvals"),
    "two sizes": (lambda: ours.eigh(X, np.eye(3)), r"shapes \(2, 2\) and \(3, 3\); they must be as large"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_uses(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=r"test_factorizations.py:\d+: .*" + message):
        call()


def test_the_last_columns_have_no_derivative():
    for function in (ours.qr, ours.svd):
        message = rf"test_factorizations.py:\d+\)?: {function.__name__} of f64\[4,2\] .* has no derivative, .* Ask for"
        with pytest.raises(DifferentiationError, match=message):
            graphad.jacfwd(lambda x, f=function: f(x)[0])(normal(4, 2))
