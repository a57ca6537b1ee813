"""Callbacks in programs on every device: each ends a segment on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.backends.targets import target_of
from graphad.device import parse
from graphad.experimental import io_callback

X = np.array([0.5, -1.5, 2.0, 4.0], np.float32)
F32 = graphad.ShapeDtypeStruct((), "float32")


def like(x):
    return graphad.ShapeDtypeStruct(x.shape, x.dtype)


def test_values_go_to_the_host_and_back(device):
    @graphad.jit(device=device)
    def f(x):
        largest, order = graphad.pure_callback(
            lambda x: (x.max(), np.argsort(x).astype(np.int32)), (F32, graphad.ShapeDtypeStruct((4,), "int32")), x * 2.0
        )
        return gnp.sum(x) * largest, order, x[order]

    for x in (X, X[::-1].copy(), X):
        total, order, ordered = f(x)
        assert float(total) == pytest.approx(float(x.sum() * 2 * x.max()))
        np.testing.assert_array_equal(order, np.argsort(x))
        np.testing.assert_array_equal(ordered, np.sort(x))


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "bfloat16", "float64"])
def test_types(device, dtype):
    x = np.array([[0, 1, 1], [1, 0, 0]]).astype(gnp.zeros(0, dtype).dtype)
    f = graphad.jit(lambda x: graphad.pure_callback(lambda x: x[::-1], like(x), x), device=device)
    np.testing.assert_array_equal(np.asarray(f(x)), x[::-1])


def test_a_guard_that_fails_calls_nobody_twice(device, capsys):
    seen = []

    def host(x):
        seen.append(float(x))
        return np.float32(len(seen))

    @graphad.jit(device=device)
    def f(x):
        y = io_callback(host, F32, x)
        graphad.debug.print("x = {}", x)
        return y + x if x > 0 else y - x

    for k, x in enumerate((1.0, -1.0, 2.0, -2.0), 1):
        assert float(f(x)) == k + abs(x)
    assert seen == [1.0, -1.0, 2.0, -2.0]
    assert capsys.readouterr().out.splitlines() == ["x = 1.0", "x = -1.0", "x = 2.0", "x = -2.0"]


def test_errors_go_through_and_leave_the_device_usable(device):
    fails = True

    def host(x):
        if fails:
            raise LookupError("gone")
        return x

    f = graphad.jit(lambda x: graphad.pure_callback(host, like(x), x + 1.0) * 2.0, device=device)
    with pytest.raises(LookupError, match="gone"):
        f(X)
    fails = False
    np.testing.assert_array_equal(f(X), (X + 1) * 2)


def test_a_callback_runs_programs_on_the_device_in_turn(device):
    """The same too: neither touches the temporaries of the other."""

    @graphad.jit(device=device)
    def factorial(x):
        below = gnp.cumsum(x * 0.0 + 1.0)  # ones to be kept across the call
        smaller = graphad.pure_callback(
            lambda x: np.asarray(factorial(x)) if x[0] > 0.5 else np.ones_like(x), like(x), x - 1.0
        )
        return smaller * x * (below / gnp.cumsum(x * 0.0 + 1.0))

    found = factorial(np.full(3, 4.0, np.float32))
    np.testing.assert_allclose(found, [24.0] * 3)


def test_eager_arrays_of_a_device(gpu):
    x = graphad.device_put(X, gpu)
    np.testing.assert_array_equal(graphad.pure_callback(np.sin, like(x), x), np.sin(X))
    gradient = graphad.grad(lambda x: (graphad.debug.callback(print), gnp.sum(x * x))[1])(x)
    np.testing.assert_array_equal(gradient, 2 * X)


def test_under_vmap(device):
    f = graphad.jit(
        graphad.vmap(lambda x: graphad.pure_callback(np.exp, like(x), x, vmap_method="sequential")), device=device
    )
    np.testing.assert_array_equal(f(X), np.exp(X))


def test_what_is_shown_of_it(gpu):
    def f(x):
        graphad.debug.callback(print, x)
        return graphad.pure_callback(np.sin, like(x), x * 2.0) + 1.0

    compiled = graphad.jit(f, device=gpu)
    assert [s.name for s in compiled.explain(X).steps if s.kind == "callback"] == ["print", "sin"]
    if "source" not in target_of(parse(gpu)).stages:
        return
    source = compiled.kernel_source(X)
    assert "functions[0](in0.copy_to_host(stream=stream))" in source
    assert "found1 = functions[1](tmp0.copy_to_host(stream=stream))" in source
    compile(source, "source", "exec")
