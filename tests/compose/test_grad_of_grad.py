"""Derivatives of derivatives: closures, orders, mixed modes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close, f64, size, slope

POINTS = f64([0.3, -0.5, 0.9])


def test_inner_gradient_closes_over_the_outer_variable():
    def outer(w):
        return graphad.grad(lambda x: gnp.sin(x * w) * x)(w * 2.0) * w

    def by_hand(w):
        x = 2 * w
        return (np.sin(x * w) + x * w * np.cos(x * w)) * w

    close(graphad.grad(outer)(f64(0.7)), slope(by_hand, 0.7))
    close(graphad.jit(graphad.grad(outer))(f64(0.7)), slope(by_hand, 0.7))


def test_perturbations_of_the_two_levels_are_not_confused():
    # Siskind and Pearlmutter, "Nesting forward-mode AD in a functional framework" (2008).
    def f(x):
        return x * graphad.grad(lambda y: x + y)(1.0)

    assert float(graphad.grad(f)(f64(1.0))) == 1.0
    assert float(graphad.jvp(f, (f64(1.0),), (f64(1.0),))[1]) == 1.0


@pytest.mark.parametrize("order", range(1, 7))
def test_every_order_of_sine(order):
    f = gnp.sin
    for _ in range(order):
        f = graphad.grad(f)
    expected = [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)][order % 4](0.3)
    close(f(f64(0.3)), expected, 1e-12)


def test_sixth_derivative_of_sine_is_a_small_program():
    f = gnp.sin
    for _ in range(6):
        f = graphad.grad(f)
    assert size(graphad.jit(f).graph(f64(0.3))) <= 2


def test_equations_grow_moderately_with_the_order():
    f = lambda x: gnp.sin(x) * gnp.exp(x)
    sizes = []
    for _ in range(5):
        f = graphad.grad(f)
        sizes.append(size(graphad.make_graph(f)(f64(0.3))))
    assert all(later <= 3 * earlier for earlier, later in pairwise(sizes)), sizes


def test_four_ways_to_the_hessian_agree():
    matrix = np.arange(9.0).reshape(3, 3)
    f = lambda x: ((matrix @ x) * gnp.sin(x)).sum()
    hessian = graphad.hessian(f)(POINTS)
    close(hessian, np.asarray(hessian).T)
    close(graphad.jacrev(graphad.grad(f))(POINTS), hessian)
    close(graphad.jacfwd(graphad.jacfwd(f))(POINTS), hessian)
    close(graphad.jacrev(graphad.jacrev(f))(POINTS), hessian)
    columns = [graphad.hvp(f, (POINTS,), (row,)) for row in np.eye(3)]
    close(np.stack(columns), hessian)


def test_constant_identity_and_unused_arguments():
    assert float(graphad.grad(lambda x: 3.0)(1.0)) == 0.0
    assert float(graphad.grad(lambda x: x)(1.0)) == 1.0
    assert float(graphad.grad(graphad.grad(lambda x: x))(1.0)) == 0.0
    first, second = graphad.grad(lambda t: t[0] * 2.0)((f64(1.0), POINTS))
    assert float(first) == 2.0
    close(second, np.zeros(3))


def test_gradient_used_twice_shares_its_work():
    def f(x):
        slope_ = graphad.grad(gnp.tanh)
        return slope_(x) * slope_(x)

    assert size(graphad.make_graph(f)(f64(0.3))) < 2 * size(graphad.make_graph(graphad.grad(gnp.tanh))(f64(0.3))) + 2


def test_integers_and_booleans_on_the_way():
    def f(x):
        whole = (x * 3.0).astype(int)
        return (gnp.where(x > 0.0, x * 2.0, 0.0) * (whole * whole)).sum()

    x = f64([0.5, -0.5, 0.9])
    close(graphad.grad(f)(x), [2.0 * 1, 0.0, 2.0 * 4])
    close(graphad.grad(lambda x: graphad.grad(f)(x).sum())(x), np.zeros(3))


def test_cotangents_keep_the_dtype_of_their_primal():
    f = lambda x: (x.astype("float64") * 2.0).astype("float32")
    assert graphad.grad(f)(np.float32(1.0)).dtype == np.float32
    assert graphad.grad(lambda x: x.astype("float32").sum())(POINTS).dtype == np.float64


def test_gathers_and_repeated_indices():
    where = np.array([0, 2, 2])
    close(graphad.grad(lambda x: (x[where] * POINTS).sum())(POINTS), [0.3, 0.0, 0.4])
    close(graphad.grad(lambda x: (x[where] * x[where]).sum())(POINTS), [0.6, 0.0, 3.6])
    close(graphad.hessian(lambda x: (x[where] * x[where]).sum())(POINTS), np.diag([2.0, 0.0, 4.0]))
