"""What a transformation does not transform is handed over as it came; what graphs have no values for passes through."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close, path_count

X = gnp.array([0.5, -2.0, 3.0])
NO_TANGENT = np.zeros((), graphad.float0)


@dataclass
class Settings:
    width: int
    activation: object


def of_itself():
    cycle: list[object] = []
    cycle.append(cycle)
    return cycle


KINDS = {
    "int": 3,
    "wide int": 2**70,
    "bool": True,
    "float": 0.1,
    "complex": 1j,
    "np.float64": np.float64(0.1),
    "np.int8": np.int8(3),
    "str": "relu",
    "bytes": b"relu",
    "None": None,
    "function": gnp.sin,
    "class": Settings,
    "dtype": np.dtype("float16"),
    "slice": slice(1, 3),
    "Ellipsis": ...,
    "object": Settings(3, "relu"),
    "empty": (),
    "dict": {"z": [1, "relu"], "a": {"f": gnp.sin}, 3: None},
    "list": [1, 2.0, "relu"],
    "list of itself": of_itself(),
    "namespace": inspect.signature,
    "NumPy array": np.arange(3.0),
    "NumPy array of a dtype of its own": np.array(["a", "b"]),
    "NumPy array without axes": np.array(0.5),
    "Array": gnp.arange(3),
    "Array without axes": gnp.array(0.5),
    "float0": np.zeros((3, 2), graphad.float0),
    "ShapeDtypeStruct": graphad.ShapeDtypeStruct((3,), "float32"),
}


def total(x):
    return (x * x).sum()


def hands(transform, seen):
    """A function of an array and of what is handed over, by position and by name."""

    def f(x, passed, *, named=None):
        seen.append((passed, named))
        return transform(x)

    return f


# How each transformation is called with an argument that it does not transform.
TRANSFORMS = {
    "grad": lambda f, p: graphad.grad(f)(X, p, named=p),
    "value_and_grad": lambda f, p: graphad.value_and_grad(f, argnums=(0,))(X, p, named=p),
    "jacfwd": lambda f, p: graphad.jacfwd(f)(X, p, named=p),
    "jacrev": lambda f, p: graphad.jacrev(f, argnums=(0,))(X, p, named=p),
    "jacobian": lambda f, p: graphad.jacobian(f)(X, p, named=p),
    "hessian": lambda f, p: graphad.hessian(f)(X, p, named=p),
    "vmap": lambda f, p: graphad.vmap(lambda x, q: f(x, q, named=q), in_axes=(0, None))(gnp.stack([X, X]), p),
    "checkpoint": lambda f, p: graphad.grad(lambda x: graphad.checkpoint(f)(x, p, named=p))(X),
    "custom_jvp": lambda f, p: graphad.grad(lambda x: with_rule(f)(x, p, p))(X),
    "custom_vjp": lambda f, p: graphad.grad(lambda x: with_rules(f)(x, p, p))(X),
    "grad in vmap": lambda f, p: graphad.vmap(lambda x, q: graphad.grad(f)(x, q, named=q), in_axes=(0, None))(
        gnp.stack([X, X]), p
    ),
    "vmap in grad": lambda f, p: graphad.grad(
        lambda x, q: graphad.vmap(lambda y, r: f(y, r, named=r), in_axes=(0, None))(x[None], q).sum()
    )(X, p),
    "grad in jit": lambda f, p: graphad.jit(lambda x: graphad.grad(f)(x, p, named=p))(X),
}

#: They transform all of their arguments, or take none.
ALL_TRANSFORMED = {
    "check_grads", "check_vmap", "compile_grad", "eval_shape", "hvp", "jit", "jvp", "linear_transpose", "linearize",
    "make_graph", "vjp",
}  # fmt: skip


def with_rule(f):
    custom = graphad.custom_jvp(lambda x, p, q: f(x, p, named=q), nondiff_argnums=(1, 2))
    custom.defjvp(lambda p, q, primals, tangents: (f(primals[0], p, named=q), (2 * primals[0] * tangents[0]).sum()))
    return custom


def with_rules(f):
    custom = graphad.custom_vjp(lambda x, p, q: f(x, p, named=q), nondiff_argnums=(1, 2))
    custom.defvjp(lambda x, p, q: (f(x, p, named=q), x), lambda p, q, x, ct: (2 * x * ct,))
    return custom


def test_every_transformation_is_listed():
    names = {
        name
        for name, f in vars(graphad).items()
        if callable(f) and not name.startswith("_") and next(iter(parameters(f)), None) in ("fun", "f")
    }
    assert names == {n for n in TRANSFORMS if " " not in n} | ALL_TRANSFORMED


def parameters(f):
    try:
        return inspect.signature(f).parameters
    except (TypeError, ValueError):
        return {}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_untransformed_arguments_come_as_they_are(name):
    for kind, passed in KINDS.items():
        seen = []
        TRANSFORMS[name](hands(total, seen), passed)
        assert seen, kind
        for by_position, by_name in seen:
            if "vmap" in name and kind == "NumPy array":  # as ours: a batched value may index it
                assert isinstance(by_position, graphad.Array)
                assert by_position.tolist() == by_name.tolist() == passed.tolist()
                continue
            assert by_position is passed, kind
            assert by_name is passed, kind


@pytest.mark.parametrize(
    "call",
    {
        "jvp": lambda f, n: graphad.jvp(f, (X, n), (X, NO_TANGENT))[1],
        "vjp": lambda f, n: graphad.vjp(f, X, n)[1](1.0)[0],
        "linearize": lambda f, n: graphad.linearize(f, X, n)[1](X, NO_TANGENT),
        "allow_int": lambda f, n: graphad.grad(f, argnums=(0, 1), allow_int=True)(X, n)[0],
    }.values(),
)
def test_values_without_a_derivative_come_as_they_are(call):
    for n in (3, True, np.int16(3), np.array(3), gnp.array(3)):
        seen = []
        call(lambda x, k: (seen.append(k), (x * gnp.ones(3)).sum())[1], n)
        assert all(k is n for k in seen)


def test_a_size_a_key_and_a_static_argument():
    compiled = graphad.jit(
        lambda x, n, name: {"sin": gnp.sin, "exp": gnp.exp}[name](x) * n, static_argnames=("name", "n")
    )

    def f(x, n, name):
        return sum([compiled(x, n, name).sum()] * n) + (x * gnp.zeros(n)).sum() + (x * np.zeros(n)).sum()

    close(graphad.grad(f)(X, 3, "sin"), 9 * np.cos(X))
    close(graphad.grad(f)(X, 3, "exp"), 9 * np.exp(X))
    close(graphad.jit(lambda x: graphad.grad(f)(x, 3, "exp"))(X), 9 * np.exp(X))
    close(graphad.vmap(f, (0, None, None))(gnp.ones((2, 3)), 3, "sin"), [27 * np.sin(1.0)] * 2)


def test_tracers_pass_as_tracers():
    seen = []

    def f(x, w, n):
        seen.extend([w, n])
        return (x * w).sum() * n

    graph = graphad.make_graph(lambda x, w, n: graphad.grad(f)(x, w, n))(X, X, 3)
    assert [type(v).__name__ for v in seen] == ["Tracer", "Tracer"]
    assert graph.n_inputs == 3
    compiled = graphad.jit(graphad.grad(f))
    for n in (2, 5):
        close(compiled(X, X + 1, n), (X + 1) * n)
    assert path_count(compiled) == 1


def test_parts_of_an_argument_are_mapped_and_the_rest_is_handed_over():
    settings = {"n": 3, "f": gnp.sin}
    seen = []

    def f(p, q):
        seen.append(q["settings"] is settings)
        return p["w"] * q["settings"]["f"](q["x"]) * gnp.ones(q["settings"]["n"])

    axes = ({"w": None}, {"x": 1, "settings": None})
    got = graphad.vmap(f, axes)({"w": 2.0}, {"x": gnp.ones((3, 4)), "settings": settings})
    assert (got.shape, seen) == ((4, 3), [True])


def test_a_handed_array_is_no_constant_of_what_is_compiled_inside(monkeypatch):
    """One program, whatever the values."""
    regions = []
    gradient = graphad.api.grad.gradient

    def spy(graph, mask):
        regions.append(graph.eqns[0].regions[0])
        return gradient(graph, mask)

    monkeypatch.setattr(graphad.api.grad, "gradient", spy)

    def f(x, t, table):
        return graphad.jit(lambda x: (x * t * table).sum())(x)

    for t in (1.0, 2.0):
        close(graphad.grad(f)(X, gnp.array(t), np.array([1, 2, t])), [t, 2 * t, t * t])
    assert regions[0] == regions[1]


@pytest.mark.parametrize(
    "transform", [graphad.grad, graphad.value_and_grad, graphad.jacfwd, graphad.jacrev, graphad.hessian]
)
def test_any_object_may_be_aux(transform):
    aux = {"text": "fine", "thing": object(), "none": None, "n": 3, "x": X, "f": np.sin, "float0": NO_TANGENT}
    got = transform(lambda x: (total(x), aux), has_aux=True)(X)
    found = got[0][1] if transform is graphad.value_and_grad else got[1]
    assert found.keys() == aux.keys()
    assert all(found[k] is aux[k] for k in ("text", "thing", "none", "f", "float0"))
    close(found["x"], X)
    assert int(found["n"]) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda f: graphad.jvp(f, (X,), (X,), has_aux=True)[2],
        lambda f: graphad.vjp(f, X, has_aux=True)[2],
        lambda f: graphad.linearize(f, X, has_aux=True)[2],
    ],
)
def test_any_object_may_be_aux_of_linear_maps(call):
    thing = object()
    found = call(lambda x: (total(x), {"text": "fine", "thing": thing, "x": x}))
    assert (found["text"], found["thing"]) == ("fine", thing)
    close(found["x"], X)


def test_text_does_not_leave_jit():
    """But the function may use it."""

    def used(x):
        (_, aux), gradient = graphad.value_and_grad(lambda x: (total(x), ("text", x)), has_aux=True)(x)
        assert aux[0] == "text"
        return gradient * aux[1]

    close(graphad.jit(used)(X), 2 * X * X)
    f = graphad.jit(graphad.value_and_grad(lambda x: (total(x), "text"), has_aux=True))
    with pytest.raises(TypeError, match="returned a str"):
        f(X)


# ---------------------------------------------------------------------------------------------------------------------
# float0


def test_float0_leaves_jit_and_vmap():
    g = graphad.grad(lambda n: n * 2.0, allow_int=True)
    for shape, f in (
        ((), lambda: graphad.jit(g)(3)),
        ((3,), lambda: graphad.vmap(g)(np.arange(3))),
        ((3,), lambda: graphad.jit(graphad.vmap(g))(np.arange(3))),
        ((3,), lambda: graphad.vmap(graphad.jit(g))(np.arange(3))),
        ((), lambda: graphad.jit(graphad.jit(g))(3)),
    ):
        for _ in range(3):
            assert (f().shape, f().dtype) == (shape, graphad.float0)


def test_float0_enters_jit_and_vmap():
    f = graphad.jit(lambda x, z: {"x": x * 2, "z": z})
    for shape in ((), (3, 2), (), (4,)):
        z = np.zeros(shape, graphad.float0)
        assert f(X, z)["z"].shape == shape
        assert graphad.grad(lambda x, z: f(x, z)["x"].sum())(X, z).tolist() == [2, 2, 2]
    derivative = lambda x, t: graphad.jvp(lambda x, n: x * n, (x, 3), (x, t))[1]
    assert graphad.jit(derivative)(2.0, NO_TANGENT) == 6
    assert graphad.vmap(derivative, (0, None))(X, NO_TANGENT).tolist() == (3 * X).tolist()
    assert graphad.vmap(derivative)(X, np.zeros(3, graphad.float0)).tolist() == (3 * X).tolist()


def test_where_the_axis_of_float0_goes():
    z = np.zeros((3, 2), graphad.float0)
    f = lambda x, z: (x, z)
    for out_axes, shape in ((0, (2, 3)), (1, (3, 2)), (-1, (3, 2)), (None, (3,))):
        assert graphad.vmap(f, (0, 1), (0, out_axes))(gnp.ones(2), z)[1].shape == shape
    with pytest.raises(ValueError, match="out_axes=2 is no axis"):
        graphad.vmap(f, (0, 1), (0, 2))(gnp.ones(2), z)
    with pytest.raises(ValueError, match="different sizes"):
        graphad.vmap(f, (0, 0))(gnp.ones(2), z)


# ---------------------------------------------------------------------------------------------------------------------
# Static arguments


@dataclass(frozen=True)
class Frozen:
    value: object


PLAIN = [0, False, 0.0, -0.0, 1, True, 1.0, np.float64(1.0), np.float32(0.0), np.float32(-0.0), 0j, -0j, "1", b"1"]
CONTAINERS = [
    lambda v: v,
    lambda v: (v,),
    lambda v: frozenset([v]),
    lambda v: ("a", ("b", (v, None))),
    Frozen,
    lambda v: Frozen((Frozen(v), 3)),
    lambda v: frozenset([(1, Frozen(v))]),
]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("how", ["position", "name", "custom rule", "structure"])
def test_static_values_differ_by_type_and_sign_of_zero_at_every_depth(container, how):
    call = HOW[how]()
    for _ in range(2):
        for value in PLAIN:
            given = container(value)
            got = call(given)
            assert (type(got), repr(got)) == (type(given), repr(given))


def _by_position():
    last = []
    f = graphad.jit(lambda x, s: (last.append(s), x)[1] + len(last), static_argnums=1)
    by_number = {}
    return lambda s: by_number.setdefault(int(f(0, s)), last[-1])


def _by_name():
    last = []
    f = graphad.jit(lambda x, s: (last.append(s), x)[1] + len(last), static_argnames="s")
    by_number = {}
    return lambda s: by_number.setdefault(int(f(0, s=s)), last[-1])


def _in_a_rule():
    seen = []
    custom = graphad.custom_jvp(lambda s, x: x, nondiff_argnums=(0,))
    custom.defjvp(lambda s, primals, tangents: (primals[0], (seen.append(s), tangents[0])[1] * len(seen)))
    by_number = {}
    f = graphad.grad(lambda x, s: custom(s, x))
    return lambda s: by_number.setdefault(int(f(1.0, s)), seen[-1])


def _in_the_structure():
    f = graphad.jit(lambda node: node)
    return lambda s: f(graphad.tree_util.Partial(Given(s), 1.0)).func.value


@dataclass(frozen=True)
class Given:
    value: object

    def __call__(self, x):
        return x


HOW = {"position": _by_position, "name": _by_name, "custom rule": _in_a_rule, "structure": _in_the_structure}


def test_equal_static_values_share_a_program():
    f = graphad.jit(lambda x, s: x, static_argnums=1)
    for value in (Frozen((1, 0.0)), Frozen((1, 0.0)), (1, "a"), (1, "a"), functools.partial):
        f(1.0, value)
    assert path_count(f) == 3
