"""What the tests by composition share: comparisons, slopes by differences, and counting what a graph computes."""

from __future__ import annotations

import numpy as np


def close(got, expected, tolerance=1e-5):
    """Equal shapes, and nearly equal values."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def slope(f, x, eps=1e-6):
    """The derivative of a function of one float64 number, by central differences."""
    return (float(f(x + eps)) - float(f(x - eps))) / (2 * eps)


def f64(x):
    """A float64 array: it stays one."""
    return np.asarray(x, np.float64)


def count(graph, name):
    """How many equations of ``graph``, those in regions included, have the primitive ``name``."""
    return sum((e.primitive.name == name) + sum(count(r, name) for r in e.regions) for e in graph.eqns)


def size(graph):
    """How many equations ``graph`` has, those in regions included."""
    return sum(1 + sum(size(r) for r in e.regions) for e in graph.eqns)


def path_count(compiled):
    """How many paths a compiled function has been traced along."""
    return sum(tree.count for tree in compiled._trees.values())
