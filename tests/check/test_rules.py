"""Which rule is wrong: planted faults are named by rule, primitive, line, operand and numbers; right rules are not."""

from __future__ import annotations

import inspect
import re
from itertools import islice

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.check.batching import batching_faults_at
from graphad.check.equations import faults
from graphad.ir.types import f16, f32, f64
from graphad.primitives.elementwise import cos, exp, mul, neg, sin, stop_gradient, sub, tanh
from graphad.primitives.reduce import reduce_sum
from graphad.primitives.shape import rev
from tests.primitives.cases import all_primitives, differentiable, each, programs, pure

X = np.array([0.5, -1.5, 2.0])


def line_of(mark):
    lines = inspect.getsource(inspect.getmodule(line_of)).splitlines()
    (found,) = [k + 1 for k, line in enumerate(lines) if line.endswith(f"  # {mark}")]
    return found


def failing(f, *args, order=1, **options):
    with pytest.raises(AssertionError) as caught:
        graphad.check_grads(f, args, order, **options)
    return str(caught.value)


def model(x, w):
    scaled = x * w
    waves = gnp.sin(scaled)  # the sine
    return (waves * gnp.exp(w)).sum()  # the product


def names(message, mark, *texts):
    assert f"test_rules.py:{line_of(mark)}: the " in message, message
    for text in texts:
        assert re.search(text, message), message


# --- planted faults, as users see them


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("modes", [("fwd", "rev"), ("fwd",), ("rev",)])
def test_a_wrong_derivative(monkeypatch, dtype, modes):
    monkeypatch.setattr(sin, "jvp", (lambda t, x, y: mul(t, neg(cos(x))),))
    message = failing(model, X.astype(dtype), np.full(3, 2, dtype), modes=modes)
    names(message, "the sine", r"derivative of sin is wrong", r"direction of operand 0 its result changes at \[\d\] by")
    found, expected = map(
        float, re.search(r"by (-?[\d.]+), by differences of its values by (-?[\d.]+):", message).groups()
    )
    np.testing.assert_allclose(found, -expected, rtol=1e-4)
    assert "It meets [1.0, -3.0, 4.0]." in message
    assert "    waves = gnp.sin(scaled)" in message


def test_a_derivative_left_out_of_one_operand(monkeypatch):
    monkeypatch.setattr(mul, "jvp", (mul.jvp[0], None))
    message = failing(lambda x: (gnp.sin(x) * x).sum(), X)  # left out
    names(message, "left out", r"derivative of mul is wrong: along a random direction of operand 1 its result changes")


def test_a_wrong_transpose(monkeypatch):
    monkeypatch.setattr(neg, "transpose", {0: lambda ct, x: ct})
    message = failing(lambda x: gnp.exp(-x).sum(), X)  # minus
    names(
        message, "minus", r"transpose of neg.* is wrong: the cotangent of operand 0 at \[\d\] is \S+ where \S+ is right"
    )
    found, expected = map(float, re.search(r"is (\S+) where (\S+) is right", message).groups())
    assert found == -expected


def test_a_wrong_transpose_in_the_derivative_of_another(monkeypatch):
    """The user wrote no `mul`: it is part of the derivative of the exponential."""
    monkeypatch.setattr(mul, "transpose", {0: mul.transpose[0], 1: lambda ct, x, y: mul(ct, mul(x, 2.0))})
    message = failing(lambda x: gnp.exp(x).sum(), X)  # exponential
    names(message, "exponential", "transpose of mul, in the derivative of exp, is wrong: the cotangent of operand 1")


def test_a_rule_right_in_the_first_order_only(monkeypatch):
    monkeypatch.setattr(sin, "jvp", (lambda t, x, y: mul(t, cos(stop_gradient(x))),))
    graphad.check_grads(model, (X, X), 1)
    for modes in (("fwd",), ("rev",)):
        names(failing(model, X, X, order=2, modes=modes), "the sine", "second derivative of sin is wrong")


def test_a_wrong_custom_jvp():
    @graphad.custom_jvp
    def cube(x):
        return x**3

    cube.defjvp(lambda primals, tangents: (cube(*primals), 2 * tangents[0] * primals[0] ** 2))
    message = failing(lambda x: cube(gnp.cos(x)).sum(), X)  # cubed
    names(message, "cubed", r"derivative of cube \(custom_jvp\) is wrong")


def test_a_wrong_custom_vjp():
    @graphad.custom_vjp
    def square(x, y):
        return x * x * y

    square.defvjp(lambda x, y: (x * x * y, (x, y)), lambda r, ct: (ct * 3 * r[0] * r[1], ct * r[0] * r[0]))
    message = failing(lambda x: square(gnp.cos(x), x).sum(), X, modes=["rev"])  # squared
    names(
        message, "squared", r"backward rule of square \(custom_vjp\) is wrong: the cotangent of operand 0 at \[\d\] is"
    )


def test_within_regions(monkeypatch):
    monkeypatch.setattr(sin, "jvp", (lambda t, x, y: t,))

    @graphad.jit
    def inner(x):
        return gnp.sin(x) * 2  # inner

    outer = graphad.checkpoint(lambda x: inner(x * 2).sum())
    names(failing(outer, X), "inner", "derivative of sin is wrong", r"It meets \[1.0, -3.0, 4.0\]")


def test_the_first_of_several(monkeypatch):
    for primitive in (sin, exp, reduce_sum):
        spoil_derivative(monkeypatch, primitive)
    names(failing(model, X, X), "the sine", "derivative of sin")


def test_digits_that_a_rule_loses(monkeypatch):
    """1 - tanh(x)^2 is 0 in float32 where the derivative is 4e-7; in float64 it is right."""
    monkeypatch.setattr(tanh, "jvp", (lambda t, x, y: mul(t, sub(1.0, mul(y, y))),))
    x = np.float32([0.5, 8.3])
    (fault,) = faults(graphad.make_graph(gnp.tanh)(x[1:]), [x[1:]])
    assert (fault.rule, fault.eqn.primitive, fault.found) == ("derivative", tanh, 0.0)
    np.testing.assert_allclose(abs(fault.expected), 8.3 * 4 * np.exp(-16.6) * 0.1257, rtol=1e-3)
    assert not list(faults(graphad.make_graph(gnp.tanh)(x[:1]), [x[:1]]))


# --- what is no fault of a rule


def test_a_kink_is_said_to_be_one():
    message = failing(lambda x: gnp.abs(x).sum(), np.array([0.0, 1.0]))  # absolute
    assert "Every equation has the right derivative at the values it meets." in message
    assert f"test_rules.py:{line_of('absolute')}: abs is at a kink" in message


def test_stop_gradient_is_named():
    message = failing(lambda x: (x * graphad.stop_gradient(x)).sum(), X)  # stopped
    assert f"test_rules.py:{line_of('stopped')}: stop_gradient has the derivative 0" in message


def test_values_that_are_not_finite_decide_nothing():
    def f(x):
        return gnp.where(x > 0, gnp.log(x), 0.0).sum()

    graph = graphad.make_graph(f)(X)
    assert not [fault for fault in faults(graph, [X]) if fault.is_decided]


# --- batching


def test_check_vmap():
    x, w = np.arange(12.0).reshape(4, 3), np.arange(3.0)
    graphad.check_vmap(model, (x, w), in_axes=(0, None))
    graphad.check_vmap(lambda p, k: (p["a"].sum() + k, k * 2), ({"a": x}, np.arange(3)), in_axes=({"a": 1}, 0))
    graphad.check_vmap(lambda x: graphad.jit(gnp.cumsum)(x), (x.astype(np.float32),), in_axes=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_a_wrong_batching_rule(monkeypatch, dtype):
    right = mul.batch
    monkeypatch.setattr(mul, "batch", lambda *args: rev(right(*args), axes=(0,)))
    x = np.arange(12).reshape(4, 3).astype(dtype)
    with pytest.raises(AssertionError) as caught:
        graphad.check_vmap(lambda x, w: (x + w) * w, (x, x[0] + 1), in_axes=(0, None))  # times
    message = str(caught.value)
    assert re.match(r"test_rules\.py:\d+: ", message)
    assert "result 0 of vmap(lambda) differs from a loop over the batch" in message
    names(
        message,
        "times",
        r"batching rule of mul is wrong: with a batch axis of operand . the element at \[0, 0\] of its result",
    )


def test_a_wrong_batching_rule_in_a_region(monkeypatch):
    right = sin.batch
    monkeypatch.setattr(sin, "batch", lambda *args: rev(right(*args), axes=(0,)))
    inner = graphad.checkpoint(lambda x: gnp.sin(x))  # in a region
    with pytest.raises(AssertionError) as caught:
        graphad.check_vmap(lambda x: inner(x + 1), (X,))
    names(str(caught.value), "in a region", "batching rule of sin is wrong")


# --- over the registry


def scaled(result):
    return None if result is None else mul(result, 1.5)


def spoil_derivative(monkeypatch, primitive):
    rule = primitive.jvp
    if callable(rule):
        wrong = lambda *args, **params: [scaled(t) for t in rule(*args, **params)]
    else:
        wrong = tuple([r and (lambda *args, r=r, **params: scaled(r(*args, **params))) for r in rule])
    monkeypatch.setattr(primitive, "jvp", wrong)


def spoil_transpose(monkeypatch, primitive):
    rule = primitive.transpose
    if callable(rule):
        wrong = lambda *args, **params: [scaled(ct) for ct in rule(*args, **params)]
    else:
        wrong = {k: lambda *args, r=r, **params: scaled(r(*args, **params)) for k, r in rule.items()}
    monkeypatch.setattr(primitive, "transpose", wrong)


def programs_of(primitive, dtype=f64):
    return programs(primitive, dtype, only_differentiable=True)


def sloping(primitive):
    """Whether some sample of it has a derivative that is not 0."""
    if primitive in (stop_gradient, mul) or not differentiable(primitive):
        return False  # `mul` is what the others are spoilt with
    for graph, args in programs_of(primitive):
        if args and any(a.is_float for a in graph.out_avals) and any(a.is_float for a in graph.in_avals):
            return not FLAT & {primitive.name}
    return False


#: Their derivative is 0 wherever there is one.
FLAT = {"floor", "ceil", "round", "sign", "trunc", "rint", "nextafter"}


@pytest.mark.parametrize("primitive", [p for p in all_primitives() if sloping(p)], ids=str)
def test_every_wrong_derivative_is_found(monkeypatch, primitive):
    spoil_derivative(monkeypatch, primitive)
    found = first_fault(primitive)
    assert (found.rule, found.eqn.primitive) == ("derivative", primitive)


@pytest.mark.parametrize(
    "primitive", [p for p in all_primitives() if p.linear and p.transpose is not None and sloping(p)], ids=str
)
def test_every_wrong_transpose_is_found(monkeypatch, primitive):
    spoil_transpose(monkeypatch, primitive)
    found = first_fault(primitive)
    assert (found.rule, found.eqn.primitive) == ("transpose", primitive)


def first_fault(primitive):
    every = (fault for graph, args in programs_of(primitive) for fault in faults(graph, args) if fault.is_decided)
    return next(every, None)


@pytest.mark.parametrize(**each((f32,), differentiable))
def test_no_right_rule_is_called_wrong(primitive, dtype):
    for graph, args in islice(programs_of(primitive, dtype), 1):
        assert not [fault for fault in faults(graph, args) if fault.is_decided]


@pytest.mark.slow
@pytest.mark.parametrize(**each((f16, f32), differentiable))
def test_no_right_rule_is_called_wrong_at_any_sample(primitive, dtype):
    """Nor at kinks and special values."""
    for graph, args in programs(primitive, dtype):
        assert not [fault for fault in faults(graph, args, order=2) if fault.is_decided]


@pytest.mark.parametrize(**each((f32,), pure))
def test_no_right_batching_rule_is_called_wrong(primitive, dtype):
    for graph, args in islice(programs_of(primitive, dtype), 1):
        assert not list(batching_faults_at(graph, args))
