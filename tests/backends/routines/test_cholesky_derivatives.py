"""The routine that goes through a Cholesky factor in blocks, and where the derivative of `cholesky` calls it."""

from __future__ import annotations

import numpy as np
import pytest
from graphad_kernels.cpu.cholesky_derivatives import LEAF

import graphad
import graphad.numpy as gnp
from graphad.primitives.linalg.matrices import SMALL
from tests.backends.routines.factorization_oracles import ORACLES
from tests.backends.routines.guard_zones import machine_code


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("n", [LEAF, LEAF + 1, 2 * LEAF, 2 * LEAF + 1, 4 * LEAF + 3, 257])
def test_every_number_of_blocks(rng, n, dtype):
    element = np.float32 if dtype == "f32" else np.float64
    a = rng.normal(size=(2, n, n))
    factors = np.linalg.cholesky(a @ a.swapaxes(1, 2) / n + np.eye(n)).astype(element)
    x = rng.normal(size=(2, n, n)).astype(element)
    for name, work in (("cholesky_adjoint", []), ("cholesky_tangent", [np.zeros(1, np.int32)])):
        found = np.empty_like(x)
        machine_code(name, dtype)(factors, x, found, *work, 2, n)
        ORACLES[name]((2, n), (factors, x), (found,))


def primitives(function, n):
    graph = graphad.jit(function).graph(np.eye(n))
    return {eqn.primitive.name for eqn in graph.eqns}


def test_which_matrices_it_is_called_for():
    gradient = graphad.grad(lambda a: gnp.sum(gnp.linalg.cholesky(a)))
    small, large = (primitives(gradient, n) for n in (SMALL, SMALL + 1))
    assert {"triangular_solve", "cholesky", "cholesky_adjoint"}.isdisjoint(small)
    assert "cholesky_adjoint" in large
    assert "triangular_solve" not in large
    forward = primitives(lambda a: graphad.jvp(gnp.linalg.cholesky, (a,), (a,))[1], SMALL + 1)
    assert "cholesky_tangent" in forward


def test_second_derivatives_are_those_of_the_small_form(rng):
    """Of a matrix of two blocks on the diagonal: the factor of one does not know of the other."""
    n = 12
    a = rng.normal(size=(n, n))
    a = a @ a.T / n + np.eye(n)
    a[:6, 6:] = a[6:, :6] = 0
    v = np.zeros((n, n))
    v[:6, :6], v[6:, 6:] = rng.normal(size=(2, 6, 6))

    def product(a, v):
        along = graphad.grad(lambda a: gnp.sum(gnp.sin(gnp.linalg.cholesky(a))))
        return graphad.jvp(along, (a,), (v,))[1]

    found = graphad.jit(product)(a, v)
    for part in (slice(0, 6), slice(6, 12)):
        np.testing.assert_allclose(found[part, part], product(a[part, part], v[part, part]), rtol=1e-10, atol=1e-12)
