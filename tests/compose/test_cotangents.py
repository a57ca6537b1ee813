"""Sums of cotangents: what is read part by part has a gradient that is put together part by part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad.primitives.shape import concatenate, pad


def primitives(f, x):
    return [e.primitive for e in graphad.make_graph(graphad.grad(f))(x).eqns]


def test_parts_side_by_side_are_one_concatenation():
    used = primitives(lambda x: sum(x[k] * gnp.sin(x[k + 1]) for k in range(9)), np.arange(10.0))
    assert pad not in used
    assert used.count(concatenate) == 1


def test_what_is_not_read_is_zero():
    def f(x):
        return x[7] * 2 + x[1] * 3

    np.testing.assert_array_equal(graphad.grad(f)(np.ones(10)), [0, 3, 0, 0, 0, 0, 0, 2, 0, 0])
    assert primitives(f, np.ones(10)).count(concatenate) == 1


def test_elements_of_a_matrix_are_rows_side_by_side():
    def f(x):
        return sum((k + 1) * x[k // 3, k % 3] for k in (5, 0, 3, 1, 8, 7, 6, 2, 4))

    np.testing.assert_array_equal(graphad.grad(f)(np.zeros((3, 3))), np.arange(1.0, 10).reshape(3, 3))
    used = primitives(f, np.zeros((3, 3)))
    assert pad not in used
    assert used.count(concatenate) == 4, "three rows, and the matrix"


@pytest.mark.parametrize("n", [5, 100])
def test_parts_that_overlap_are_added(n):
    x = np.linspace(-1, 1, n)
    used = primitives(lambda x: gnp.sum(x[1:] * x[:-1]), x)
    assert used.count(pad) == 2
    got = graphad.grad(lambda x: gnp.sum(x[1:] * x[:-1]))(x)
    np.testing.assert_allclose(got, np.r_[x[1:], 0] + np.r_[0, x[:-1]], rtol=1e-15)


SLICES = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 2), st.booleans())


@settings(max_examples=150)
@given(st.lists(st.tuples(SLICES, SLICES), min_size=1, max_size=6), st.booleans())
def test_random_parts(parts, once_as_a_whole):
    """The gradient of sum(weights * x[part]) is the weights, added up where they belong."""
    shape = (4, 5)
    rng = np.random.default_rng(len(parts))
    expected = np.zeros(shape)
    terms = []
    for rows, columns in parts:
        where = tuple(
            min(i, n - 1) if alone else slice(min(i, j), max(i, j), by)
            for (i, j, by, alone), n in zip((rows, columns), shape)
        )
        weights = rng.integers(-4, 5, size=expected[where].shape).astype(float)
        expected[where] += weights
        terms.append((where, weights))
    if once_as_a_whole:
        expected += 1

    def f(x):
        total = gnp.sum(x) if once_as_a_whole else 0.0
        for where, weights in terms:
            total = total + gnp.sum(weights * x[where])
        return total

    np.testing.assert_array_equal(graphad.grad(f)(np.ones(shape)), expected)
    np.testing.assert_array_equal(graphad.jit(graphad.grad(f))(np.ones(shape)), expected)
