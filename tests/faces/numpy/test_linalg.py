"""`graphad.numpy.linalg` against NumPy: shapes of every kind, transformed, in 16 bits, and the order of products."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.numpy.linalg._matrices import cheapest_order
from tests.compose.tools import close, count, f64

RNG = np.random.default_rng(5)


def normal(*shape):
    return f64(RNG.normal(size=shape))


#: Shapes of matrices: none, one and many of them, without rows, without columns, thin.
MATRICES = [(3, 3), (1, 1), (2, 4), (4, 2), (0, 3), (3, 0), (0, 0), (2, 3, 4), (2, 1, 3, 2), (0, 2, 2), (2, 0, 2)]
SQUARES = [(3, 3), (1, 1), (0, 0), (2, 3, 3), (2, 1, 2, 2), (0, 2, 2)]

OF_MATRICES = {
    "diagonal": lambda m, x: m.linalg.diagonal(x),
    "upper diagonal": lambda m, x: m.linalg.diagonal(x, offset=1),
    "lower diagonal": lambda m, x: m.linalg.diagonal(x, offset=-2),
    "trace": lambda m, x: m.linalg.trace(x),
    "upper trace": lambda m, x: m.linalg.trace(x, offset=1),
    "fro": lambda m, x: m.linalg.matrix_norm(x),
    "1": lambda m, x: m.linalg.matrix_norm(x, ord=1),
    "inf": lambda m, x: m.linalg.matrix_norm(x, ord=m.inf, keepdims=True),
    "2": lambda m, x: m.linalg.matrix_norm(x, ord=2),
    "nuc": lambda m, x: m.linalg.matrix_norm(x, ord="nuc", keepdims=True),
    "all elements": lambda m, x: m.linalg.vector_norm(x),
    "two axes": lambda m, x: m.linalg.vector_norm(x, axis=(0, -1), ord=3),
    "vectors": lambda m, x: m.linalg.vector_norm(x, axis=-2, ord=1, keepdims=True),
    "largest": lambda m, x: m.linalg.vector_norm(x, axis=-1, ord=m.inf),
    "not zero": lambda m, x: m.linalg.vector_norm(x, axis=-1, ord=0),
}
LEAST = {
    "-1": lambda m, x: m.linalg.matrix_norm(x, ord=-1),
    "-inf": lambda m, x: m.linalg.matrix_norm(x, ord=-m.inf),
    "least singular value": lambda m, x: m.linalg.matrix_norm(x, ord=-2),
    "least": lambda m, x: m.linalg.vector_norm(x, axis=-1, ord=-m.inf),
    "-2": lambda m, x: m.linalg.vector_norm(x, axis=-1, ord=-2),
}
POWERS = {f"power {n}": lambda m, x, n=n: m.linalg.matrix_power(x, n) for n in (-3, -1, 0, 1, 2, 3, 4, 7, 10)}


def check_value(function, x):
    """As NumPy, eagerly and compiled, in both widths of floats."""
    expected = function(np, x)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
        for wrap in (lambda f: f, graphad.jit):
            found = wrap(lambda x: function(gnp, x))(gnp.asarray(x.astype(dtype)))
            assert found.dtype == dtype
            close(found, expected, tolerance)


@pytest.mark.parametrize("shape", MATRICES, ids=str)
@pytest.mark.parametrize("name", OF_MATRICES)
def test_functions_of_matrices(name, shape):
    check_value(OF_MATRICES[name], normal(*shape))


@pytest.mark.parametrize("shape", [shape for shape in MATRICES if 0 not in shape], ids=str)
@pytest.mark.parametrize("name", LEAST)
def test_least_norms(name, shape):
    check_value(LEAST[name], normal(*shape))


@pytest.mark.parametrize("shape", SQUARES, ids=str)
@pytest.mark.parametrize("name", POWERS)
def test_powers(name, shape):
    check_value(POWERS[name], normal(*shape))


@pytest.mark.parametrize("n", [-1, -2, -5])
def test_negative_powers(n):
    x = normal(2, 3, 3) + 4 * np.eye(3)
    check_value(lambda m, x: m.linalg.matrix_power(x, n), x)
    close(gnp.linalg.matrix_power(np.array([[2, 1], [1, 1]]), n), np.linalg.matrix_power(np.array([[2, 1], [1, 1]]), n))
    graphad.check_grads(lambda x: gnp.linalg.matrix_power(x, n), (x,), order=2)
    close(graphad.vmap(lambda x: gnp.linalg.matrix_power(x, n))(x), np.linalg.matrix_power(x, n), 1e-10)


def test_powers_of_integers_and_truths():
    relation = np.array([[False, True, False], [False, False, True], [False, False, False]])
    found = gnp.linalg.matrix_power(relation, 2)
    assert found.dtype == bool
    assert found.tolist() == (relation @ relation).tolist()
    fibonacci = gnp.linalg.matrix_power(gnp.array([[1, 1], [1, 0]]), 45)
    assert fibonacci.dtype == np.int32
    assert int(fibonacci[0, 1]) == 1134903170
    assert gnp.linalg.matrix_power(np.eye(2, dtype=np.int8), 0).dtype == np.int8


def test_the_number_of_products_of_a_power():
    for n, products in ((1, 0), (2, 1), (3, 2), (4, 2), (7, 4), (16, 4), (1000, 14)):
        graph = graphad.make_graph(lambda x, n=n: gnp.linalg.matrix_power(x, n))(normal(3, 3))
        assert count(graph, "dot_general") == products, n


ALL = OF_MATRICES | LEAST | {name: POWERS[name] for name in ("power -1", "power -3", "power 2", "power 3", "power 7")}


@pytest.mark.parametrize("name", ALL)
def test_derivatives(name):
    x = normal(2, 3, 3)
    graphad.check_grads(lambda x: ALL[name](gnp, x), (x,), order=2)
    found = graphad.jacrev(lambda x: ALL[name](gnp, x))(x)
    close(found, graphad.jacfwd(lambda x: ALL[name](gnp, x))(x), 1e-10)


@pytest.mark.parametrize("name", ALL)
def test_batched(name):
    x = normal(4, 2, 3, 3)
    expected = np.stack([ALL[name](np, element) for element in x])
    for axis in (0, 1, -1):
        found = graphad.vmap(lambda x: ALL[name](gnp, x), in_axes=axis)(np.moveaxis(x, 0, axis))
        close(found, expected, 1e-10)


def test_norms_of_axes_in_any_order():
    x = normal(2, 3, 4)
    for axes in ((0, 1), (2, 0), (-1, 1)):
        for order in (1, -1, 2, -2, np.inf, -np.inf, "fro", "nuc"):
            close(gnp.linalg.norm(x, order, axes), np.linalg.norm(x, order, axes), 1e-12)
            close(gnp.linalg.norm(x, order, axes, True), np.linalg.norm(x, order, axes, True), 1e-12)


def test_a_norm_of_what_is_large_for_16_bits():
    x = np.full((300, 300), 200.0, np.float16)
    assert gnp.linalg.vector_norm(x, axis=1).tolist() == [3464.0] * 300
    assert gnp.linalg.matrix_norm(x).tolist() == 60000.0
    assert gnp.linalg.matrix_norm(x, ord=1).tolist() == 60000.0
    squares = gnp.linalg.matrix_power(np.array([[200.0, 1.0], [0.0, 0.25]], np.float16), 3)
    assert squares.dtype == np.float16
    assert squares.tolist() == [[np.inf, np.float16(200 * 200 + 200 * 0.25 + 0.0625)], [0.0, 0.015625]]
    tall = np.full((1, 4), 200.0, np.float16)
    chain = gnp.linalg.multi_dot([tall, tall.T, tall / 40000])  # 160000 in between
    assert chain.dtype == np.float16
    close(chain, np.full((1, 4), 800.0), 1e-3)


# ---------------------------------------------------------------------------------------------------------------------
# Chains

CHAINS = [
    [(3, 4), (4, 2)], [(3,), (3, 4)], [(3, 4), (4,)], [(3,), (3,)], [(2, 9), (9, 3), (3, 8)], [(5,), (5, 2), (2, 7)],
    [(5, 2), (2, 7), (7,)], [(4,), (4, 3), (3, 5), (5,)], [(9, 1), (1, 8), (8, 2), (2, 6), (6, 1), (1, 9)],
    [(2, 0), (0, 3), (3, 4)], [(0, 2), (2, 3), (3, 0)], [(1, 1), (1, 1), (1, 1)],
]  # fmt: skip


@pytest.mark.parametrize("shapes", CHAINS, ids=str)
def test_chains(shapes):
    xs = [normal(*shape) for shape in shapes]
    expected = np.linalg.multi_dot(xs)
    close(gnp.linalg.multi_dot(xs), expected, 1e-12)
    close(graphad.jit(lambda *xs: gnp.linalg.multi_dot(xs))(*xs), expected, 1e-12)
    found = graphad.vmap(lambda *xs: gnp.linalg.multi_dot(xs), in_axes=(0, *[None] * (len(xs) - 1)))(
        np.stack([xs[0], -xs[0]]), *xs[1:]
    )
    close(found, np.stack([expected, -expected]), 1e-12)
    graphad.check_grads(lambda *xs: gnp.linalg.multi_dot(xs), tuple(xs), order=2)


def cost_of_every_order(sizes):
    """By trying all of them."""
    if len(sizes) <= 2:
        return 0
    return min(
        sizes[k - 1] * sizes[k] * sizes[k + 1] + cost_of_every_order([*sizes[:k], *sizes[k + 1 :]])
        for k in range(1, len(sizes) - 1)
    )


def cost(order, sizes, first, last):
    if first == last:
        return 0
    k = order.splits[first, last]
    own = sizes[first] * sizes[k + 1] * sizes[last + 1]
    return own + cost(order, sizes, first, k) + cost(order, sizes, k + 1, last)


@pytest.mark.parametrize("n", range(1, 7))
def test_no_order_is_cheaper(n):
    for _ in range(20):
        sizes = RNG.integers(1, 20, n + 1).tolist()
        order = cheapest_order(sizes)
        assert order.cost == cost_of_every_order(sizes) == cost(order, sizes, 0, n - 1)


def test_a_chain_is_multiplied_in_the_cheapest_order():
    """A vector at the end: no product of two matrices."""
    graph = graphad.make_graph(lambda *xs: gnp.linalg.multi_dot(xs))(
        normal(8, 8), normal(8, 8), normal(8, 8), normal(8)
    )
    assert [graph.avals[e.outputs[0]].shape for e in graph.eqns if e.primitive.name == "dot_general"] == [(8,)] * 3


# ---------------------------------------------------------------------------------------------------------------------
# Products


@pytest.mark.parametrize(
    ("left", "right", "axis"), [((3,), (3,), -1), ((2, 3), (3,), -1), ((3, 1, 4), (3, 5, 1), 0), ((0, 3), (1, 3), 1)]
)
def test_cross(left, right, axis):
    x, y = normal(*left), normal(*right)
    expected = np.cross(x, y, axis=axis)
    close(gnp.linalg.cross(x, y, axis=axis), expected, 1e-12)
    close(graphad.jit(lambda x, y: gnp.linalg.cross(x, y, axis=axis))(x, y), expected, 1e-12)
    graphad.check_grads(lambda x, y: gnp.linalg.cross(x, y, axis=axis), (x, y), order=2)


def test_names_of_the_standard_are_there():
    """Those of the functions that need no factorization."""
    names = """cross diagonal matmul matrix_norm matrix_power matrix_transpose outer tensordot trace vecdot
    vector_norm"""
    assert set(names.split()) <= set(dir(gnp.linalg))
    for name in ("multi_dot", "norm"):  # of NumPy and JAX
        assert name in dir(gnp.linalg)
