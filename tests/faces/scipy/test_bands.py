"""Matrices with few diagonals in `graphad.scipy.linalg`, against JAX's functions of whole matrices, and SciPy's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg as theirs

import graphad
import graphad.scipy.linalg as ours
from tests.compose.tools import close, count
from tests.faces.derived import check_like_jax

RNG = np.random.default_rng(31)


def normal(*shape):
    return RNG.normal(size=shape)


def bands(low, high, *shape):
    """Diagonals of matrices that are far from singular, with something in the corners too."""
    x = normal(*shape[:-1], low + high + 1, shape[-1])
    x[..., high, :] = np.sign(x[..., high, :]) * (3 + low + high)
    return x


def dense(ab, low, high):
    """The whole matrices."""
    n = ab.shape[-1]
    return sum(ab[..., high - k, None, :] * np.eye(n, k=k, dtype=ab.dtype) for k in range(-low, high + 1))


def whole_solve(matrix, b):
    return jnp.linalg.solve(matrix, b[:, None])[..., 0] if b.ndim == 1 else jnp.linalg.solve(matrix, b)


#: Diagonals below and above, leading axes and columns of bands, and shapes of right sides.
SYSTEMS = [
    ((1, 2), (5,), (5,)), ((2, 0), (6,), (6, 2)), ((0, 0), (3,), (3,)), ((1, 1), (4,), (4, 2)), ((1, 1), (1,), (1,)),
    ((3, 3), (2,), (2,)), ((0, 1), (2, 4), (4, 3)), ((2, 1), (7,), (3, 7, 1)), ((1, 0), (0,), (0,)),
    ((1, 1), (2, 0), (0, 2)), ((2, 2), (0, 3), (3, 1)), ((1, 2), (4,), (4, 0)),
]  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS, ids=str)
def test_solve_banded(system):
    (low, high), shape, right = system
    ab, b = bands(low, high, *shape), normal(*right)

    def of_whole_matrices(ab, b):
        return whole_solve(dense(ab, low, high), b)

    check_like_jax(lambda ab, b: ours.solve_banded((low, high), ab, b), of_whole_matrices, ab, b)
    if ab.ndim == 2 and b.ndim < 3 and b.size:
        close(ours.solve_banded((low, high), ab, b), theirs.solve_banded((low, high), ab, b), 1e-11)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("system", [s for s in SYSTEMS if s[0][0] == s[0][1]], ids=str)
def test_solveh_banded(system, lower):
    (_, high), shape, right = system
    ab, b = bands(0, high, *shape), normal(*right)
    ab = ab[..., ::-1, :].copy() if lower else ab

    def of_whole_matrices(ab, b):
        half = dense(ab, high, 0) if lower else dense(ab, 0, high)
        return whole_solve(half + half.mT - half * jnp.eye(ab.shape[-1]), b)

    check_like_jax(lambda ab, b: ours.solveh_banded(ab, b, lower=lower), of_whole_matrices, ab, b)
    if ab.ndim == 2 and b.shape[0] > 1 and b.size:
        main = np.abs(ab[0 if lower else high]) + 2
        ab[0 if lower else high] = main
        close(ours.solveh_banded(ab, b, lower=lower), theirs.solveh_banded(ab, b, lower=lower), 1e-11)


def test_corners_are_not_read():
    ab, b = bands(2, 1, 5), normal(5)
    ab[0, 0] = ab[2, -1] = ab[3, -2:] = np.nan
    close(ours.solve_banded((2, 1), ab, b), np.linalg.solve(dense(np.nan_to_num(ab), 2, 1), b), 1e-12)
    gradient = np.asarray(graphad.grad(lambda ab: ours.solve_banded((2, 1), ab, b).sum())(ab))
    assert (gradient[np.isnan(ab)] == 0).all()
    assert np.count_nonzero(gradient) == ab.size - 4


def test_many_diagonals_make_no_more_equations():
    def equations(n):
        f = graphad.grad(lambda ab, b: ours.solve_banded((n, n), ab, b).sum(), (0, 1))
        return graphad.make_graph(f)(bands(n, n, 30), normal(30))

    assert len(equations(9).eqns) == len(equations(3).eqns)
    assert count(equations(3), "banded_solve") == 2


@pytest.mark.parametrize("width", [(1, 1), (2, 1)], ids=str)
def test_what_has_no_solution(width):
    """Stays with its matrix."""
    ab, b = np.stack([bands(*width, 4)] * 4), normal(4, 2)
    ab[1, :, 2], ab[2, width[1], 0] = 0.0, np.nan
    for f in (ours.solve_banded, graphad.jit(ours.solve_banded, static_argnums=0)):
        found = np.asarray(f(width, ab, b))
        assert np.isnan(found[1]).all()
        assert np.isnan(found[2]).any()
        close(found[[0, 3]], np.linalg.solve(dense(ab[[0, 3]], *width), b), 1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Eigenvalues


def tridiagonal(d, e):
    return jnp.einsum("...i,ij->...ij", d, np.eye(d.shape[-1], dtype=d.dtype)) + sum(
        jnp.pad(e[..., :, None] * np.eye(e.shape[-1], dtype=e.dtype), [(0, 0)] * (d.ndim - 1) + list(around))
        for around in ([(0, 1), (1, 0)], [(1, 0), (0, 1)])
    )


@pytest.mark.parametrize("shape", [(5,), (1,), (2,), (2, 4), (0, 3), (11,)], ids=str)
def test_eigh_tridiagonal(shape):
    """Of vectors the squares: JAX's have other signs."""
    n = shape[-1]
    d, e = normal(*shape) + 2 * np.arange(n), normal(*shape[:-1], n - 1)

    def mine(d, e):
        w, v = ours.eigh_tridiagonal(d, e)
        return w, v * v

    def whole(d, e):
        w, v = jnp.linalg.eigh(tridiagonal(d, e))
        return w, v * v

    check_like_jax(mine, whole, d, e)
    check_like_jax(lambda d, e: ours.eigh_tridiagonal(d, e, eigvals_only=True), lambda d, e: whole(d, e)[0], d, e)
    w, v = ours.eigh_tridiagonal(d, e)
    close(np.matmul(tridiagonal(d, e), v), v * w[..., None, :], 1e-6)
    if n > 1:
        _, vectors = graphad.numpy.linalg.eigh(np.asarray(tridiagonal(d, e), np.float64))
        close(v, vectors, 1e-6)  # with the signs of eigh


def test_some_eigenvalues():
    d, e = normal(6), normal(5)
    every, vectors = theirs.eigh_tridiagonal(d, e)
    for select in ((0, 5), (2, 4), (3, 3)):
        inside = slice(select[0], select[1] + 1)
        w, v = ours.eigh_tridiagonal(d, e, select="i", select_range=select)
        close(w, every[inside], 1e-12)
        close(v * v, vectors[:, inside] ** 2, 1e-10)
        alone = jax.scipy.linalg.eigh_tridiagonal(
            d.astype(np.float32), e.astype(np.float32), eigvals_only=True, select="i", select_range=select
        )
        close(w, alone, 1e-4)


def test_eigenvalues_that_are_not_finite():
    """Stay with their matrix."""
    d, e = normal(4, 3), normal(4, 2)
    d[1, 0], e[2, 1] = np.nan, np.inf
    for eigvals_only in (True, False):
        found = graphad.jit(lambda d, e, k=eigvals_only: ours.eigh_tridiagonal(d, e, eigvals_only=k))(d, e)
        for y in found if isinstance(found, tuple) else (found,):
            assert np.isnan(y[1:3]).all()
            assert np.isfinite(y[::3]).all()


def test_dtypes():
    x, b = np.array([[0, 1, 1], [4, 4, 4]]), np.ones(3)
    for dtype, wide in ((np.int32, np.float32), (np.float16, np.float16), (np.float32, np.float32)):
        assert ours.solve_banded((0, 1), x.astype(dtype), b.astype(dtype)).dtype == wide
        assert ours.solveh_banded(x.astype(dtype), b.astype(dtype)).dtype == wide
        assert {y.dtype for y in ours.eigh_tridiagonal(b.astype(dtype), b[:2].astype(dtype))} == {np.dtype(wide)}
    assert ours.solve_banded((0, 1), x.astype(np.float32), b).dtype == np.float64


AB, B = np.ones((2, 3)), np.ones(3)
WRONG = {
    "no pair": (lambda: ours.solve_banded(1, AB, B), TypeError, "the numbers of diagonals below and above .* not 1"),
    "less than none": (lambda: ours.solve_banded((-1, 2), AB, B), ValueError, r"got \(-1, 2\) diagonals"),
    "diagonals": (lambda: ours.solve_banded((1, 1), AB, B), ValueError, r"bands f64\[2,3\] .* takes \(..., 3, n\)"),
    "sizes": (lambda: ours.solve_banded((1, 0), AB, B[:2]), ValueError, r"a right side f64\[2\]"),
    "a vector": (lambda: ours.solveh_banded(B, B), ValueError, r"bands f64\[3\]"),
    "a number": (lambda: ours.solveh_banded(AB, 1.0), ValueError, "a right side"),
    "values between": (lambda: ours.eigh_tridiagonal(B, B[:2], select="v"), ValueError, "select='a' or 'i', not 'v'"),
    "no range": (lambda: ours.eigh_tridiagonal(B, B[:2], select="i"), ValueError, "got select_range=None of 3 eigenva"),
    "a range": (lambda: ours.eigh_tridiagonal(B, B[:2], select="i", select_range=(2, 1)), ValueError, "first <= last"),
    "a diagonal": (lambda: ours.eigh_tridiagonal(B, B), ValueError, r"f64\[3\] and f64\[3\] beside it"),
    "stacks": (lambda: ours.solveh_banded(np.ones((2, 2, 3)), np.ones((3, 3, 1))), TypeError, "do not broadcast"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_uses(case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=r"test_bands.py:\d+: .*" + message):
        call()
