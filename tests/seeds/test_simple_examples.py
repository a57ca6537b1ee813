"""A tutorial, cell by cell: "How to code differentiation with simple examples"."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as jnp
from graphad import grad
from tests.compose.tools import path_count


def test_linear_function():
    def f1(x):
        return 2 * x

    df1 = grad(f1)
    assert [float(df1(x)) for x in (1.0, 2.0, 3.0)] == [2.0, 2.0, 2.0]


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"test_simple_examples.py:\d+: grad\(lambda\) needs floating point inputs"):
        grad(lambda x: 2 * x)(1)


def test_quadratic_function():
    def f2(x):
        return x**2 + 5 * x + 10

    df2 = grad(f2)
    assert [float(df2(x)) for x in (2.0, 3.0)] == [9.0, 11.0]
    d2_f2 = grad(df2)
    assert float(d2_f2(2.0)) == 2.0
    assert float(grad(grad(grad(f2)))(2.0)) == 0.0


def test_sigmoid():
    def sigmoid(x):
        return 1 / (1 + jnp.exp(-x))

    d_sig = grad(sigmoid)
    assert f"{float(d_sig(2.0)):.3f}" == "0.105"
    assert float(d_sig(2.0)) == pytest.approx(np.exp(-2.0) / (1 + np.exp(-2.0)) ** 2, rel=1e-6)


@pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit], ids=["grad", "jit(grad)"])
def test_relu_with_if_and_else(wrap):
    def ReLU(x):
        if x >= 0:
            return x
        return 0.0

    d_ReLU = wrap(grad(ReLU))
    assert [float(d_ReLU(x)) for x in (1.0, 2.0, -1.0, 0.0, -3.0)] == [1.0, 1.0, 0.0, 1.0, 0.0]
    assert [float(wrap(ReLU)(x)) for x in (1.0, -1.0)] == [1.0, 0.0]
    if wrap is graphad.jit:
        assert path_count(d_ReLU) == 2


def test_partial_differentiation():
    def f5(x, y):
        return x**2 + y**2 + 5 * x * y

    df5_dx = grad(f5, argnums=0)
    df5_dy = grad(f5, argnums=1)
    x = 2.0
    y = 1.0
    assert float(df5_dx(x, y)) == 9.0
    assert float(df5_dy(x, y)) == 12.0
