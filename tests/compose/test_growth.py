"""Long loops: what is remembered of calls that do not come again is bounded, and forgetting changes no result."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api import jit, rules
from graphad.ir import types
from graphad.ir.bounded import BoundedDict
from graphad.ir.types import f32
from graphad.trace import source
from tests.compose.tools import close

X = gnp.arange(4.0)


def test_signatures(monkeypatch):
    monkeypatch.setattr(jit, "_MAX_SIGNATURES", 4)
    traced = []

    @graphad.jit
    def twice(x):
        traced.append(x.shape)
        return x * 2

    for n in (*range(10), 9, 8, 0):
        close(twice(np.ones(n)), np.full(n, 2.0))
    assert traced == [(n,) for n in (*range(10), 0)]
    for table in (twice._trees, twice._calls):
        assert len(table) <= 4


def test_static_values(monkeypatch):
    monkeypatch.setattr(jit, "_MAX_SIGNATURES", 4)
    power = graphad.jit(lambda x, n: x**n, static_argnums=1)
    for n in (*range(10), 0):
        close(power(2.0, n), 2.0**n)
    assert len(power._trees) <= 4


def test_regions(monkeypatch):
    monkeypatch.setattr(jit, "_MAX_SIGNATURES", 4)
    inner = graphad.jit(lambda x: gnp.sum(x * x))
    for n in (*range(1, 10), 1):
        close(graphad.grad(lambda x: inner(x))(np.ones(n)), np.full(n, 2.0))
    assert len(inner._regions) <= 4


def test_programs_of_functions_made_in_a_loop():
    def step(rate):
        inner = graphad.jit(lambda x: gnp.sin(x) * rate)
        result = graphad.grad(lambda x: gnp.sum(inner(x)))(X)
        return result, weakref.ref(inner.trace(X).graph), weakref.ref(inner)

    for rate in (0.5, 0.25):
        result, *programs = step(rate)
        close(result, rate * np.cos(np.arange(4.0)))
        gc.collect()
        assert [p() for p in programs] == [None, None]


def test_custom_rules_made_in_a_loop():
    def step(factor):
        @graphad.custom_vjp
        def scaled(x):
            return x * factor

        scaled.defvjp(lambda x: (scaled(x), None), lambda _, ct: (ct * factor,))
        return graphad.grad(lambda x: gnp.sum(scaled(x)))(X), weakref.ref(scaled)

    result, function = step(3.0)
    close(result, np.full(4, 3.0))
    gc.collect()
    assert function() is None


def test_graphs_of_a_custom_rule(monkeypatch):
    monkeypatch.setattr(rules, "MAX_GRAPHS", 4)

    @graphad.custom_jvp
    def cube(x):
        return x**3

    cube.defjvp(lambda primals, tangents: (cube(primals[0]), 3 * primals[0] ** 2 * tangents[0]))
    for n in (*range(1, 10), 1):
        close(graphad.grad(lambda x: gnp.sum(cube(x)))(np.full(n, 2.0)), np.full(n, 12.0))
        close(graphad.vmap(graphad.grad(cube))(np.full(n, 2.0)), np.full(n, 12.0))
    (rule,) = cube._rules.values()
    assert len(rule._graphs) <= 4
    assert len(rule.batches) <= 4


@pytest.mark.parametrize("differentiate", [False, True])
def test_numbers_that_change(differentiate, monkeypatch):
    """A rate that each step computes anew: it stays no longer than the step's own program."""
    monkeypatch.setattr(types, "_recent_literals", BoundedDict(4))
    rates = [0.1 + 1e-4 * n for n in range(50)]
    for rate in rates:
        if differentiate:
            close(graphad.grad(lambda x, rate=rate: gnp.sum(x * rate))(X), np.full(4, rate))
        else:
            close(X * rate, np.arange(4.0) * rate)
    gc.collect()
    left = [x for x in list(types._literals.values()) if x.dtype is f32 and x.value in np.float32(rates)]
    assert len(left) < 10  # the recent ones, and what other tests use


def test_code_that_is_made_in_a_loop(monkeypatch):
    monkeypatch.setattr(source, "_is_ours", BoundedDict(4))
    for n in range(20):
        names = {"gnp": gnp}
        exec(compile(f"def f(x):\n    return gnp.sum(x * {n}.0)", f"cell_{n}.py", "exec"), names)
        graph = graphad.make_graph(names["f"])(X)
        assert f"cell_{n}.py:2" in str(graph)
    assert len(source._is_ours) <= 4
