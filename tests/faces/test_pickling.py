"""Compiled functions among processes, and arguments that are given up: pickling and donation."""

from __future__ import annotations

import copy
import pickle
import weakref
from functools import partial

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import DeletedArrayError
from graphad.trace.pytree import flatten


def power(x, n):
    return gnp.sum(x**n)


@graphad.jit
def decorated(x):
    return x * 2


@graphad.compile_grad(with_value=True)
def decorated_gradient(x):
    return gnp.sum(x * x)


# ---------------------------------------------------------------------------------------------------------------------
# Pickling


def test_decorated_functions_are_found_by_name():
    for f in (decorated, decorated_gradient):
        assert pickle.loads(pickle.dumps(f)) is f


MADE = {
    "jit": lambda: graphad.jit(power, static_argnums=1),
    "jit by name": lambda: graphad.jit(power, static_argnames="n"),
    "a donating jit": lambda: graphad.jit(power, static_argnums=1, donate_argnums=0),
    "compile_grad": lambda: graphad.compile_grad(power, static_argnums=1, with_value=True, fast_math=True),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_function_and_options(make):
    f = make()
    f(gnp.arange(1.0, 4.0), 3)  # what is compiled is not pickled
    again = pickle.loads(pickle.dumps(f))
    assert type(again) is type(f)
    assert again is not f
    assert again._options == f._options
    for a, b in zip(*[flatten(g(gnp.arange(3.0), 3))[0] for g in (f, again)], strict=True):
        np.testing.assert_array_equal(a, b)


def test_partial_functions_pickle():
    f = pickle.loads(pickle.dumps(graphad.jit(partial(power, n=2))))
    assert f(gnp.array([1.0, 2.0])) == 5


@pytest.mark.parametrize("make", [graphad.jit, graphad.compile_grad, lambda f: graphad.jit(graphad.grad(f))])
def test_functions_without_a_name_do_not_pickle(make):
    with pytest.raises(TypeError, match=r"cannot be pickled: .* was made while the program ran.*Define it with def"):
        pickle.dumps(make(lambda x: x.sum()))


def test_copies_of_compiled_functions_are_themselves():
    for f in (graphad.jit(lambda x: x), graphad.compile_grad(lambda x: x)):
        assert copy.copy(f) is f
        assert copy.deepcopy({"f": f})["f"] is f


# ---------------------------------------------------------------------------------------------------------------------
# Donation


def test_donated_arrays_are_deleted_and_their_memory_freed():
    step = graphad.jit(lambda state, x: {"w": state["w"] + x, "n": state["n"] + 1}, donate_argnums=0)
    x = gnp.ones(3)
    state = {"w": gnp.zeros(3), "n": gnp.asarray(0)}
    for k in range(3):
        memory = weakref.ref(state["w"]._value)
        old, state = state, step(state, x)
        assert old["w"].is_deleted()
        assert old["n"].is_deleted()
        assert memory() is None
        assert state["w"].tolist() == [k + 1.0] * 3
    assert not x.is_deleted()
    assert (int(state["n"]), repr(old["w"])) == (3, "Array(deleted)")


USES = {
    "operators": lambda x: x + 1,
    "attributes": lambda x: x.shape,
    "functions": lambda x: gnp.sin(x),
    "NumPy": lambda x: np.asarray(x),
    "NumPy's functions": lambda x: np.sin(x),
    "DLPack": lambda x: np.from_dlpack(x),
    "compiled functions": lambda x: decorated(x),
    "derivatives": lambda x: graphad.grad(lambda y: y.sum())(x),
    "captures": lambda x: graphad.jit(lambda y: x + y)(1.0),
    "pickle": lambda x: pickle.dumps(x),
    "bool": lambda x: bool(x),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_deleted_arrays_raise(use):
    decorated(gnp.ones(3))
    x = gnp.ones(3)
    graphad.jit(lambda x: x * 2, donate_argnums=-1)(x)
    with pytest.raises(DeletedArrayError, match=r"^test_pickling\.py:\d+: this array is deleted.*donate_argnums"):
        use(x)


def test_other_attributes_are_missing_as_ever():
    with pytest.raises(AttributeError, match="'Array' object has no attribute 'shap'"):
        gnp.ones(3).shap
    assert not hasattr(gnp.ones(3), "to_numpy")


def test_what_is_returned_survives():
    """Also if it is the argument itself, or another view of its memory was handed out before."""
    x = gnp.arange(3.0)
    view = np.asarray(x)
    y = graphad.jit(lambda x: x, donate_argnums=0)(x)
    assert x.is_deleted()
    assert y.tolist() == view.tolist() == [0, 1, 2]


def test_arrays_of_numpy_are_the_callers():
    x = np.arange(3.0)
    assert graphad.jit(lambda x: x * 2, donate_argnums=(0,))(x).tolist() == [0, 2, 4]
    assert x.tolist() == [0, 1, 2]


def test_no_array_is_donated_twice():
    x = gnp.ones(3)
    f = graphad.jit(lambda a, b: a + b["c"], donate_argnums=(0, 1))
    g = graphad.jit(lambda a, b: a + b["c"], donate_argnums=0)
    for call in (lambda: f(x, {"c": x}), lambda: g(x, {"c": x}), lambda: g(x, b={"c": x})):
        with pytest.raises(ValueError, match="which is donated, is passed a second time"):
            call()
    assert x.tolist() == [1, 1, 1]


def test_nothing_is_deleted_where_the_call_fails_or_is_part_of_another():
    x = gnp.ones(3)
    f = graphad.jit(lambda x: x.sum(), donate_argnums=0)
    assert graphad.grad(f)(x).tolist() == [1, 1, 1]
    with pytest.raises(TypeError, match="reshape"):
        graphad.jit(lambda x: x.reshape(2), donate_argnums=0)(x)
    with graphad.config.override(disable_jit=True):
        f(x)
    assert not x.is_deleted()
    with pytest.raises(ValueError, match="both static and donated"):
        graphad.jit(lambda x: x, donate_argnums=0, static_argnums=0)
    with pytest.raises(ValueError, match="1 positional argument"):
        graphad.jit(lambda x: x, donate_argnums=1)(x)
