"""`eig`, which no face has before there are complex numbers: put together to these, and differences in 50 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.stages import compiled
from graphad.backends.loops.ir import RoutineCall
from graphad.primitives.linalg.eig import eig

RNG = np.random.default_rng(31)


def turning(n):
    """A matrix with pairs of eigenvalues, all far from each other, and a last real one if ``n`` is odd."""
    x = 0.3 * RNG.normal(size=(n, n)) + np.diag(2.0 * (np.arange(n) // 2))
    for i in range(0, n - 1, 2):
        x[i, i + 1], x[i + 1, i] = x[i, i + 1] + 3, x[i + 1, i] - 1
    return x


def with_vectors(wr, wi, v):
    """The complex eigenvalues and eigenvectors."""
    wr, wi, v = [np.asarray(x, np.float64) for x in (wr, wi, v)]
    vectors = v.astype(complex)
    for j in np.flatnonzero(wi > 0):
        vectors[:, j], vectors[:, j + 1] = v[:, j] + 1j * v[:, j + 1], v[:, j] - 1j * v[:, j + 1]
    return wr + 1j * wi, vectors


def normalised(a, w, v):
    """The eigenvalues and vectors of a matrix of `mpmath` that are near ``w`` and ``v``, normalised as these."""
    found, vectors = mpmath.eig(a)
    values, columns = [], []
    for j, near in enumerate(w):
        k = min(range(len(found)), key=lambda k: abs(found[k] - complex(near)))
        vector = [vectors[i, k] for i in range(len(w))]
        element = vector[int(np.argmax(np.abs(v[:, j])))] if near.imag else vector[0] * complex(v[0, j]).conjugate()
        factor = abs(element) / element / mpmath.sqrt(mpmath.fsum([abs(x) ** 2 for x in vector]))
        values.append(found[k])
        columns.append([x * factor for x in vector])
    return mpmath.matrix([values]), mpmath.matrix(columns).T


@pytest.mark.parametrize("a", [RNG.normal(size=(3, 3)) + 3 * np.diag(np.arange(3)), turning(2), turning(5)])
def test_derivatives_are_differences_in_50_digits(a):
    direction = RNG.normal(size=a.shape)
    found, moved = graphad.jvp(lambda x: tuple(eig(x)), (a,), (direction,))
    w, v = with_vectors(*found)
    wi = np.asarray(found[1])
    np.testing.assert_allclose(a @ v, v * w, atol=1e-13)
    with mpmath.workdps(50):
        h = mpmath.mpf(10) ** -15
        exact, along = mpmath.matrix(a.tolist()), mpmath.matrix(direction.tolist())
        high, low = [normalised(exact + s * h * along, w, v) for s in (1, -1)]
        of_w, of_v = [np.array(((x - y) / (2 * h)).tolist(), complex) for x, y in zip(high, low, strict=True)]
    packed = np.where(wi < 0, -of_v.imag, of_v.real)
    for one, other in zip(moved, (of_w[0].real, of_w[0].imag, packed), strict=True):
        np.testing.assert_allclose(np.asarray(one), other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_vectors_are_those_of_numpy(dtype):
    """But for the phases of vectors, and of each matrix of a stack alone, where one has no eigenvalues."""
    stack = np.stack([turning(12), np.full((12, 12), np.nan), RNG.normal(size=(12, 12))]).astype(dtype)
    results = [np.asarray(x) for x in graphad.jit(lambda x: tuple(eig(x)))(stack)]
    assert all(np.isnan(x[1]).all() for x in results)
    for k in (0, 2):
        w, v = with_vectors(*[x[k] for x in results])
        expected, vectors = np.linalg.eig(stack[k].astype(np.float64))
        for j in range(12):
            m = np.argmin(np.abs(expected - w[j]))
            np.testing.assert_allclose(w[j], expected[m], rtol=1e4 * np.finfo(dtype).eps)
            np.testing.assert_allclose(abs(np.vdot(vectors[:, m], v[:, j])), 1.0, rtol=1e5 * np.finfo(dtype).eps)


def test_values_alone_take_no_vectors():
    a = turning(10)
    both = graphad.jit(lambda x: tuple(eig(x)[:2]))
    program = compiled(both.graph(a)).program
    assert [s.routine for s in program.steps if isinstance(s, RoutineCall)] == ["eigvals"]
    for one, other in zip(both(a), eig(a), strict=False):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-12)


def test_gradients_of_what_depends_on_no_basis():
    """The sum of the squares of eigenvalues is a trace, and what the vectors diagonalise comes back."""
    a = turning(9)
    derivative = graphad.jit(graphad.grad(lambda x: gnp.sum(eig(x)[0] ** 2 - eig(x)[1] ** 2)))(a)
    np.testing.assert_allclose(np.asarray(derivative), 2 * a.T, atol=1e-11)

    def back(x):
        wr, wi, v = eig(x)
        beside = gnp.diag(gnp.where(wi > 0, wi, 0.0)[:-1], 1)
        return v @ (gnp.diag(wr) + beside - beside.T) @ gnp.linalg.inv(v)

    np.testing.assert_allclose(np.asarray(graphad.jacrev(back)(a)).reshape(81, 81), np.eye(81), atol=1e-10)


def test_nothing_is_finite_where_eigenvalues_are_equal():
    moved = graphad.jvp(lambda x: eig(x)[2], (np.eye(3),), (turning(3),))[1]
    assert not np.isfinite(np.asarray(moved)).all()
