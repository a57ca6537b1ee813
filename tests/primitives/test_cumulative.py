"""Running products, extrema and log-sum-exps against JAX: values, gradients, and second derivatives at zeros."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax import lax

from graphad.ir.types import f64
from graphad.primitives.cumulative import cumlogsumexp, cummax, cummin, cumprod, linear_recurrence
from graphad.primitives.layout import broadcast, reshape
from graphad.primitives.shape import slice_axis
from tests.primitives.calculus import derivatives
from tests.primitives.test_shape_oracles import gradients, jax_gradients

ORACLES = {cumprod: lax.cumprod, cummax: lax.cummax, cummin: lax.cummin, cumlogsumexp: lax.cumlogsumexp}
each_primitive = pytest.mark.parametrize("primitive", ORACLES, ids=repr)


@each_primitive
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_values_and_gradients_are_those_of_jax(primitive, axis, reverse, rng):
    x = rng.normal(size=(4, 7)).astype(np.float32)
    close = {"rtol": 2e-5, "atol": 2e-5}
    np.testing.assert_allclose(primitive(x, axis=axis, reverse=reverse), ORACLES[primitive](x, axis, reverse), **close)
    (got,) = gradients(primitive, x, axis=axis, reverse=reverse)
    (expected,) = jax_gradients(lambda v: ORACLES[primitive](v, axis, reverse), x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@each_primitive
def test_special_values_are_those_of_jax(primitive):
    nan, inf = np.nan, np.inf
    x = np.array([[1, nan, 3], [1, -inf, inf], [-inf, -inf, 1], [inf, 1, -inf], [0, 2, 3]], np.float32)
    with np.errstate(invalid="ignore"):
        got, expected = primitive(x, axis=1, reverse=False), ORACLES[primitive](x, 1)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    finite = np.isfinite(x).all(axis=1)
    np.testing.assert_allclose(got[finite], expected[finite], 1e-6)


def test_a_masked_beginning_has_finite_gradients():
    """-inf stands for an element left out: it has no share in the derivative, and spoils nobody else's."""
    x = np.array([-np.inf, -np.inf, 1.0, 2.0])
    (got,) = gradients(cumlogsumexp, x, axis=0, reverse=False)
    share = 1 / (1 + np.exp(1.0))
    np.testing.assert_allclose(got, [0, 0, 3 + 4 * share, 4 * (1 - share)], rtol=1e-6)


def test_logsumexp_keeps_what_a_later_element_hides():
    x = np.array([-1000.0, 0.0, 1000.0])
    np.testing.assert_allclose(cumlogsumexp(x, axis=0, reverse=False), x)
    (got,) = gradients(cumlogsumexp, x, axis=0, reverse=False)
    np.testing.assert_allclose(got, [1, 2, 3])


def test_ties_share_the_derivative_equally():
    (got,) = gradients(cummax, np.array([2.0, 1.0, 2.0, 2.0]), axis=0, reverse=False)
    np.testing.assert_allclose(got, [1 + 2 + 3 / 2 + 4 / 3, 0, 3 / 2 + 4 / 3, 4 / 3])


def test_derivatives_of_a_product_of_zeros():
    """x * x * x at 0: a quotient by x would give nan."""

    def function(x):
        products = cumprod(broadcast(x, shape=(3,), dims=()), axis=0, reverse=False)
        return reshape(slice_axis(products, 0, 2, 3), shape=())

    np.testing.assert_allclose(derivatives(function, 0.0, f64, 3), [0, 0, 0, 6])


def test_the_recurrence_is_a_loop(rng):
    decay, x = rng.normal(size=(2, 6))
    running, expected = 0.0, []
    for a, b in zip(decay, x, strict=True):
        running = a * running + b
        expected.append(running)
    np.testing.assert_allclose(linear_recurrence(decay, x, axis=0, reverse=False), expected)
    backwards = linear_recurrence(decay[::-1], x[::-1], axis=0, reverse=True)
    np.testing.assert_allclose(backwards[::-1], expected)


def test_the_recurrence_has_the_gradients_of_its_associative_scan(rng):
    decay, x = rng.normal(size=(2, 6)).astype(np.float32)

    def by_jax(a, b):
        return lax.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), (a, b))[1]

    with jax.enable_x64(False):
        expected = jax_gradients(by_jax, decay, x)
    for g, e in zip(gradients(linear_recurrence, decay, x, axis=0, reverse=False), expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-4)
