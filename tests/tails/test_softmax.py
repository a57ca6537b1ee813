"""The derivatives of `softmax` keep their digits where one share is close to 1."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import graphad
from graphad import nn

ROWS = ([17.0, 0.0], [0.5, -3.0, 16.0, 1.0], [40.0, 39.0, -20.0], [1.0, 1.0, 1.0], [0.0, 0.5, -0.5, 0.25, 1.0])


def exact(row):
    """The Jacobian, and the derivative of its diagonal along each coordinate."""
    with mpmath.workprec(300):
        terms = [mpmath.exp(x) for x in row]
        p = [t / sum(terms) for t in terms]
        first = [[p[i] * ((i == j) - p[j]) for j in range(len(p))] for i in range(len(p))]
        second = [[first[i][j] * (1 - 2 * p[i]) for j in range(len(p))] for i in range(len(p))]
        return np.array(first, np.float64), np.array(second, np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_derivatives_of_shares(row, dtype):
    """Forward, backward, compiled; and of the diagonal once more."""
    x = np.array(row, dtype)
    first, second = exact(row)
    allowed = 64 * np.finfo(dtype).eps  # two roundings of each of four sums, and the exponentials
    for jacobian in (graphad.jacfwd(nn.softmax), graphad.jacrev(nn.softmax), graphad.jit(graphad.jacrev(nn.softmax))):
        np.testing.assert_allclose(jacobian(x), first, rtol=allowed)
    for i in range(len(row)):
        diagonal = graphad.grad(lambda x, i=i: graphad.grad(lambda x: nn.softmax(x)[i])(x)[i])
        np.testing.assert_allclose(
            diagonal(x), second[i], rtol=4 * allowed, atol=np.finfo(dtype).eps * abs(second).max()
        )
