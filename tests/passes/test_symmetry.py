"""What is known to be symmetric: never what is not, and what it saves."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.stages import default_pipeline
from graphad.config import config
from graphad.ir.evaluate import evaluate
from graphad.passes.pipeline import applied
from graphad.passes.rewrite import Rewriter
from graphad.passes.simplify import EXACT_RULES
from graphad.passes.symmetry import is_symmetric
from graphad.primitives.contract import dot_general

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 5))
T = gnp.matrix_transpose


def differences(x):
    return x[:, 0, None] - x[:, 0]


SYMMETRIC = {
    "rows": lambda x: x @ x.T,
    "columns": lambda x: x[:, :3].T @ x[:, :3],
    "batch": lambda x: (lambda b: b @ T(b))(gnp.stack([x, 2 * x])),
    "sum with transpose": lambda x: x + x.T,
    "product with transpose": lambda x: x.T * x,
    "of a stack": lambda x: (lambda b: b + T(b))(gnp.stack([x, 2 * x])),
    "scaled sum of such": lambda x: 3 * (x + x.T) - gnp.sin(x @ x.T) / x[0, 0],
    "one number": lambda x: gnp.broadcast_to(x[0, 0], (4, 4)),
    "repeated": lambda x: gnp.broadcast_to(x + x.T, (2, 5, 5)),
    "squared differences": lambda x: gnp.exp(-((differences(x) / x[0, 0]) ** 2) / 2),
    "distances": lambda x: gnp.sqrt(gnp.sum((x[:, None] - x) ** 2, -1)),
    "distances by products": lambda x: (lambda s: s[:, None] + s - 2 * (x @ x.T))(gnp.sum(x * x, 1)),
    "products of differences": lambda x: differences(x) * gnp.negative(gnp.transpose(differences(x))),
    "absolute differences": lambda x: gnp.abs(differences(x)),
    "cubed absolute": lambda x: gnp.abs(differences(x) ** 3),
    "largest of both": lambda x: gnp.maximum(x, x.T),
    "chosen by one number": lambda x: gnp.where(x[0, 0] > 0, x + x.T, 0.0),
}
OTHERS = {
    "matrix": lambda x: x,
    "product": lambda x: x @ x,
    "product of two": lambda x: x @ (x * x).T,
    "transposed product": lambda x: (x @ x.T) @ x,
    "difference from transpose": lambda x: x - x.T,
    "differences": differences,
    "cubed differences": lambda x: differences(x) ** 3,
    "sum with differences": lambda x: x @ x.T + differences(x),
    "difference times symmetric": lambda x: differences(x) * (x + x.T),
    "quotient by transpose": lambda x: x / x.T,
    "one column repeated": lambda x: gnp.broadcast_to(x[:, 0], (5, 5)),
    "triangle": lambda x: gnp.tril(x @ x.T),
    "products of two axes": lambda x: (lambda b: gnp.tensordot(b, b, 1))(x.reshape(5, 5, 1)[:, :, 0]),
    "no square": lambda x: gnp.broadcast_to(x[0, 0], (3, 4)),
    "comparison": lambda x: gnp.less(x, x.T) + 0.0,
}


def answer(f):
    """Whether the result of ``f`` is known to be symmetric, and the result."""
    graph = applied(graphad.jit(f).graph(X), "inline{custom=True},simplify")
    rewriter = Rewriter(EXACT_RULES)
    (result,) = rewriter.inline(graph, [rewriter.input(a) for a in graph.in_avals])
    rank = len(rewriter.avals[result].shape)
    (value,) = evaluate(graph, [X])
    return is_symmetric(rewriter, result, (rank - 2, rank - 1)), value


@pytest.mark.parametrize("name", SYMMETRIC)
def test_what_is_known(name):
    known, value = answer(SYMMETRIC[name])
    assert known
    np.testing.assert_allclose(value, np.swapaxes(value, -1, -2), rtol=1e-14)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not(name):
    known, value = answer(OTHERS[name])
    assert not known
    assert value.shape[0] != value.shape[1] or not np.allclose(value, np.swapaxes(value, -1, -2))


def products(f, *args):
    graph = applied(graphad.jit(f).graph(*args), default_pipeline())
    return [eqn for eqn in graph.eqns if eqn.primitive is dot_general], str(graph)


@pytest.mark.parametrize("gram", [lambda x: x @ x.T, lambda x: x.T @ x])
def test_the_adjoint_of_a_symmetric_function_of_a_gram_matrix_makes_one_product(gram):
    def f(x):
        return gnp.sum(gnp.sin(gram(x)) ** 2)

    made, _ = products(graphad.value_and_grad(f), X)
    assert len(made) == 2
    graphad.check_grads(f, (X,), order=1)


@pytest.mark.parametrize("gram", [lambda x: x @ x.T, lambda x: x.T @ x])
def test_with_fast_math_every_adjoint_makes_one_product(gram):
    def f(x, w):
        return gnp.sum(w * gram(x))

    gradient = graphad.grad(f)
    assert len(products(gradient, X, X)[0]) == 2
    expected = graphad.jit(gradient)(X, X)
    with config.override(fast_math=True):
        assert len(products(gradient, X, X)[0]) == 1
        np.testing.assert_allclose(graphad.jit(gradient)(X, X), expected, rtol=1e-12)


def test_factorizations_do_not_transpose_what_is_symmetric():
    def f(x):
        return gnp.sum(gnp.linalg.cholesky(x @ x.T)), gnp.sum(gnp.linalg.eigvalsh(x + x.T))

    x = RNG.normal(size=(20, 25))[:, :20]
    assert products(f, x)[1].count("transpose[") == 1, "that of x + x.T itself"
