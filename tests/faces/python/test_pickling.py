"""Compiled functions among processes, and arguments that are given up: pickling and donation."""

from __future__ import annotations

import copy
import inspect
import io
import marshal
import pickle
import weakref
from functools import partial
from types import FunctionType

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


@graphad.grad
def decorated_grad(x):
    return gnp.sum(x * x)


@graphad.vmap
@graphad.jit
def decorated_twice(x):
    return x * 2


@graphad.checkpoint
def decorated_checkpoint(x):
    return x * 2


@graphad.custom_jvp
def decorated_jvp(x):
    return x * 2


@decorated_jvp.defjvp
def jvp_rule(primals, tangents):
    return primals[0] * 2, tangents[0] * 5


@gnp.vectorize
def decorated_vectorize(x):
    return x * 2


def twice(x):
    return x * 2


def twice_fwd(x):
    return x * 2, None


def twice_bwd(residual, ct):
    return (ct * 7,)


def twice_jvp(primals, tangents):
    return primals[0] * 2, tangents[0] * 5


# ---------------------------------------------------------------------------------------------------------------------
# Pickling

DECORATED = [
    decorated, decorated_gradient, decorated_grad, decorated_twice, decorated_checkpoint, decorated_jvp,
    decorated_vectorize,
]  # fmt: skip


@pytest.mark.parametrize("f", DECORATED)
def test_decorated_functions_are_found_by_name(f):
    assert pickle.loads(pickle.dumps(f)) is f
    again = pickle.loads(pickle.dumps(graphad.jit(graphad.checkpoint(f))))
    close(again(X), f(X))


X = gnp.arange(1.0, 4.0)
TRANSFORMED = {
    "grad": lambda: graphad.grad(power, has_aux=False),
    "value_and_grad": lambda: graphad.value_and_grad(power, argnums=(0,)),
    "jacfwd": lambda: graphad.jacfwd(power),
    "jacrev": lambda: graphad.jacrev(power, argnums=(0,)),
    "jacobian": lambda: graphad.jacobian(power),
    "hessian": lambda: graphad.hessian(power),
    "vmap": lambda: graphad.vmap(power, in_axes=(0, None), out_axes=-1, axis_size=3),
    "checkpoint": lambda: graphad.checkpoint(power),
    "make_graph": lambda: graphad.make_graph(power),
    "jit": lambda: graphad.jit(power, static_argnums=1),
    "compile_grad": lambda: graphad.compile_grad(power, static_argnums=1),
    "vectorize": lambda: gnp.vectorize(power, excluded={1}),
    "grad of jit": lambda: graphad.grad(graphad.jit(power, static_argnums=1)),
    "vmap of grad of partial": lambda: graphad.vmap(graphad.grad(partial(power, n=2)), (0, None)[:1]),
}
#: They take the arguments as well, or have rules.
NOT_OF_A_FUNCTION_ALONE = {
    "check_grads", "check_vmap", "custom_jvp", "custom_vjp", "eval_shape", "hvp", "jvp", "linear_transpose",
    "linearize", "vjp",
}  # fmt: skip


def close(got, expected):
    (got, structure), (expected, other) = flatten(got), flatten(expected)
    assert structure == other
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(x, object), np.asarray(y, object))


def test_every_transformation_is_listed():
    names = {n for n, f in vars(graphad).items() if callable(f) and first_parameter(f) in ("fun", "f")}
    assert names == ({n for n in TRANSFORMED if " " not in n} - {"vectorize"}) | NOT_OF_A_FUNCTION_ALONE


def first_parameter(f):
    try:
        return next(iter(inspect.signature(f).parameters), None)
    except (TypeError, ValueError):
        return None


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformed_functions_pickle_where_the_function_does(name):
    f = TRANSFORMED[name]()
    args = (X,) if "partial" in name else (X, 3)
    expected = f(*args)
    again = pickle.loads(pickle.dumps(f))
    assert (type(again), again.__name__, again.__doc__) == (type(f), f.__name__, f.__doc__)
    assert inspect.signature(again) == inspect.signature(f)
    close(again(*args), expected)
    assert copy.copy(f) is f
    assert copy.deepcopy([f])[0] is f


def test_a_transposed_function_pickles():
    f = graphad.linear_transpose(twice, X)
    again = pickle.loads(pickle.dumps(f))
    close(again(X), f(X))
    assert again.__name__ == f.__name__ == "linear_transpose(twice)"
    assert list(inspect.signature(f).parameters) == ["ct"]


def test_custom_rules_pickle_with_their_rules():
    f = graphad.custom_jvp(twice)
    f.defjvp(twice_jvp)
    g = graphad.custom_vjp(twice)
    g.defvjp(twice_fwd, twice_bwd)
    for h, slope in ((f, 5), (g, 7)):
        again = pickle.loads(pickle.dumps(graphad.grad(h)))
        assert again(1.0) == slope
        assert pickle.loads(pickle.dumps(h)).nondiff_argnums == ()


class ByValue(pickle.Pickler):
    """What cloudpickle does, in short: it pickles functions without a name as well."""

    def dump(self, obj):
        return super().dump(obj)

    def reducer_override(self, obj):
        if isinstance(obj, FunctionType) and "<" in obj.__qualname__:
            return function_of, (marshal.dumps(obj.__code__),)
        return NotImplemented


def function_of(code):
    return FunctionType(marshal.loads(code), {})


@pytest.mark.parametrize(
    "make", [graphad.jit, graphad.grad, lambda f: graphad.jit(graphad.grad(graphad.checkpoint(f)))]
)
def test_picklers_that_know_functions_by_value(make):
    f = make(lambda x: x**3)
    text = io.BytesIO()
    ByValue(text).dump(f)
    assert pickle.loads(text.getvalue())(2.0) == f(2.0)


def test_methods():
    assert Model(3.0).slope(2.0) == 12.0
    assert Model(3.0).twice(2.0) == 12.0
    bound = pickle.loads(pickle.dumps(Model(3.0).slope))
    assert bound(2.0) == 12.0


class Model:
    def __init__(self, scale):
        self.scale = scale

    @partial(graphad.grad, argnums=1)
    def slope(self, x):
        return self.scale * x**2

    @graphad.checkpoint
    def twice(self, x):
        return 2 * self.scale * x


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


@pytest.mark.parametrize(
    "make", [graphad.jit, graphad.compile_grad, graphad.grad, graphad.vmap, lambda f: graphad.jit(graphad.grad(f))]
)
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
