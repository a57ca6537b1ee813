"""A tutorial, cell by cell: "Autograd capabilities", from a scalar function to linear regression."""

from __future__ import annotations

import numpy as np

import graphad.numpy as jnp
from graphad import grad


def f(x):
    return x**2 + 3 * x + 5


def test_a_scalar_function(capsys):
    df_dx = grad(f)
    print(df_dx(2.0))
    assert capsys.readouterr().out == "7.0\n"


def test_higher_order(capsys):
    d2f_dx2 = grad(grad(f))
    print(d2f_dx2(2.0))
    assert capsys.readouterr().out == "2.0\n"


def test_vector_valued(capsys):
    def g(x):
        return jnp.sum(x**2)

    grad_g = grad(g)
    x = jnp.array([1.0, 2.0, 3.0])
    print(grad_g(x))
    assert capsys.readouterr().out == "[2. 4. 6.]\n"


def test_linear_regression(capsys):
    def predict(weights, inputs):
        return jnp.dot(inputs, weights)

    def loss(weights, inputs, targets):
        predictions = predict(weights, inputs)
        return jnp.mean((predictions - targets) ** 2)

    inputs = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    targets = jnp.array([5.0, 6.0])
    weights = jnp.array([0.1, 0.2])
    grad_loss = grad(loss)
    print(grad_loss(weights, inputs, targets))
    assert capsys.readouterr().out == "[-19.2 -28.6]\n"
    rows, errors = np.asarray(inputs, np.float64), np.array([0.5 - 5.0, 1.1 - 6.0])
    np.testing.assert_allclose(grad_loss(weights, inputs, targets), rows.T @ errors, rtol=1e-6)
