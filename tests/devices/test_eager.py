"""Outside compiled functions: operations and transforms run on the device of their operands, and equal the CPU's."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.backends.targets import target_of
from graphad.config import config
from graphad.device import parse
from graphad.primitives import elementwise as prims

X = np.linspace(-2.0, 3.0, 12, dtype=np.float32).reshape(3, 4)
V = np.array([0.5, -1.5, 2.0, 4.0], np.float32)

#: Functions of a matrix and a vector.
OPERATIONS = {
    "operators": lambda x, v: (x + v) * 2.0 - x / (v * v + 1.0),
    "number on the left": lambda x, v: 2.0 - 1.0 / (x * x + 1),
    "numpy on the left": lambda x, v: np.ones(4, np.float32) * x,
    "comparison": lambda x, v: gnp.where(x > v, x, 0.0),
    "functions": lambda x, v: gnp.tanh(x) + gnp.exp(-v),
    "sums": lambda x, v: x.sum() + v.mean() + x.max(axis=1).sum(),
    "axis": lambda x, v: x.sum(axis=0) - gnp.cumsum(v),
    "product": lambda x, v: x @ v,
    "shapes": lambda x, v: x.T.reshape(2, 6)[::-1],
    "index": lambda x, v: x[1] + x[:, 2:3].sum(),
    "joined": lambda x, v: gnp.concatenate([x[0], v]),
    "cast": lambda x, v: x.astype(int) + gnp.asarray(v, dtype=int),
    "integers": lambda x, v: gnp.arange(4) * v.astype("int32"),
    "weak": lambda x, v: (x[0, 0] * 1.0) * gnp.float32(2),
    "dtype meets": lambda x, v: x.astype("float64") + v,
    "nested": lambda x, v: gnp.stack([x[k] * v for k in range(3)]).sum(0),
}


def on(name, *arrays):
    return graphad.device_put(arrays, name)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(gpu, no_download, name):
    function = OPERATIONS[name]
    wanted = function(*on("cpu", X, V))
    operands = on(gpu, X, V)
    with no_download():
        got = function(*operands)
    assert got.device.name == gpu
    assert (got.dtype, got.shape, got.weak_type) == (wanted.dtype, wanted.shape, wanted.weak_type)
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-6)


def test_results_of_several_outputs(gpu):
    (x,) = on(gpu, X)
    whole, rest = gnp.divmod(x, 0.75)
    wanted = np.divmod(X, np.float32(0.75))
    np.testing.assert_allclose(whole, wanted[0])
    np.testing.assert_allclose(rest, wanted[1], rtol=1e-6)


def test_a_primitive_on_what_is_at_hand(gpu):
    (v,) = on(gpu, V)
    for got in (prims.mul(v, 2.0), prims.mul(2.0, v), prims.add(V, v), prims.add(gnp.asarray(V), v)):
        assert got.device.name == gpu
        np.testing.assert_array_equal(got, 2 * V)


def test_a_type_error_names_the_line(gpu):
    (v,) = on(gpu, V)
    with pytest.raises(TypeError, match=r"^test_eager\.py:\d+: (?!test_eager)"):
        lax.add(v, graphad.device_put(np.ones(3, np.float32), gpu))


def loss(w, x, v):
    return (gnp.tanh(x @ w) * v[:3]).sum() + (w * w).sum()


TRANSFORMS = {
    "grad": lambda w, x, v: graphad.grad(loss)(w, x, v),
    "value_and_grad": lambda w, x, v: graphad.value_and_grad(loss)(w, x, v),
    "grad of argnums": lambda w, x, v: graphad.grad(loss, argnums=(0, 2))(w, x, v),
    "grad of a closure": lambda w, x, v: graphad.grad(lambda w: loss(w, x, v))(w),
    "jvp": lambda w, x, v: graphad.jvp(lambda w: loss(w, x, v), (w,), (v,)),
    "vjp": lambda w, x, v: graphad.vjp(lambda w: x @ w, w)[1](v[:3]),
    "linearize": lambda w, x, v: graphad.linearize(lambda w: loss(w, x, v), w)[1](v),
    "vmap": lambda w, x, v: graphad.vmap(lambda row: (row * w).sum())(x),
    "jacobian": lambda w, x, v: graphad.jacobian(lambda w: gnp.sin(x @ w))(w),
    "jacfwd": lambda w, x, v: graphad.jacfwd(lambda w: gnp.sin(x @ w))(w),
    "hessian": lambda w, x, v: graphad.hessian(loss)(w, x, v),
    "vmap of grad": lambda w, x, v: graphad.vmap(graphad.grad(lambda w, r: gnp.sin(r @ w)), (None, 0))(w, x),
    "checkpoint": lambda w, x, v: graphad.grad(graphad.checkpoint(loss))(w, x, v),
    "jit inside": lambda w, x, v: graphad.grad(lambda w: graphad.jit(loss)(w, x, v) * 2)(w),
    "grad inside jit": lambda w, x, v: graphad.jit(graphad.grad(loss))(w, x, v),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(gpu, no_download, name):
    function = TRANSFORMS[name]
    w = np.array([0.1, -0.2, 0.3, 0.4], np.float32)
    wanted, tree = graphad.tree.flatten(function(*on("cpu", w, X, V)))
    operands = on(gpu, w, X, V)
    with no_download():
        got, other = graphad.tree.flatten(function(*operands))
    assert tree == other
    for y, expected in zip(got, wanted, strict=True):
        assert y.device.name == gpu
        assert y.dtype == expected.dtype
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_custom_rules(device):
    @graphad.custom_jvp
    def square(x):
        return x * x

    @square.defjvp
    def _(primals, tangents):
        return square(primals[0]), 3.0 * tangents[0]

    @graphad.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (cube(x), x), lambda x, ct: (ct * x * 5.0,))
    (v,) = on(device, V)
    np.testing.assert_array_equal(graphad.grad(lambda x: square(x).sum())(v), np.full(4, 3.0))
    np.testing.assert_allclose(graphad.grad(lambda x: cube(x).sum())(v), 5 * V)
    assert cube(v).device.name == device


def test_custom_rules_that_close_over_arrays_on_the_device(device):
    weights, number = on(device, V, np.float32(2))

    @graphad.custom_vjp
    def weighted(x):
        return (x * weights * number).sum()

    weighted.defvjp(lambda x: (weighted(x), x), lambda x, ct: (ct * weights * number,))
    (x,) = on(device, X[0])
    for wrap in (lambda f: f, graphad.jit):
        got = wrap(graphad.grad(weighted))(x)
        assert got.device.name == device
        np.testing.assert_array_equal(got, 2 * V)


def test_a_branch_downloads_what_it_looks_at(device):
    def f(x):
        return x * 2.0 if x.sum() > 0 else x * 3.0

    (v,) = on(device, V)
    np.testing.assert_array_equal(graphad.grad(lambda x: f(x).sum())(v), np.full(4, 2.0))
    np.testing.assert_array_equal(graphad.grad(lambda x: f(x).sum())(-v), np.full(4, 3.0))


def test_equal_programs_are_compiled_once(gpu, monkeypatch):
    from graphad.api import placement

    compiled = []

    def counted(graph, device, original=placement.compiled):
        compiled.append(graph)
        return original(graph, device)

    monkeypatch.setattr(placement, "compiled", counted)
    w, x, v = on(gpu, V, X, V)
    for _ in range(2):
        graphad.grad(loss)(w, x, v)
    assert len(compiled) >= 2
    assert len({id(graph) for graph in compiled}) == len(set(compiled))


@pytest.fixture
def compilations(gpu, monkeypatch):
    """The graphs compiled so far, by name."""
    target = target_of(parse(gpu))
    names = []

    def counted(graph, *args, original=target.compile):
        names.append(graph.name)
        return original(graph, *args)

    monkeypatch.setattr(target, "compile", counted)
    return names


def test_numbers_of_elementwise_operations_are_read_when_they_run(gpu, compilations):
    x = np.linspace(-1.0, 2.0, 21, dtype=np.float32).reshape(3, 7)  # of a shape that no other test has
    p, g, n = on(gpu, x, x[::-1] * x, (x * 10).astype(np.int32))
    for k in range(20):
        lr = 0.1 + 0.05 * k
        got = (p - lr * g, gnp.where(p > lr, p, -lr), gnp.clip(p, -lr, lr), n // (k + 1) + k)
        lr = np.float32(lr)
        np.testing.assert_allclose(got[0], x - lr * (x[::-1] * x), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(got[1], np.where(x > lr, x, -lr))
        np.testing.assert_array_equal(got[2], np.clip(x, -lr, lr))
        np.testing.assert_array_equal(got[3], (x * 10).astype(np.int32) // (k + 1) + k)
        if k == 0:
            first = len(compilations)
    assert first > 5
    assert len(compilations) == first


def test_numbers_of_transformed_functions_are_read_when_they_run(gpu, compilations):
    """A training loop without jit, whose rate is a Python number that each step computes anew."""
    x = np.linspace(-1.0, 2.0, 22, dtype=np.float32).reshape(2, 11)  # of a shape that no other test has
    (p,) = on(gpu, x)
    for k in range(10):
        rate = 0.9**k * 0.3
        got = graphad.grad(lambda p, rate=rate: gnp.sum(gnp.sin(p * rate) + 2.5))(p)
        np.testing.assert_allclose(got, rate * np.cos(x * np.float32(rate)), rtol=2e-6)
        slope = graphad.grad(lambda p, rate=rate: gnp.sum(p * rate))(p)
        np.testing.assert_array_equal(slope, np.full(x.shape, np.float32(rate)))
        if k == 0:
            first = len(compilations)
    assert first == 2
    assert len(compilations) == first


def test_numbers_keep_their_bits_and_their_dtype(gpu):
    (x,) = on(gpu, np.array([1.0, -1.0, 0.0], np.float32))
    for number in (0.0, -0.0, np.inf, np.nan, 1e-30, 1e30):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(x * number, np.asarray(x) * np.float32(number))
        np.testing.assert_array_equal(np.signbit(gnp.copysign(x, number)), np.signbit(np.full(3, number)))
    for dtype in ("float16", "bfloat16", "float64", "int8", "uint32"):
        y = x.astype(dtype)
        got = y + 2
        assert got.dtype == y.dtype
        np.testing.assert_array_equal(got, np.asarray(y) + y.dtype.type(2))
    scalar, empty = on(gpu, np.float32(3), np.zeros((0, 2), np.float32))
    assert float(2.5 - scalar) == -0.5
    assert (1.5 * empty).shape == (0, 2)
    mask = x > 0
    np.testing.assert_array_equal(mask & True, np.asarray(mask))


def test_numbers_are_checked_as_on_the_cpu(gpu):
    v, w = on(gpu, V, V[:3])
    on_cpu = gnp.asarray(V)
    for wrong in (lambda x: prims.and_(x, 2.0), lambda x: prims.add(x, 1.0, 2.0)):
        with pytest.raises(TypeError) as expected:
            wrong(on_cpu)
        with pytest.raises(TypeError) as got:
            wrong(v)
        assert str(got.value) == str(expected.value)
    with pytest.raises(TypeError, match="must have one shape"):
        prims.select(v > 0, w, 1.0)


def test_print(gpu, capsys):
    (v,) = on(gpu, V[:2])
    graphad.debug.print("v = {}", v)
    graphad.grad(lambda x: (graphad.debug.print("x = {}", x), x.sum())[1])(v)
    assert capsys.readouterr().out == "v = [ 0.5 -1.5]\nx = [ 0.5 -1.5]\n"


def test_without_jit(gpu):
    (v,) = on(gpu, V)
    with config.override(disable_jit=True):
        y = graphad.jit(lambda x: gnp.sin(x) * 2.0)(v)
    assert y.device.name == gpu
    np.testing.assert_allclose(y, np.sin(V) * 2, rtol=1e-6)
