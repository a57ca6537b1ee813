"""Compiled gradients under SciPy's optimisers, as they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize, root

import graphad
import graphad.numpy as gnp


def rosenbrock(x):
    """Rosenbrock 1960: a curved valley, with its minimum at (1, ..., 1)."""
    return gnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


START = np.array([0.4, 1.5, 0.7, 0.5])


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG", "SLSQP"])
def test_minimize_with_values_and_gradients(method):
    compiled = graphad.compile_grad(rosenbrock, with_value=True)
    found = minimize(compiled, START, jac=True, method=method, options={"maxiter": 500})
    assert found.success
    np.testing.assert_allclose(found.x, 1, atol=1e-3)
    assert compiled(START)[1].dtype == np.float64


@pytest.mark.parametrize("method", ["trust-constr", "Newton-CG", "trust-ncg"])
def test_minimize_with_products_of_the_hessian(method):
    found = minimize(
        graphad.jit(rosenbrock), START, method=method, jac=graphad.compile_grad(rosenbrock),
        hessp=graphad.jit(lambda x, v: graphad.hvp(rosenbrock, (x,), (v,))),  # SciPy tries int8 once
    )  # fmt: skip
    np.testing.assert_allclose(found.x, 1, atol=1e-3)


def test_products_of_the_hessian_convert_the_vector():
    """Whatever the dtype of the vector, the product has that of the point; `jvp` itself says what to write."""
    x = gnp.asarray(START, np.float32)
    expected = graphad.hessian(rosenbrock)(x) @ np.float32([1, 0, 2, -1])
    for dtype in (np.int8, np.int64, np.float64, np.float16):
        product = graphad.hvp(rosenbrock, (x,), (np.array([1, 0, 2, -1], dtype),))
        assert product.dtype == np.float32
        np.testing.assert_allclose(product, expected, rtol=1e-5)
    mixed = graphad.hvp(lambda p: (p["a"] ** 3).sum() * p["b"], ({"a": x, "b": 2.0},), ({"a": START, "b": 1},))
    np.testing.assert_allclose(mixed["b"], 3 * (START**3).sum(), 1e-5)
    with pytest.raises(TypeError, match=r"f64\[4\].*f32\[4\]\. Convert them: \.astype\('float32'\)"):
        graphad.jvp(rosenbrock, (x,), (START,))
    with pytest.raises(TypeError, match="structure"):
        graphad.hvp(rosenbrock, (x,), (START, START))


@pytest.mark.parametrize("method", ["trust-exact", "dogleg"])
def test_minimize_with_the_hessian(method):
    start = np.array([0.9, 0.8])  # where the Hessian is positive definite, as dogleg wants it
    jac, hess = graphad.compile_grad(rosenbrock), graphad.jit(graphad.hessian(rosenbrock))
    found = minimize(graphad.jit(rosenbrock), start, method=method, jac=jac, hess=hess)
    np.testing.assert_allclose(found.x, 1, atol=1e-5)


def test_bounds_and_constraints():
    circle = graphad.jit(lambda x: 2.0 - gnp.sum(x**2))
    found = minimize(
        graphad.compile_grad(lambda x: -gnp.sum(x), with_value=True), np.array([0.1, 0.3]), jac=True, method="SLSQP",
        constraints={"type": "ineq", "fun": circle, "jac": graphad.jit(graphad.grad(circle))},
    )  # fmt: skip
    np.testing.assert_allclose(found.x, 1, atol=1e-6)


def test_least_squares_and_roots():
    t = np.linspace(0, 1, 20)
    residuals = graphad.jit(lambda p: p[0] * gnp.exp(-p[1] * t) - 2.0 * np.exp(-3.0 * t))
    found = least_squares(residuals, [1.0, 1.0], jac=graphad.jit(graphad.jacfwd(residuals)))
    np.testing.assert_allclose(found.x, [2, 3], rtol=1e-6)
    system = graphad.jit(lambda x: gnp.stack([x[0] + x[1] - 3, x[0] * x[1] - 2]))
    np.testing.assert_allclose(root(system, [0.0, 4.0], jac=graphad.jit(graphad.jacrev(system))).x, [1, 2], rtol=1e-6)
