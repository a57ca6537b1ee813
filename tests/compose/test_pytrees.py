"""Pytrees as arguments, results, axes and tangents of every transform."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

import graphad
from tests.compose.tools import close, f64

Pair = namedtuple("Pair", "first second")


@dataclass
class Layer:
    weight: object
    bias: object


graphad.tree_util.register_pytree_node(
    Layer, lambda layer: ((layer.weight, layer.bias), None), lambda _, children: Layer(*children)
)
V = f64([0.3, -0.5, 0.9])
TREES = {
    "dict": {"w": V, "b": f64(2.0)},
    "list and None": [V, None, [f64(2.0), None]],
    "tuple": (V, (f64(2.0),)),
    "named tuple": Pair(V, f64(2.0)),
    "ordered dict": OrderedDict(b=f64(2.0), w=V),
    "dataclass": Layer(V, f64(2.0)),
    "empty containers": {"w": [V, {}, ()], "b": {"deep": {"er": f64(2.0)}}},
}


def loss(tree):
    small, vector = sorted(graphad.tree.leaves(tree), key=lambda x: x.ndim)
    return (vector * vector).sum() * small


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_gradients_have_the_structure_of_the_argument(tree):
    expected = {1: 2 * V * 2.0, 0: (V * V).sum()}
    for gradient in (graphad.grad(loss), graphad.jit(graphad.grad(loss))):
        got = gradient(tree)
        assert type(got) is type(tree)
        assert graphad.tree.structure(got) == graphad.tree.structure(tree)
        for leaf in graphad.tree.leaves(got):
            close(leaf, expected[leaf.ndim])


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_results_have_the_structure_that_was_returned(tree):
    double = lambda t: graphad.tree.map(lambda x: x * 2, t)
    for f in (
        graphad.jit(double),
        lambda t: graphad.jvp(double, (t,), (t,))[1],
        lambda t: graphad.vjp(double, t)[1](t)[0],
    ):
        got = f(tree)
        assert graphad.tree.structure(got) == graphad.tree.structure(tree)
        for a, b in zip(graphad.tree.leaves(got), graphad.tree.leaves(tree), strict=True):
            close(a, 2 * b)


def test_several_arguments_and_aux():
    f = lambda p, x, *, scale: ((p["w"] * x).sum() * scale, {"seen": x, "n": 3})
    grads, aux = graphad.grad(f, argnums=(1, 0), has_aux=True)({"w": V}, V * 2, scale=2.0)
    close(grads[0], V * 2)
    close(grads[1]["w"], V * 4)
    close(aux["seen"], V * 2)
    assert int(aux["n"]) == 3
    (value, aux), by_x = graphad.value_and_grad(f, argnums=-1, has_aux=True)({"w": V}, V * 2, scale=2.0)
    close(value, 4 * (V * V).sum())
    close(by_x, V * 2)
    close(aux["seen"], V * 2)


def test_aux_of_every_transform():
    f = lambda x: (x * 2.0, {"aux": x + 1.0})
    value, pullback, aux = graphad.vjp(f, V, has_aux=True)
    close(value, V * 2)
    close(pullback(V)[0], V * 2)
    close(aux["aux"], V + 1)
    value, tangent, aux = graphad.jvp(f, (V,), (V,), has_aux=True)
    close(tangent, V * 2)
    close(aux["aux"], V + 1)
    value, linear, aux = graphad.linearize(f, V, has_aux=True)
    close(linear(V), V * 2)
    close(aux["aux"], V + 1)
    for jacobian in (graphad.jacfwd, graphad.jacrev):
        jac, aux = jacobian(f, has_aux=True)(V)
        close(jac, np.eye(3) * 2)
        close(aux["aux"], V + 1)


def test_a_repeated_argnum_and_an_argument_given_twice():
    f = lambda x, y: (x * y).sum()
    first, second = graphad.grad(f, (0, 0))(V, V * 3)
    close(first, V * 3)
    close(second, V * 3)
    by_x, by_y = graphad.grad(f, (0, 1))(V, V)
    close(by_x, V)
    close(by_y, V)


def test_keyword_arguments_are_leaves_by_name():
    f = graphad.jit(lambda x, **kw: x * kw["a"] - kw["b"])
    assert float(f(2.0, a=3.0, b=1.0)) == float(f(2.0, b=1.0, a=3.0)) == 5.0
    assert len(f._trees) == 1


def test_integer_leaves_with_allow_int():
    g = graphad.grad(lambda p: p["x"] * p["n"], allow_int=True)({"x": f64(2.0), "n": np.int32(3)})
    close(g["x"], 3.0)
    assert g["n"].dtype == graphad.float0
    with pytest.raises(TypeError, match=r"argument 0 \(leaf 0\) is i32\[\]"):
        graphad.grad(lambda p: p["x"] * p["n"])({"x": f64(2.0), "n": np.int32(3)})


def test_structures_that_differ_compile_apart():
    f = graphad.jit(lambda t: graphad.tree.leaves(t)[0] * len(graphad.tree.leaves(t)))
    assert [float(f(t)) for t in ((1.0,), [1.0], {"a": 1.0}, (1.0, 2.0))] == [1.0, 1.0, 1.0, 2.0]
    assert len(f._trees) == 4


def test_ravel_and_back():
    flat, unravel = graphad.flatten_util.ravel_pytree({"w": V.reshape(3, 1), "b": f64(2.0)})
    close(flat, [2.0, 0.3, -0.5, 0.9])
    tree = unravel(flat * 2)
    close(tree["w"], 2 * V.reshape(3, 1))
    close(graphad.grad(lambda f: unravel(f)["w"].sum())(flat), [0.0, 1.0, 1.0, 1.0])


def test_a_graph_takes_and_returns_trees():
    shapes = graphad.eval_shape(
        lambda t: {"y": t["x"].sum(), "z": t["x"]}, {"x": graphad.ShapeDtypeStruct((2, 3), "float64")}
    )
    assert shapes["y"] == graphad.ShapeDtypeStruct((), "float64")
    assert shapes["z"].shape == (2, 3)
