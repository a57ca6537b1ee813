"""Sylvester equations, square roots and functions of matrices in `graphad.scipy.linalg`, against SciPy and JAX."""

from __future__ import annotations

import jax
import mpmath
import numpy as np
import pytest
import scipy.linalg as theirs

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg as ours
from tests.compose.tools import close
from tests.faces.derived import check_like_jax

RNG = np.random.default_rng(31)


def normal(*shape):
    return RNG.normal(size=shape)


def rotating(*shape):
    """Matrices with complex eigenvalues, of which the real parts are positive."""
    return normal(*shape) + 3 * np.eye(shape[-1])


def kronecker(a, b, c):
    """The solution of a Sylvester equation by JAX, as one system of its elements."""
    m, n = c.shape[-2:]
    one = jax.numpy.eye
    stacked = jax.numpy.vectorize(
        lambda a, b, c: jax.numpy.linalg.solve(
            jax.numpy.kron(a, one(n)) + jax.numpy.kron(one(m), b.T), c.reshape(-1)
        ).reshape(m, n),
        signature="(m,m),(n,n),(m,n)->(m,n)",
    )
    return stacked(a, b, c)


@pytest.mark.parametrize(
    "shapes",
    [((3, 3), (2, 2), (3, 2)), ((1, 1), (4, 4), (1, 4)), ((2, 3, 3), (2, 2), (1, 3, 2)), ((5, 5), (3, 3), (5, 3))],
    ids=str,
)
def test_solve_sylvester(shapes):
    a, b, c = [normal(*s) for s in shapes]
    a = a + 4 * np.eye(a.shape[-1])
    check_like_jax(ours.solve_sylvester, kronecker, a, b, c)
    if len(shapes[0]) == 2:
        close(ours.solve_sylvester(a, b, c), theirs.solve_sylvester(a, b, c), 1e-12)


def test_solve_sylvester_where_eigenvalues_are_equal_or_opposite():
    """Derivatives are those of solutions: Schur decompositions of these matrices have none."""
    a, c = np.array([[2.0, 1.0], [0.0, 2.0]]), normal(2, 2)
    graphad.check_grads(ours.solve_sylvester, (a, np.eye(2), c), order=2)
    b = np.stack([-a, np.eye(2), np.array([[-2.0, 1e-9], [0.0, 5.0]])])
    found = ours.solve_sylvester(a, b, c)
    assert np.isnan(found).any(axis=(1, 2)).tolist() == np.isnan(found).all(axis=(1, 2)).tolist() == [True, False, True]
    assert np.isnan(graphad.grad(lambda b: ours.solve_sylvester(a, b, c).sum())(-a)).all()
    assert np.isfinite(ours.solve_sylvester(a, -a * 1.01, c, tol=1e-3)).all()
    assert np.isnan(ours.solve_sylvester(a, -a * 1.01, c, tol=0.1)).all()
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert np.isnan(ours.solve_sylvester(turn, turn, c)).all()
    close(ours.solve_sylvester(turn, 2 * turn, c), theirs.solve_sylvester(turn, 2 * turn, c), 1e-13)


@pytest.mark.parametrize("shapes", [((0, 0), (2, 2), (0, 2)), ((2, 2), (0, 0), (2, 0)), ((0, 2, 2), (1, 1), (2, 1))])
def test_solve_sylvester_of_nothing(shapes):
    assert ours.solve_sylvester(*[np.ones(s) for s in shapes]).size == 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (6, 6), (2, 4, 4), (0, 0), (0, 2, 2), (2, 0, 0)], ids=str)
def test_sqrtm(shape):
    a = rotating(*shape)
    found = np.asarray(ours.sqrtm(a))
    for at in np.ndindex(*shape[:-2]):
        if found[at].size:
            close(found[at], theirs.sqrtm(a[at]), 1e-11)
    close(found @ found, a, 1e-12)
    close(graphad.jit(ours.sqrtm)(a), found, 1e-13)
    close(graphad.vmap(ours.sqrtm)(np.stack([a, 2 * a])), np.stack([found, found * np.sqrt(2)]), 1e-12)
    single = ours.sqrtm(a.astype(np.float32))
    assert single.dtype == np.float32
    close(single, found, 1e-4)
    if a.size:
        graphad.check_grads(ours.sqrtm, (a,), order=2)
        graphad.check_vmap(graphad.grad(lambda x: gnp.sum(gnp.sin(ours.sqrtm(x)))), (np.stack([a, 2 * a]),))


def test_derivatives_of_sqrtm_are_differences_in_50_digits():
    a, t = rotating(5, 5), normal(5, 5)
    found = graphad.jvp(ours.sqrtm, (a,), (t,))[1]
    second = graphad.jvp(lambda x: graphad.jvp(ours.sqrtm, (x,), (t,))[1], (a,), (t,))[1]
    with mpmath.workdps(50):
        h = mpmath.mpf(10) ** -12
        x, along = mpmath.matrix(a.tolist()), mpmath.matrix(t.tolist())
        low, middle, high = [mpmath.sqrtm(x + s * h * along) for s in (-1, 0, 1)]
        for mine, expected in ((found, (high - low) / (2 * h)), (second, (high - 2 * middle + low) / h**2)):
            close(mine, np.array((expected).apply(mpmath.re).tolist(), np.float64), 1e-10)


def test_sqrtm_where_eigenvalues_are_equal_or_negative():
    jordan = np.array([[4.0, 1.0, 0.0], [0.0, 4.0, 1.0], [0.0, 0.0, 4.0]])
    for x in (jordan, np.eye(3)):
        graphad.check_grads(ours.sqrtm, (x,), order=2)
    a = np.stack([-np.eye(2), np.eye(2), np.diag([2.0, -3.0]), np.full((2, 2), np.nan)])
    found = ours.sqrtm(a)
    assert np.isnan(found).all(axis=(1, 2)).tolist() == [True, False, True, True]
    assert np.isnan(graphad.grad(lambda x: ours.sqrtm(x).sum())(a[2])).all()
    back = np.array([[-1.0, 1e-3], [-1e-3, -1.0]])  # near the negative axis, where the root is still real
    for root in (ours.sqrtm(back), graphad.jit(ours.sqrtm)(back)):
        close(root, theirs.sqrtm(back), 1e-12)
        close(root @ root, back, 1e-12)


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_funm(n):
    """Of matrices with real eigenvalues; JAX's result is complex."""
    x = normal(n, n)
    a = x @ np.diag(1.0 + np.arange(n)) @ np.linalg.inv(x)
    for mine, other in ((gnp.exp, jax.numpy.exp), (lambda v: v * v + gnp.sin(v), lambda v: v * v + jax.numpy.sin(v))):
        with jax.enable_x64(True):
            expected = np.asarray(jax.scipy.linalg.funm(jax.numpy.asarray(a), other).real)
        for run in (ours.funm, graphad.jit(ours.funm, static_argnums=1)):
            close(run(a, mine), expected, 1e-8)
    if n < 7:
        graphad.check_grads(lambda x: ours.funm(x, gnp.sin), (a,), order=2)
        direction = normal(n, n)
        mine = graphad.jvp(lambda x: ours.funm(x, gnp.exp), (a,), (direction,))
        for found, wanted in zip(mine, theirs.expm_frechet(a, direction), strict=True):
            close(found / np.abs(wanted).max(), wanted / np.abs(wanted).max(), 1e-8)
    value, error = ours.funm(a, gnp.exp, disp=False)
    close(error, theirs.funm(a, np.exp, disp=False)[1], 1e-12)
    close(value, ours.funm(a, gnp.exp), 0)


def test_larger_matrices():
    """Gradients of solutions are solutions of transposed equations."""
    n, m = 40, 33
    a, b, c = normal(n, n) / 6 + 2 * np.eye(n), normal(m, m) / 6 + 2 * np.eye(m), normal(n, m)
    x, y = theirs.solve_sylvester(a, b, c), theirs.solve_sylvester(a.T, b.T, np.ones((n, m)))
    close(graphad.jit(ours.solve_sylvester)(a, b, c), x, 1e-12)
    found = graphad.jit(graphad.grad(lambda *xs: gnp.sum(ours.solve_sylvester(*xs)), (0, 1, 2)))(a, b, c)
    for mine, wanted in zip(found, (-y @ x.T, -x.T @ y, y), strict=True):
        close(mine, wanted, 1e-11)
    root = theirs.sqrtm(a)
    close(graphad.jit(ours.sqrtm)(a), root, 1e-12)
    pulled = graphad.jit(graphad.grad(lambda a: gnp.sum(ours.sqrtm(a))))(a)
    close(pulled, theirs.solve_sylvester(root.T, root.T, np.ones((n, n))), 1e-11)
    turn = theirs.qr(normal(n, n))[0]
    even = turn @ (np.diag(1 + np.arange(n) / 4) + np.triu(normal(n, n), 1) / 9) @ turn.T
    close(graphad.jit(lambda a: ours.funm(a, gnp.exp))(even) / 1e4, theirs.expm(even) / 1e4, 1e-8)


def test_funm_of_what_is_complex_or_empty():
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert np.isnan(ours.funm(turn, gnp.exp)).all()
    assert np.isnan(graphad.grad(lambda x: ours.funm(x, gnp.exp).sum())(turn)).all()
    assert ours.funm(np.ones((0, 0)), gnp.exp).shape == (0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ours.solve_sylvester(np.eye(2), np.eye(3), np.ones((3, 2))), r"must be \(\.\.\., 2, 3\)"),
        (lambda: ours.solve_sylvester(np.ones((2, 3)), np.eye(3), np.ones((2, 3))), "square"),
        (lambda: ours.solve_sylvester(np.eye(2), np.eye(2), np.eye(2), method="qr"), "method='schur' or 'eigen'"),
        (lambda: ours.sqrtm(np.ones((2, 3))), "square"),
        (lambda: ours.funm(np.ones((2, 2, 2)), gnp.exp), "one square matrix"),
        (lambda: ours.funm(np.eye(2), gnp.sum), "one number for each"),
    ],
)
def test_wrong_uses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
