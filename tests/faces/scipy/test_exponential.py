"""The exponential of matrices, and polar decompositions, in `graphad.scipy.linalg`."""

from __future__ import annotations

import jax.numpy as jnp
import jax.scipy.linalg as jax_linalg
import mpmath
import numpy as np
import pytest
import scipy.linalg as theirs

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg as ours
from tests.compose.tools import close
from tests.faces.derived import check_like_jax
from tests.thinned import every

RNG = np.random.default_rng(31)
SQUARES = [(1, 1), (0, 0), (2, 4, 4), (0, 2, 2), (2, 0, 0)]
MATRICES = [(3, 3), (1, 1), (2, 4), (2, 3, 2), (0, 0), (0, 3), (3, 0), (0, 2, 2)]
NORMS = [1e-9, 0.1, 0.9, 3.0, 5.4, 11.0, 90.0]


def normal(*shape):
    return RNG.normal(size=shape)


def of_norm(norm, *shape):
    """Matrices with that 1-norm, and eigenvalues that do not make the exponential overflow."""
    x = normal(*shape)
    x = x - np.swapaxes(x, -1, -2) + 0.1 * normal(*shape)
    return x * (norm / np.abs(x).sum(axis=-2).max(axis=-1, keepdims=True)[..., None])


def exact(x):
    """To 50 digits, by mpmath."""
    with mpmath.workdps(50):
        return np.array(mpmath.expm(mpmath.matrix(x.tolist()), method="taylor").tolist(), dtype=np.float64)


def check_relative(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0.0) <= tolerance * np.abs(expected).max(initial=1e-30)


@pytest.mark.parametrize("norm", NORMS)
def test_accuracy(norm):
    for n in (1, 2, 5):
        x = of_norm(norm if n > 1 else min(norm, 30.0), n, n)
        for wrap in (lambda f: f, graphad.jit):
            check_relative(wrap(ours.expm)(x), exact(x), 5e-15 * max(norm, 4))
            single = x.astype(np.float32)
            found = wrap(ours.expm)(single)
            assert found.dtype == np.float32
            check_relative(found, exact(single.astype(np.float64)), 1e-6 * max(norm, 4))


def test_known_exponentials():
    close(ours.expm(np.zeros((3, 3))), np.eye(3), 0.0)
    close(ours.expm(np.diag([1.0, -2.0, 30.0])), np.diag(np.exp([1.0, -2.0, 30.0])), 1e-13)
    nilpotent = np.diag([1.0, 2.0, 3.0], 1) * 100
    expected = sum(np.linalg.matrix_power(nilpotent, k) / np.prod(range(1, k + 1)) for k in range(4))
    close(ours.expm(nilpotent), expected, 1e-12)
    turn = np.array([[0.0, -np.pi / 3], [np.pi / 3, 0.0]])
    close(ours.expm(turn), [[0.5, -(0.75**0.5)], [0.75**0.5, 0.5]], 1e-14)


@pytest.mark.parametrize("triangular", every(2, [False, True]))
@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_expm_like_jax(shape, triangular):
    x = 2 * normal(*shape)
    f = lambda m: lambda x: m.expm(x, upper_triangular=triangular)
    if triangular:
        check_like_jax(f(ours), f(jax_linalg), np.triu(x), order=0, tolerance=1e-8)
        check_like_jax(f(ours), lambda x: jax_linalg.expm(jnp.triu(x)), x, tolerance=1e-8)
    else:
        check_like_jax(f(ours), f(jax_linalg), x, tolerance=1e-8)


def test_each_matrix_of_a_stack_is_squared_as_often_as_it_needs():
    x = np.stack([of_norm(norm, 4, 4) for norm in NORMS])
    expected = np.stack([exact(matrix) for matrix in x])
    for wrap in (lambda f: f, graphad.jit, graphad.vmap):
        for found, y in zip(wrap(ours.expm)(x), expected, strict=True):
            check_relative(found, y, 1e-12)
    weights = normal(*x.shape)
    slope = lambda x, w: gnp.sum(w * ours.expm(x))
    alone = np.stack([graphad.grad(slope)(*pair) for pair in zip(x, weights, strict=True)])
    close(graphad.grad(slope)(x, weights), alone, 1e-9)
    close(graphad.vmap(graphad.grad(slope))(x, weights), alone, 1e-9)
    close(graphad.jit(graphad.vmap(graphad.grad(slope)))(x, weights), alone, 1e-9)


@pytest.mark.parametrize("scale", [0.3, 6.0])
def test_derivatives_along_a_ray(scale):
    """Of ``expm(t * a)`` by ``t``: ``a`` to a power, times it; in any mode, to a high order."""
    a = scale * normal(3, 3)
    f = lambda t: gnp.sum(ours.expm(t * a))
    modes = (graphad.grad, lambda f: lambda t: graphad.jvp(f, (t,), (np.float64(1.0),))[1])
    orders = [[0, 0, 0], [1, 1, 1, 1], [0, 1, 0], [1, 0]]
    for order in orders:
        g = f
        for k, mode in enumerate(order):
            g = modes[mode](g)
            expected = np.sum(np.linalg.matrix_power(a, k + 1) @ theirs.expm(0.7 * a))
            np.testing.assert_allclose(float(g(np.float64(0.7))), expected, rtol=1e-9)
        np.testing.assert_allclose(float(graphad.jit(g)(np.float64(0.7))), expected, rtol=1e-9)


def test_gradients():
    graphad.check_grads(ours.expm, (normal(3, 3),), order=2)
    graphad.check_grads(ours.expm, (of_norm(12.0, 3, 3),), order=2)
    graphad.check_grads(ours.expm, (np.zeros((2, 2)),), order=2)


def test_too_many_squarings():
    x = np.diag([100.0, -100.0])
    assert np.isnan(ours.expm(x, max_squarings=4)).all()
    close(ours.expm(x, max_squarings=5), np.diag(np.exp([100.0, -100.0])), 1e-12)
    close(ours.expm(np.eye(2), max_squarings=0), np.e * np.eye(2), 1e-14)
    found = ours.expm(np.stack([x, np.eye(2)]), max_squarings=4)
    assert np.isnan(found[0]).all()
    close(found[1], np.e * np.eye(2), 1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(bad):
    x = np.stack([np.array([[bad, 0.0], [1.0, 2.0]]), np.eye(2)])
    for wrap in (lambda f: f, graphad.jit, graphad.vmap):
        found = wrap(ours.expm)(x)
        assert np.isnan(found[0]).all()
        close(found[1], np.e * np.eye(2), 1e-14)
    slope = graphad.grad(lambda x: gnp.sum(ours.expm(x)))(x)
    assert np.isnan(slope[0]).all()
    assert np.isfinite(slope[1]).all()


# ---------------------------------------------------------------------------------------------------------------------
# Fréchet derivatives


@pytest.mark.parametrize("shape", [(3, 3), (0, 0)], ids=str)
def test_expm_frechet_like_jax(shape):
    f = lambda m: lambda a, e: m.expm_frechet(a, e)
    check_like_jax(f(ours), f(jax_linalg), normal(*shape), normal(*shape), tolerance=1e-8)
    only = lambda m: lambda a, e: m.expm_frechet(a, e, compute_expm=False)
    check_like_jax(only(ours), only(jax_linalg), normal(*shape), normal(*shape), order=0, tolerance=1e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_expm_frechet_is_a_block(norm):
    a, e = of_norm(norm, 2, 3, 3), normal(2, 3, 3)
    value, rate = ours.expm_frechet(a, e)
    for k in range(2):
        block = exact(np.block([[a[k], e[k]], [np.zeros((3, 3)), a[k]]]))
        check_relative(value[k], block[:3, :3], 1e-12)
        check_relative(rate[k], block[:3, 3:], 1e-12)
        close(rate[k], theirs.expm_frechet(a[k], e[k], compute_expm=False), 1e-10)


# ---------------------------------------------------------------------------------------------------------------------
# Polar decompositions


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("shape", MATRICES, ids=str)
def test_polar(shape, side):
    x = normal(*shape) + np.eye(*shape[-2:])
    f = lambda m: lambda x: m.polar(x, side, method="svd")
    if x.size:
        check_like_jax(f(ours), f(jax_linalg), x, tolerance=1e-8)
    u, p = ours.polar(x, side)
    close(np.matmul(u, p) if side == "right" else np.matmul(p, u), x, 1e-12)
    if len(shape) == 2 and x.size:
        for found, expected in zip((u, p), theirs.polar(x, side), strict=True):
            close(found, expected, 1e-12)


@pytest.mark.parametrize("side", ["right", "left"])
def test_polar_of_equal_singular_values(side):
    """Derivatives of singular vectors do not exist, but these do."""
    turn = np.linalg.qr(normal(3, 3))[0]
    for x in (np.eye(3), turn, 2 * turn[:, :2], turn[:2]):
        graphad.check_grads(lambda x: ours.polar(x, side), (x,), order=2)
    rate = graphad.jvp(lambda x: ours.polar(x)[0], (np.eye(3),), (e := normal(3, 3),))[1]
    close(rate, (e - e.T) / 2, 1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_polar_of_what_is_not_finite(bad):
    u, p = ours.polar(np.stack([np.array([[bad, 0.0], [1.0, 2.0]]), np.eye(2)]))
    assert np.isnan(u[0]).all()
    assert np.isnan(p[0]).all()
    close(u[1], np.eye(2), 1e-14)


def test_dtypes():
    x = np.array([[2, 1], [0, 1]])
    for dtype, wide in ((np.int32, np.float32), (np.float16, np.float16), (np.float32, np.float32)):
        found = (ours.expm(x.astype(dtype)), *ours.polar(x.astype(dtype)), *ours.expm_frechet(*[x.astype(dtype)] * 2))
        assert {y.dtype for y in found} == {np.dtype(wide)}
    close(ours.expm(x.astype(np.float16)), theirs.expm(x), 1e-3)


X = np.eye(2)
WRONG = {
    "not square": (lambda: ours.expm(np.ones((2, 3))), r"expm takes square matrices, .* of shape \(2, 3\)"),
    "squarings": (lambda: ours.expm(X, max_squarings=-1), "max_squarings=0 or more, not -1"),
    "two shapes": (lambda: ours.expm_frechet(X, np.eye(3)), r"got f64\[2,2\] and f64\[3,3\]; shapes must be equal"),
    "a method": (lambda: ours.expm_frechet(X, X, method="fast"), "method=None, 'SPS' or 'blockEnlarge', not 'fast'"),
    "a side": (lambda: ours.polar(X, "both"), "polar takes side='right' or 'left', not 'both'"),
    "polar's method": (lambda: ours.polar(X, method="newton"), "polar takes method='qdwh' or 'svd', not 'newton'"),
    "a vector": (lambda: ours.polar(np.ones(3)), r"polar takes matrices, \(..., m, n\), not f64\[3\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_uses(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=r"test_exponential.py:\d+: .*" + message):
        call()
