"""Products of matrices and vectors of every kind that reach BLAS: merged, transposed, strided, reversed."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.stages import compiled
from graphad.backends.loops.ir import Gemm
from graphad.backends.loops.steps import every_step

RNG = np.random.default_rng(0)
M, V = RNG.normal(size=(200, 190)), RNG.normal(size=400)

VECTOR_PRODUCTS = {
    "matrix with one number repeated": lambda m, v: m @ gnp.broadcast_to(v[0], (190,)),
    "matrix with vector": lambda m, v: m @ v[:190],
    "vector with matrix": lambda m, v: v[:200] @ m,
    "transposed matrix with vector": lambda m, v: m.T @ v[:200],
    "vector of every second": lambda m, v: m @ v[:380:2],
    "reversed vector": lambda m, v: m @ v[189::-1],
    "vector with every second column": lambda m, v: v[:200] @ m[:, ::2],
    "column": lambda m, v: m @ v[:190, None],
    "row": lambda m, v: v[None, :200] @ m,
    "column of a matrix": lambda m, v: m.T @ m[:, 3],
    "row of a matrix": lambda m, v: m @ m[3],
    "batch of matrices with a vector": lambda m, v: gnp.stack([m, 2 * m]) @ v[:190],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", VECTOR_PRODUCTS)
def test_products_with_vectors(name, dtype):
    f, m, v = VECTOR_PRODUCTS[name], M.astype(dtype), V.astype(dtype)
    jitted = graphad.jit(f)
    expected = f(gnp.asarray(m), gnp.asarray(v))
    assert jitted(m, v).dtype == dtype
    np.testing.assert_allclose(jitted(m, v), expected, rtol=2e-4 if dtype is np.float32 else 1e-11, atol=1e-4)
    assert any(isinstance(step, Gemm) for step in compiled(jitted.graph(m, v)).program.steps)


def test_small_products_with_vectors_are_loops():
    jitted = graphad.jit(lambda m, v: m @ v)
    program = compiled(jitted.graph(M[:20, :20], V[:20])).program
    assert not any(isinstance(step, Gemm) for step in program.steps)


def widened(function, *args):
    """How many elements each factor of a product has, in order of size; and the products."""
    program = compiled(graphad.jit(function).graph(*args)).program
    products = [step for step in program.steps if isinstance(step, Gemm)]
    factors = {m.buffer for g in products for m in (g.a, g.b)}
    return sorted(b.size for b in program.buffers if b.name in factors), products


def squares(x, w):
    return gnp.sum(gnp.tanh(x @ w) ** 2)


def test_factors_of_16_bits_are_widened_once():
    x, w = M[:30, :20].astype(np.float16), M[:20, :40].astype(np.float16)
    sizes, products = widened(graphad.grad(squares, argnums=(0, 1)), x, w)
    assert len(products) == 3
    assert sizes == [x.size, w.size, 30 * 40], "each of them is in two products"


def test_factors_of_16_bits_are_widened_before_they_are_transposed():
    x = M[:30, :20].astype(np.float16)
    sizes, (product,) = widened(lambda x: x @ x.T, x)
    assert sizes == [x.size]
    assert product.b.transposed
    assert not product.a.transposed


def test_what_is_computed_again_is_widened_again():
    x, w = M[:30, :20].astype(np.float16), M[:20, :40].astype(np.float16)
    sizes, products = widened(graphad.value_and_grad(graphad.checkpoint(squares), argnums=(0, 1)), x, w)
    assert len(products) == 4
    assert sizes == [x.size, x.size, w.size, w.size, 30 * 40], "or it would take memory in between"


GRAM_PRODUCTS = {
    "rows": lambda x: x @ x.T,
    "columns": lambda x: x.T @ x,
    "a copy of every second row and column": lambda x: (lambda b: b @ b.T)(x.T[::2, ::2]),
    "rows in reverse order": lambda x: x[::-1] @ x[::-1].T,
    "columns of a block": lambda x: x[5:, 3:].T @ x[5:, 3:],
    "batch": lambda x: (lambda b: b @ gnp.matrix_transpose(b))(gnp.stack([x, 2 * x])),
    "over two axes": lambda x: (lambda b: gnp.tensordot(b, b, axes=((1, 2), (1, 2))))(x.reshape(200, 95, 2)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", GRAM_PRODUCTS)
def test_products_of_a_matrix_with_its_transpose(name, dtype):
    f, x = GRAM_PRODUCTS[name], M.astype(dtype)
    x[7, 8], x[50, 60] = np.nan, np.inf
    jitted = graphad.jit(f)
    (product,) = [s for s in compiled(jitted.graph(x)).program.steps if isinstance(s, Gemm)]
    assert product.symmetric
    got = np.asarray(jitted(x)).astype(np.float64)
    np.testing.assert_array_equal(got, got.swapaxes(-1, -2), err_msg="symmetric to the bit")
    expected = np.asarray(f(gnp.asarray(x.astype(np.float64))))
    tolerance = {np.float32: 1e-4, np.float64: 1e-11, np.float16: 2e-3}[dtype]
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=20 * tolerance)


def test_small_and_other_products_are_not_symmetric():
    for f in (lambda x: x[:31] @ x[:31].T, lambda x: x[:, :63] @ x[:, :63].T, lambda x: x @ (x + 1).T):
        steps = every_step(compiled(graphad.jit(f).graph(M)).program.steps)
        products = [s for s in steps if isinstance(s, Gemm)]
        assert products
        assert not any([p.symmetric for p in products])
