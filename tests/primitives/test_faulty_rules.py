"""A rule with a fault is reported as the fault of that rule: the primitive and the line are named."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphad
from graphad.errors import DifferentiationError, GraphadError, RuleError
from graphad.ir.graph import Graph
from graphad.ir.types import aval, f64
from graphad.primitives.elementwise import add, cos, mul, neg, sin
from graphad.primitives.layout import reshape
from graphad.primitives.reduce import reduce_sum
from graphad.transforms.batch import batch
from graphad.transforms.linearize import jvp_graph
from graphad.transforms.transpose import transpose
from tests.primitives.cases import all_primitives, differentiable, program, pure, samples_of

LINE = "model.py:7"


def one(primitive, dtype=f64):
    """A program of one equation at a known line."""
    sample = next(s for s in samples_of(primitive, dtype) if s.differentiable)
    graph, _ = program(primitive, sample, dtype)
    return Graph(graph.avals, graph.n_inputs, graph.eqns, graph.outputs, locs=(LINE,))


def sampled(keep):
    """The primitives of which ``keep(primitive, program)`` is true."""
    found = [p for p in all_primitives() if any(s.differentiable for s in samples_of(p, f64))]
    return [p for p in found if keep(p, one(p))]


def has_derivative(primitive, graph):
    return differentiable(primitive) and all(
        any(a.is_float for a in avals) for avals in (graph.in_avals, graph.out_avals)
    )


def linear_input(primitive, graph):
    """The first input in which the equation is linear."""
    return next((a for k, a in enumerate(graph.eqns[0].inputs) if k in primitive.linear and isinstance(a, int)), None)


def raising(*_, **__):
    raise TypeError("can't multiply sequence")


def expect(rule, primitive, act):
    with pytest.raises(RuleError) as caught:
        act()
    message = str(caught.value)
    assert re.match(rf"(\w+\()*{re.escape(LINE)}\)*: the {rule} rule of {primitive.name} ", message), message
    return message


@pytest.mark.parametrize("primitive", sampled(has_derivative), ids=str)
def test_a_derivative_that_raises(monkeypatch, primitive):
    graph = one(primitive)
    rule = raising if callable(primitive.jvp) else (raising,) * len(primitive.jvp)
    monkeypatch.setattr(primitive, "jvp", rule)
    message = expect("derivative", primitive, lambda: jvp_graph(graph, tuple(a.is_float for a in graph.in_avals)))
    assert "raised TypeError: can't multiply sequence" in message


@pytest.mark.parametrize("primitive", sampled(lambda p, g: linear_input(p, g) is not None), ids=str)
def test_a_transpose_that_raises(monkeypatch, primitive):
    graph = one(primitive)
    first = linear_input(primitive, graph)
    rule = raising if callable(primitive.transpose) else dict.fromkeys(primitive.transpose, raising)
    monkeypatch.setattr(primitive, "transpose", rule)
    marks = tuple(i == first for i in range(graph.n_inputs))
    expect("transpose", primitive, lambda: transpose(graph, marks, (True,) * len(graph.outputs)))


@pytest.mark.parametrize("primitive", sampled(lambda p, g: pure(p) and g.n_inputs), ids=str)
def test_a_batching_rule_that_raises(monkeypatch, primitive):
    graph = one(primitive)
    monkeypatch.setattr(primitive, "batch", raising)
    expect("batching", primitive, lambda: batch(graph, (True,) * graph.n_inputs, 3))


@pytest.mark.parametrize(
    "rule",
    [lambda t, x, y: 2.0, lambda t, x, y: reshape(t, shape=(1, *t.shape)), lambda t, x, y: [t], lambda t, x, y: t.aval],
    ids=["a number", "another shape", "a list", "a type"],
)
def test_a_derivative_of_another_type(monkeypatch, rule):
    graph = one(sin)
    monkeypatch.setattr(sin, "jvp", (rule,))
    assert f"{graph.avals[0]} is due" in expect("derivative", sin, lambda: jvp_graph(graph, (True,)))


def test_a_transpose_of_another_type(monkeypatch):
    graph = one(neg)
    for rule, says in (
        (lambda ct, x: reshape(ct, shape=(1, *x.shape)), "as result 0"),
        (lambda ct, x: 1.0, "gave 1.0"),
    ):
        monkeypatch.setattr(neg, "transpose", {0: rule})
        assert says in expect("transpose", neg, lambda: transpose(graph, (True,), (True,)))


def test_too_many_results(monkeypatch):
    graph = one(neg)
    monkeypatch.setattr(neg, "transpose", lambda cts, operands: [cts[0], cts[0]])
    assert "gave 2 results where a list of 1" in expect("transpose", neg, lambda: transpose(graph, (True,), (True,)))


def test_a_batching_rule_of_another_type(monkeypatch):
    graph = one(neg)
    for rule in (lambda size, marks, x: reduce_sum(x, axes=(0,)), lambda size, marks, x: None):
        monkeypatch.setattr(neg, "batch", rule)
        assert f"{aval((3, *graph.avals[0].shape), f64)} is due" in expect(
            "batching", neg, lambda: batch(graph, (True,), 3)
        )


def test_a_fault_is_not_a_property_of_the_users_function(monkeypatch):
    """`add` is linear in both operands together; a rule that fails there was once told as 'add is not linear'."""
    graph = one(add)
    monkeypatch.setattr(add, "transpose", {0: lambda ct, x, y: ct, 1: raising})
    assert "linear" not in expect("transpose", add, lambda: transpose(graph, (True, True), (True,)))
    monkeypatch.setattr(add, "transpose", {0: lambda ct, x, y: mul(ct, x), 1: lambda ct, x, y: ct})
    for marks in ((True, True), (True, False)):
        message = expect("transpose", add, lambda marks=marks: transpose(graph, marks, (True,)))
        assert "computes with the value of operand 0, in which add is said to be linear" in message


def test_only_what_is_not_linear_is_said_not_to_be():
    for primitive, marks in ((mul, (True, True)), (sin, (True,)), (cos, (True,))):
        graph = one(primitive)
        with pytest.raises(DifferentiationError, match=f"{primitive.name} is not linear.*use vjp"):
            transpose(graph, marks, (True,))
    assert transpose(one(mul), (True, False), (True,)).nonzero == (True,)


def test_errors_of_our_own_pass():
    """What a user's own rule raises, or what has no derivative, is told as before."""
    f = graphad.custom_jvp(lambda x: x * 2.0)
    f.defjvp(lambda primals, tangents: raising())
    with pytest.raises(TypeError, match="can't multiply") as caught:
        graphad.grad(f)(np.float32(1.0))
    assert not isinstance(caught.value, GraphadError)
