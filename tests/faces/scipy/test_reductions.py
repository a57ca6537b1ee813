"""Schur and Hessenberg decompositions in `graphad.scipy.linalg` and `graphad.lax.linalg`.

JAX has no derivatives of them: these are held against differences in 50 digits, and against what decompositions fulfil.
"""

from __future__ import annotations

import jax
import mpmath
import numpy as np
import pytest
import scipy.linalg as theirs

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg as ours
from graphad.errors import DifferentiationError
from graphad.lax import linalg as lax_linalg
from tests.faces.derived import check_like_jax

RNG = np.random.default_rng(29)
#: Pairs of conjugate eigenvalues: those of the first two rows, then of the last two.
TURNING = np.array([[1.0, 3.0, 0.3, -0.2], [-1.5, 1.2, 0.5, 0.4], [0.2, -0.1, 6.0, 2.5], [0.1, 0.3, -0.9, 6.4]])


def apart(*shape):
    """Matrices with real eigenvalues far from each other."""
    return RNG.normal(size=shape) + 3 * np.eye(shape[-1]) * np.arange(1, shape[-1] + 1)


def mixed(n):
    """A matrix with real and complex eigenvalues, all far from each other."""
    x = 0.3 * RNG.normal(size=(n, n)) + np.diag(2.0 * np.arange(n) // 2 * 2)
    for i in range(0, n - 1, 3):
        x[i, i + 1], x[i + 1, i] = x[i, i + 1] + 2, x[i + 1, i] - 1
    return x


def refined(a, z, t):
    """The decomposition near ``z`` and ``t`` of a matrix of `mpmath`, by Newton's method with the definition alone."""
    n = len(t)
    blocks = [i for i in range(n - 1) if t[i + 1, i] != 0]
    below = [(i, j) for i in range(n) for j in range(i) if not (i == j + 1 and j in blocks)]
    count = n * n

    def conditions(z):
        inner = z.T * a * z
        gram = z.T * z
        found = [gram[i, j] - (i == j) for i in range(n) for j in range(i + 1)]
        return found + [inner[i, j] for i, j in below] + [inner[i, i] - inner[i + 1, i + 1] for i in blocks]

    z = mpmath.matrix(z.tolist())
    for _ in range(7):
        value = conditions(z)
        slopes = mpmath.matrix(count, count)
        for k in range(count):
            moved = z.copy()
            moved[k // n, k % n] += mpmath.mpf(10) ** -25
            for row, (high, low) in enumerate(zip(conditions(moved), value, strict=True)):
                slopes[row, k] = (high - low) * mpmath.mpf(10) ** 25
        step = mpmath.lu_solve(slopes, mpmath.matrix(value))
        for k in range(count):
            z[k // n, k % n] -= step[k]
    return z, z.T * a * z


@pytest.mark.parametrize("a", [apart(3, 3), TURNING, mixed(3)], ids=["real", "complex", "mixed"])
def test_derivatives_of_schur_are_differences_in_50_digits(a):
    direction = RNG.normal(size=a.shape)
    (t, z), (dt, dz) = graphad.jvp(ours.schur, (a,), (direction,))
    z, t = np.asarray(z), np.asarray(t)
    with mpmath.workdps(50):
        h = mpmath.mpf(10) ** -12
        exact, along = mpmath.matrix(a.tolist()), mpmath.matrix(direction.tolist())
        (high_z, high_t), (low_z, low_t) = [refined(exact + s * h * along, z, t) for s in (1, -1)]
        for found, high, low in ((dz, high_z, low_z), (dt, high_t, low_t)):
            expected = np.array(((high - low) / (2 * h)).tolist(), dtype=np.float64)
            np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("a", [apart(1, 1), apart(5, 5), TURNING, mixed(7), apart(2, 0, 0), apart(2, 3, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_schur(a, dtype):
    a = a.astype(dtype)
    for t, z in (ours.schur(a), graphad.jit(ours.schur)(a), lax_linalg.schur(a), graphad.vmap(ours.schur)(a[None])):
        t, z = [np.asarray(x).reshape(a.shape) for x in (t, z)]
        assert t.dtype == z.dtype == dtype
        for at in np.ndindex(*a.shape[:-2]):
            x, tt, zz = a[at], t[at], z[at]
            if not x.size:
                continue
            expected, vectors = theirs.schur(x)
            np.testing.assert_allclose(zz @ tt @ zz.T, x, atol=300 * np.finfo(dtype).eps * np.abs(x).max())
            np.testing.assert_allclose(np.diag(tt), np.diag(expected), atol=2e-5 if dtype == np.float32 else 1e-11)
            blocks = np.diag(tt, -1) != 0
            assert (blocks == (np.diag(expected, -1) != 0)).all()
            alone = [i for i in range(len(x)) if not blocks[max(i - 1, 0) : i + 1].any()]
            np.testing.assert_allclose(np.abs(zz[:, alone]), np.abs(vectors[:, alone]), atol=2e-4)
    assert (np.asarray(lax_linalg.schur(a, compute_schur_vectors=False)[0]) == np.asarray(ours.schur(a)[0])).all()


@pytest.mark.parametrize("a", [apart(4, 4), TURNING, mixed(5), apart(2, 3, 3)])
def test_schur_is_differentiable_in_every_mode(a):
    graphad.check_grads(ours.schur, (a,), order=2)

    def total(x):
        return sum(gnp.sum(gnp.sin(y)) for y in ours.schur(x))

    graphad.check_vmap(graphad.grad(total), (np.stack([a, 1.1 * a]),))


def test_functions_that_do_not_depend_on_the_basis():
    """Whatever the vectors, the matrix comes back, and the sum of squared eigenvalues is a trace."""
    a = mixed(5)

    def back(x):
        t, z = ours.schur(x)
        return z @ t @ z.T

    np.testing.assert_allclose(graphad.jacrev(back)(a).reshape(25, 25), np.eye(25), atol=1e-12)

    def squares(x):
        t, _ = ours.schur(x)
        return gnp.trace(t @ t)

    np.testing.assert_allclose(graphad.grad(squares)(a), 2 * a.T, atol=1e-12)
    np.testing.assert_allclose(graphad.hessian(squares)(a), graphad.hessian(lambda x: gnp.trace(x @ x))(a), atol=1e-9)


def test_schur_of_what_has_no_smooth_one():
    a = np.stack([np.full((2, 2), np.nan), [[1.0, np.inf], [0.0, 1.0]], [[2.0, 1.0], [0.0, 3.0]]])
    t, z = ours.schur(a)
    assert np.isnan(t).any(axis=(1, 2)).tolist() == np.isnan(z).any(axis=(1, 2)).tolist() == [True, True, False]
    for x in (np.eye(2), np.array([[1.0, 2.0], [-2.0, 1.0]])):
        (_, dz) = graphad.jvp(ours.schur, (x,), (np.array([[1.0, 2.0], [4.0, 7.0]]),))[1]
        assert not np.isfinite(np.asarray(dz)).all()


@pytest.mark.parametrize("n", [40, 130])
def test_larger_matrices(n):
    """By what derivatives of ``a == q @ x @ q.T`` and ``q.T @ q == 1`` fulfil; blocks of reflectors from 128 on."""
    a, direction = RNG.normal(size=(n, n)), RNG.normal(size=(n, n))
    for function in (ours.schur, lambda a: ours.hessenberg(a, calc_q=True)):
        found = graphad.jit(lambda a, t, f=function: graphad.jvp(f, (a,), (t,)))(a, direction)
        (x, q), (dx, dq) = [[np.asarray(y) for y in pair] for pair in found]
        scale = np.abs(dq).max() * n
        np.testing.assert_allclose(q @ x @ q.T, a, atol=1e-12)
        np.testing.assert_allclose((dq @ x @ q.T + q @ dx @ q.T + q @ x @ dq.T - direction) / scale, 0, atol=1e-12)
        np.testing.assert_allclose((q.T @ dq + dq.T @ q) / scale, 0, atol=1e-13)
        assert (dx[(x == 0) & (np.tri(n, k=-1) > 0)] == 0).all()
        pulled = graphad.jit(lambda a, f=function: graphad.grad(lambda a: sum(gnp.sum(y**3) for y in f(a)))(a))(a)
        np.testing.assert_allclose(np.sum(pulled * direction), 3 * np.sum(x**2 * dx) + 3 * np.sum(q**2 * dq), rtol=1e-6)


def test_wrong_uses_of_schur():
    with pytest.raises(ValueError, match="no complex numbers"):
        ours.schur(np.eye(2), output="complex")
    with pytest.raises(ValueError, match="output='real' or 'complex', not 'r'"):
        ours.schur(np.eye(2), output="r")
    with pytest.raises(ValueError, match="does not sort eigenvalues"):
        lax_linalg.schur(np.eye(2), sort_eig_vals=True)
    with pytest.raises(ValueError, match="square"):
        ours.schur(np.ones((2, 3)))


# ---------------------------------------------------------------------------------------------------------------------
# Hessenberg forms


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (6, 6), (0, 0), (2, 4, 4), (0, 3, 3), (2, 0, 0)], ids=str)
def test_hessenberg(shape):
    a = RNG.normal(size=shape)
    check_like_jax(lambda x: ours.hessenberg(x), jax.scipy.linalg.hessenberg, a, order=0)
    check_like_jax(
        lambda x: ours.hessenberg(x, calc_q=True), lambda x: jax.scipy.linalg.hessenberg(x, calc_q=True), a, order=0
    )
    check_like_jax(lax_linalg.hessenberg, jax.lax.linalg.hessenberg, a, order=0) if shape[-1] else None
    if len(shape) == 2 and shape[0]:
        expected = theirs.hessenberg(a, calc_q=True)
        for found, wanted in zip(ours.hessenberg(a, calc_q=True), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-12)


def exact_hessenberg(a):
    """By reflectors, in the numbers of `mpmath`, with LAPACK's signs."""
    n = a.rows
    h, q = a.copy(), mpmath.eye(n)
    for k in range(n - 2):
        v = mpmath.matrix(n, 1)
        for i in range(k + 1, n):
            v[i] = h[i, k]
        v[k + 1] += mpmath.sign(v[k + 1]) * mpmath.norm(v)
        reflector = mpmath.eye(n) - 2 / mpmath.norm(v) ** 2 * v * v.T
        h, q = reflector * h * reflector, q * reflector
    return h, q


def test_derivatives_of_hessenberg_are_differences_in_50_digits():
    a, direction = RNG.normal(size=(5, 5)), RNG.normal(size=(5, 5))
    found = graphad.jvp(lambda x: ours.hessenberg(x, calc_q=True), (a,), (direction,))[1]
    with mpmath.workdps(50):
        step = mpmath.mpf(10) ** -15
        x, t = mpmath.matrix(a.tolist()), mpmath.matrix(direction.tolist())
        for mine, high, low in zip(found, exact_hessenberg(x + step * t), exact_hessenberg(x - step * t), strict=True):
            expected = np.array(((high - low) / (2 * step)).tolist(), dtype=np.float64)
            np.testing.assert_allclose(np.asarray(mine), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 3), (1, 1), (2, 2)], ids=str)
def test_hessenberg_is_differentiable_in_every_mode(shape):
    a = RNG.normal(size=shape)
    graphad.check_grads(lambda x: ours.hessenberg(x, calc_q=True), (a,), order=2)

    def total(x):
        return sum(gnp.sum(gnp.sin(y)) for y in ours.hessenberg(x, calc_q=True))

    graphad.check_vmap(graphad.grad(total), (np.stack([a, 1.1 * a]),))
    np.testing.assert_allclose(graphad.jit(graphad.grad(total))(a), graphad.grad(total)(a), rtol=1e-12)


def test_hessenberg_of_what_has_no_smooth_one():
    x = np.eye(4) + 0.0
    assert not np.isfinite(graphad.jacfwd(lambda a: ours.hessenberg(a, calc_q=True)[1])(x)).all()
    with pytest.raises(DifferentiationError, match=r"Use scipy.linalg.hessenberg\(a, calc_q=True\)"):
        graphad.grad(lambda a: lax_linalg.hessenberg(a)[0].sum())(x)


# ---------------------------------------------------------------------------------------------------------------------
# Products of reflectors


@pytest.mark.parametrize(
    ("shape", "k"), [((4, 3), 2), ((3, 3), 3), ((2, 5, 2), 2), ((3, 2), 0), ((0, 0), 0), ((1, 1), 1)]
)
def test_householder_product(shape, k):
    """Against JAX, and where it has no derivatives, against those of reflectors that are applied one by one."""
    a, taus = RNG.normal(size=shape), RNG.normal(size=(*shape[:-2], k)) / 2
    if a.size:
        check_like_jax(lax_linalg.householder_product, jax.lax.linalg.householder_product, a, taus, order=0)

    def one_by_one(a, taus):
        q = jax.numpy.broadcast_to(jax.numpy.eye(*a.shape[-2:], dtype=a.dtype), a.shape)
        for i in reversed(range(k)):
            v = jax.numpy.tril(a, -1)[..., i] + jax.numpy.eye(a.shape[-2], dtype=a.dtype)[i]
            q = q - taus[..., i, None, None] * v[..., None] * (v[..., None, :] @ q)
        return q

    check_like_jax(lax_linalg.householder_product, one_by_one, a, taus)


def test_wrong_uses_of_reflectors():
    with pytest.raises(ValueError, match="as many rows as columns"):
        lax_linalg.householder_product(np.ones((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="then 2 elements or less"):
        lax_linalg.householder_product(np.ones((3, 2)), np.ones(3))
    with pytest.raises(TypeError, match="dtypes must be equal"):
        lax_linalg.householder_product(np.ones((3, 2)), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="square"):
        lax_linalg.hessenberg(np.ones((3, 2)))


@pytest.mark.parametrize(
    ("module", "name", "remedy"),
    [
        (gnp.linalg, "eig", r"eigh for symmetric matrices.*np\.linalg\.eig\(np\.asarray\(a\)\)"),
        (gnp.linalg, "eigvals", r"eigvalsh for symmetric.*np\.linalg\.eigvals\(np\.asarray\(a\)\)"),
        (ours, "eig", "eigh for symmetric matrices"),
        (ours, "rsf2csf", r"scipy\.linalg\.rsf2csf\(np\.asarray\(t\), np\.asarray\(z\)\)"),
        (lax_linalg, "eig", "outside traced functions"),
    ],
)
def test_functions_with_complex_results_say_what_to_use(module, name, remedy):
    with pytest.raises(AttributeError, match=rf"{module.__name__} has no {name}: its results are complex.*{remedy}"):
        getattr(module, name)
    with pytest.raises(AttributeError, match=rf"module '{module.__name__}' has no attribute 'eigg'"):
        module.eigg
    assert name not in dir(module)
