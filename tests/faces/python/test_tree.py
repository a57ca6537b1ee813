"""Pytrees: `graphad.tree`, `graphad.tree_util` and `graphad.flatten_util`, against JAX's."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field, make_dataclass

import jax
import jax.flatten_util
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import flatten_util, tree, tree_util

Point = namedtuple("Point", ["x", "y"])
TREES = [
    3,
    None,
    (),
    [1, [2, (3,)]],
    {"b": 2, "a": {"z": 1, "y": None}},
    Point(1, [2, 3]),
    OrderedDict([("b", 1), ("a", 2)]),
    (1, None, {"k": (2, [])}),
]


@pytest.mark.parametrize("t", TREES)
def test_leaves_and_structure(t):
    leaves, structure = tree.flatten(t)
    assert leaves == jax.tree.leaves(t)
    assert tree.unflatten(structure, leaves) == t
    assert tree.structure(t) == structure
    assert tree.leaves(t) == tree_util.tree_leaves(t) == leaves
    assert tree.map(lambda x: x + 1, t) == jax.tree.map(lambda x: x + 1, t)


def test_map_over_several():
    assert tree.map(lambda a, b: (a, b), {"x": 1, "y": [2]}, {"x": 3, "y": [4]}) == {"x": (1, 3), "y": [(2, 4)]}
    with pytest.raises(ValueError, match="y"):
        tree.map(lambda a, b: a, {"x": 1}, {"y": 1})


def test_is_leaf():
    pairs = [(1, 2), (3, 4)]
    assert tree.leaves(pairs, is_leaf=lambda x: isinstance(x, tuple)) == pairs
    assert tree.map(sum, pairs, is_leaf=lambda x: isinstance(x, tuple)) == [3, 7]


def test_reduce_all_transpose():
    assert tree.reduce(lambda a, b: a + b, {"a": 1, "b": (2, 3)}) == 6
    assert tree.reduce(lambda a, b: a + b, {"a": 1}, 10) == 11
    assert tree.all((True, [1])) is True
    assert tree.all((True, [0])) is False
    inside_out = tree.transpose(
        tree.structure([0, 0]), tree.structure({"a": 0, "b": 0}), [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    )
    assert inside_out == {"a": [1, 3], "b": [2, 4]}
    assert tree.transpose(tree.structure([0, 0]), None, [(1, 2), (3, 4)]) == ([1, 3], [2, 4])


def test_paths():
    t = {"a": [1, Point(2, 3)]}
    assert tree.leaves_with_path(t) == [(("a", 0), 1), (("a", 1, 0), 2), (("a", 1, 1), 3)]
    assert tree.map_with_path(lambda path, x: (len(path), x), t) == {"a": [(2, 1), Point((3, 2), (3, 3))]}
    assert tree_util.keystr(("a", 1)) == "['a'][1]"


@tree_util.register_pytree_node_class
@dataclass
class Layer:
    w: object
    b: object
    name: str = "dense"

    def tree_flatten(self):
        return (self.w, self.b), self.name

    @classmethod
    def tree_unflatten(cls, name, children):
        return cls(*children, name)


def test_registered_classes_go_through_transforms():
    layer = Layer(gnp.ones(2), gnp.float32(0.5))
    gradient = graphad.grad(lambda layer: (layer.w * 3).sum() + layer.b)(layer)
    assert isinstance(gradient, Layer)
    assert (gradient.w.tolist(), float(gradient.b), gradient.name) == ([3, 3], 1.0, "dense")
    assert tree.structure(layer) != tree.structure(Layer(0, 0, "other"))


def test_dataclasses_are_registered_by_their_fields():
    @tree_util.register_dataclass
    @dataclass
    class One:
        w: object
        static: str = field(metadata={"static": True}, default="a")
        kept: object = field(init=False, default=7)

    @dataclass
    class Other:
        w: object
        static: str = "a"
        dropped: int = 3

    tree_util.register_dataclass(Other, data_fields=["w"], meta_fields=("static",), drop_fields=["dropped"])
    for cls in (One, Other):
        gradient = graphad.grad(lambda m: (m.w**2).sum())(cls(gnp.ones(2)))
        assert (type(gradient), gradient.w.tolist(), gradient.static) == (cls, [2, 2], "a")
        assert tree.structure(cls(1)) == tree.structure(cls(2)) != tree.structure(cls(1, "b"))
    assert tree.map(lambda x: x, Other(1, "b", 9)).dropped == 3


class Plain:
    pass


WRONG = {
    "no dataclass": (lambda: tree_util.register_dataclass(int), TypeError, "takes a dataclass, got <class 'int'>"),
    "other fields": (
        lambda: tree_util.register_dataclass(make_dataclass("Wrong", ["x"]), ["y"], []),
        ValueError,
        r"data fields \['y'\] .* must be the fields of Wrong, \['x'\], each once",
    ),
    "registered twice": (
        lambda: tree_util.register_pytree_node_class(Layer), ValueError, "Layer.*is already registered"
    ),
    "without methods": (
        lambda: tree_util.register_pytree_node_class(Plain), TypeError, "Plain without tree_flatten and tree_unflatten"
    ),
    "too few leaves": (
        lambda: tree.unflatten(tree.structure((1, {"a": 2})), [1]),
        ValueError,
        r"the structure \(\*, {'a': \*}\) has 2 leaves; tree_unflatten got 1",
    ),
    "map": (
        lambda: tree.map(max, (1, 2), (1, 2, 3)), ValueError, "tree_map got trees of different structures: .*2, got: 3"
    ),
    "map with paths": (
        lambda: tree.map_with_path(max, {"a": 1}, {"b": 1}),
        ValueError,
        "tree_map_with_path got trees of different structures: .*missing",
    ),
    "transpose": (lambda: tree.transpose(tree.structure([0, 0]), None, [(1, 2)]), ValueError, "arity mismatch"),
}  # fmt: skip


@pytest.mark.parametrize(("use", "error", "message"), WRONG.values(), ids=WRONG)
def test_errors_name_the_line(use, error, message):
    with pytest.raises(error, match=rf"^.*test_tree\.py:\d+: .*{message}"):
        use()


def test_partial_is_a_tree_of_its_arguments():
    f = tree_util.Partial(lambda a, x, b: a * x + b, 2.0, b=1.0)
    assert f(3.0) == 7.0
    assert tree.leaves(f) == [2.0, 1.0]
    gradient = graphad.grad(lambda f: f(3.0))(f)
    assert (float(gradient.args[0]), float(gradient.keywords["b"])) == (3.0, 1.0)


def test_ravel_pytree():
    t = {"w": gnp.arange(6.0).reshape(2, 3), "n": gnp.arange(2), "s": 1.5, "none": None}
    vector, unravel = flatten_util.ravel_pytree(t)
    expected, unravel_jax = jax.flatten_util.ravel_pytree(tree.map(np.asarray, t) | {"s": 1.5})
    np.testing.assert_array_equal(vector, expected)
    assert vector.dtype == expected.dtype
    back = unravel(2 * vector)
    for x, y in zip(tree.leaves(back), jax.tree.leaves(unravel_jax(2 * expected)), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype
    assert back["none"] is None


def test_ravel_pytree_has_derivatives():
    def f(t):
        vector, unravel = flatten_util.ravel_pytree(t)
        return (vector * gnp.arange(3.0)).sum() + unravel(vector)["b"] ** 2

    gradient = graphad.grad(f)({"a": gnp.ones(2), "b": 3.0})
    assert (gradient["a"].tolist(), float(gradient["b"])) == ([0, 1], 8)


def test_ravel_nothing():
    vector, unravel = flatten_util.ravel_pytree({"a": None})
    assert vector.shape == (0,)
    assert unravel(vector) == {"a": None}


def test_unravel_checks_the_shape():
    _, unravel = flatten_util.ravel_pytree([gnp.ones(2)])
    with pytest.raises(ValueError, match=r"test_tree.py:\d+: unravel takes a vector of 2 elements, got shape \(3,\)"):
        unravel(gnp.ones(3))
