"""A tutorial, cell by cell: "Automatic differentiation", from x² to a harmonic potential."""

from __future__ import annotations

import numpy as np

import graphad as jax
import graphad.numpy as jnp


def test_a_first_example():
    def f(x):
        return x**2

    df = jax.grad(f)
    assert float(df(2.0)) == 4.0
    ddf = jax.grad(df)
    assert float(ddf(2.0)) == 2.0


def test_several_arguments():
    def f(x, y):
        return x**2 + 2 * y**2

    df = jax.grad(f, argnums=0)
    assert float(df(2.0, 3.0)) == 4.0
    df = jax.grad(f, argnums=(0, 1))
    assert [float(g) for g in df(2.0, 3.0)] == [4.0, 12.0]


vector = jnp.array((1.0, 2.0))


def test_a_vector_argument():
    def norm(x):
        return jnp.sqrt(jnp.dot(x, x))

    df = jax.grad(norm)
    assert str(norm(vector)) == "2.236068"
    assert str(df(vector)) == "[0.4472136 0.8944272]"


def test_a_vector_result():
    def test(x):
        return x

    np.testing.assert_array_equal(jax.jacobian(test)(vector), [[1.0, 0.0], [0.0, 1.0]])


def test_harmonic_potential():
    def potential(x):
        distances = jnp.abs(x[jnp.newaxis, :] - x[:, jnp.newaxis])
        return (distances**2).sum() / 2

    assert repr(jax.grad(potential)(vector)) == "Array([-2.,  2.], dtype=float32)"
    value, gradient = jax.value_and_grad(potential)(vector)
    assert repr(value) == "Array(1., dtype=float32)"
    assert str(gradient) == "[-2.  2.]"
