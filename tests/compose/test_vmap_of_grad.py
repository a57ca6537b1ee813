"""`vmap` around derivatives, derivatives around `vmap`, and `vmap` in itself."""

from __future__ import annotations

import numpy as np

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close, f64, slope

BATCH = f64([0.3, -0.5, 0.9])


def test_per_example_gradients():
    matrix = np.arange(12.0).reshape(4, 3) / 10
    loss = lambda w, x: gnp.tanh(x @ w) ** 2
    got = graphad.vmap(graphad.grad(loss), in_axes=(None, 0))(BATCH, matrix)
    close(got, [graphad.grad(loss)(BATCH, row) for row in matrix], 1e-12)


def test_batches_reach_into_the_closure_of_a_gradient():
    def f(w):
        return graphad.vmap(lambda x: graphad.grad(lambda z: gnp.sin(z * w) * x)(x))(BATCH).sum()

    close(graphad.grad(f)(f64(0.7)), slope(lambda w: sum(np.cos(x * w) * w * x for x in BATCH), 0.7))


def test_everything_inside_everything():
    @graphad.jit
    def top(xs, w):
        inner = lambda z, x: graphad.jit(lambda q: gnp.tanh(q * w) * q)(z) * x
        return graphad.vmap(lambda x: graphad.grad(lambda z: inner(z, x))(x))(xs)

    for xs, w in ((BATCH, 0.7), (BATCH * 2, 0.1)):
        close(top(xs, f64(w)), [slope(lambda q: np.tanh(q * w) * q, x) * x for x in xs])


def test_grad_of_vmap_sums_cotangents_of_unmapped_values_over_the_batch():
    weight = f64([1.0, 2.0])
    rows = f64([[1.0, 3.0], [0.5, -1.0], [2.0, 2.0]])
    f = lambda w: graphad.vmap(lambda r: (r * w).sum() ** 2)(rows).sum()
    close(graphad.grad(f)(weight), 2 * (rows @ weight) @ rows)


def test_vmap_of_vmap_is_an_outer_product():
    table = graphad.vmap(lambda x: graphad.vmap(lambda y: x * y + 1.0)(BATCH))(BATCH * 2)
    close(table, np.outer(BATCH * 2, BATCH) + 1.0)


def test_axes_in_and_out():
    matrix = np.arange(6.0).reshape(2, 3)
    close(graphad.vmap(lambda c: c * 2, in_axes=1, out_axes=1)(matrix), matrix * 2)
    close(graphad.vmap(lambda c: c.sum(), in_axes=1)(matrix), matrix.sum(0))
    close(graphad.vmap(lambda c: c.sum(), in_axes=-1)(matrix), matrix.sum(0))
    tree = {"a": matrix, "b": f64(2.0)}
    got = graphad.vmap(lambda t: t["a"] * t["b"], in_axes=({"a": 0, "b": None},), out_axes=-1)(tree)
    close(got, (matrix * 2).T)


def test_results_that_do_not_depend_on_the_batch():
    close(graphad.vmap(lambda x: 1.0)(BATCH), np.ones(3))
    ones, same = graphad.vmap(lambda x: (x * 0 + 1, 2.0), out_axes=(0, None))(BATCH)
    close(ones, np.ones(3))
    assert same.shape == ()
    close(graphad.vmap(lambda: gnp.arange(2.0), axis_size=3)(), [[0.0, 1.0]] * 3)


def test_batches_of_none_and_of_one():
    assert graphad.vmap(lambda x: gnp.sin(x).sum())(np.zeros((0, 3))).shape == (0,)
    close(graphad.vmap(lambda x: x * 2)(f64([3.0])), [6.0])


def test_a_shared_argument_may_decide_a_branch():
    f = lambda x, s: x * 2.0 if s > 0 else x * 3.0
    batched = graphad.vmap(f, (0, None))
    close(batched(BATCH, f64(1.0)), BATCH * 2)
    compiled = graphad.jit(batched)
    for sign, factor in ((-1.0, 3), (1.0, 2), (-2.0, 3)):
        close(compiled(BATCH, f64(sign)), BATCH * factor)
    inside = graphad.jit(lambda x, s: graphad.vmap(graphad.jit(f), (0, None))(x, s))
    for sign, factor in ((-1.0, 3), (1.0, 2), (-2.0, 3)):
        close(inside(BATCH, f64(sign)), BATCH * factor)


def test_jacobians_of_pytrees():
    f = lambda p: {"y": p["w"] * p["b"], "z": p["w"].sum()}
    point = {"w": BATCH, "b": f64(2.0)}
    for jacobian in (graphad.jacfwd, graphad.jacrev):
        jac = jacobian(f)(point)
        close(jac["y"]["w"], np.eye(3) * 2)
        close(jac["y"]["b"], BATCH)
        close(jac["z"]["w"], np.ones(3))
        close(jac["z"]["b"], 0.0)


def test_jacobians_of_matrices_and_several_arguments():
    a, b = np.arange(6.0).reshape(2, 3), f64([1.0, 2.0, 3.0])
    f = lambda a, b: a @ b
    for jacobian in (graphad.jacfwd, graphad.jacrev):
        by_a, by_b = jacobian(f, argnums=(0, 1))(a, b)
        close(by_a, np.einsum("ij,k->ijk", np.eye(2), b))
        close(by_b, a)
