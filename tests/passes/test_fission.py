"""The pass `fission`: what of a loop stays in it, and that the rest gives the same values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.backends.cpu.executable import compile_graph
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Graph
from graphad.ir.verify import verify
from graphad.passes import Fission, applied
from graphad.primitives.scan import scan

RNG = np.random.default_rng(0)
TURNS = 67
#: `fission` of all loops that can be distributed.
ALWAYS = Fission(shortest=1, always=True)


def distributed(f: Callable[..., Any], *args: Any, how: Fission = ALWAYS, rtol: float = 1e-12) -> tuple[Graph, Graph]:
    """The graph of ``f`` before and after; they give the same values, by NumPy and compiled."""
    args = tuple([np.asarray(x) for x in args])
    graph = applied(graphad.make_graph(f)(*args), "inline{custom=True},simplify,hoist")
    made = how.run(graph)
    verify(made, 2)
    arrays = [*args]
    arrays += [np.zeros(a.shape, a.dtype.numpy) for a in graph.in_avals[len(args) :]]
    with np.errstate(all="ignore"):
        expected = evaluate(graph, arrays)
        for results in (evaluate(made, arrays), compile_graph(made)(*arrays)):
            for x, y in zip(results, expected, strict=True):
                assert np.asarray(x).dtype == y.dtype
                np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * np.max(np.abs(y), initial=0, where=y == y))
    return graph, made


def in_loop(graph: Graph) -> list[str]:
    """The primitives in the loops of a graph."""
    return [e.primitive.name for eqn in graph.eqns if eqn.primitive is scan for e in eqn.regions[0].eqns]


def xs(n: int = TURNS) -> Any:
    return RNG.uniform(0.5, 1.5, n)


# ---------------------------------------------------------------------------------------------------------------------
# What stays in the loop


def test_what_waits_for_nothing_is_computed_before_and_what_nothing_waits_for_behind():
    def f(x: Any) -> Any:
        return lax.scan(lambda c, x: (0.9 * c + gnp.exp(x), gnp.log(1 + c * c)), 0.0, x)

    before, after = distributed(f, xs())
    assert sorted(in_loop(before)) == ["add", "add", "exp", "log", "mul", "mul"]
    assert sorted(in_loop(after)) == ["add", "mul"]


def test_numbers_are_added_to_arrays():
    def f(start: Any, x: Any) -> Any:
        return lax.scan(lambda c, x: ((c[0] + 0.5, c[1] - 0.25), gnp.exp(x)), (start, start[0, 0]), x)

    _, after = distributed(f, np.ones((2, 3)), xs())
    assert not in_loop(after)


@pytest.mark.parametrize("reverse", [False, True])
def test_sums_and_differences_of_what_is_carried_leave_the_loop(reverse):
    def f(x: Any) -> Any:
        def turn(carry: Any, x: Any) -> Any:
            state, total, left = carry
            state = gnp.cos(state) + x
            return (state, total + state * x, left - state / x), None

        return lax.scan(turn, (0.5, 1.0, 2.0), x, reverse=reverse)[0]

    _, after = distributed(f, xs())
    assert sorted(in_loop(after)) == ["add", "cos"]


def test_a_sum_that_is_read_stays():
    def f(x: Any) -> Any:
        return lax.scan(lambda c, x: (c + gnp.exp(x), c), 0.0, x)

    _, after = distributed(f, xs())
    assert in_loop(after) == ["add"]


def test_a_loop_that_carries_sums_alone_is_no_loop():
    def f(x: Any) -> Any:
        return lax.scan(lambda c, x: ((c[0] + gnp.exp(x), c[1] - x), x * x), (0.0, 0.0), x)

    _, after = distributed(f, xs(), how=Fission())
    assert in_loop(after) == []


def test_a_linear_loop_is_a_product_of_matrices():
    def loss(a: Any, x: Any) -> Any:
        def turn(c: Any, x: Any) -> Any:
            p, q = c
            p, q = p + 0.1 * gnp.sin(q * a), q - 0.1 * p * x
            return (q * a - p * p * 0.01, p / (1 + q * q)), None

        p, q = lax.scan(turn, (0.5, 1.0), x)[0]
        return p * q

    _, after = distributed(graphad.grad(loss, (0, 1)), 0.7, xs(), how=Fission(), rtol=1e-10)
    (forward, backward) = [eqn.regions[0] for eqn in after.eqns if eqn.primitive is scan]
    assert sorted(e.primitive.name for e in backward.eqns) == ["add", "add", "mul", "mul", "mul", "mul"]
    assert len(forward.eqns) > len(backward.eqns)


def test_integer_and_constant_carries():
    def f(x: Any) -> Any:
        def turn(c: Any, x: Any) -> Any:
            k, state, last = c
            return (k + 1, state * 0.5 + gnp.exp(-x * k), x), (k, last)

        return lax.scan(turn, (0, 1.0, 0.0), x)

    distributed(f, xs())


def test_small_arrays_and_every_dtype():
    for dtype in (np.float32, np.float64):

        def f(x: Any, start: Any) -> Any:
            def turn(c: Any, x: Any) -> Any:
                return gnp.tanh(c[::-1] + x), (gnp.exp(x).sum(), c @ c, gnp.concatenate([c, x]))

            return lax.scan(turn, start, x)

        x = RNG.normal(size=(TURNS, 3)).astype(dtype)
        distributed(f, x, np.ones(3, dtype), rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_nan_and_inf_stay_where_they_are():
    def f(x: Any) -> Any:
        def turn(c: Any, x: Any) -> Any:
            state, total = c
            return (gnp.where(x > 2, 0.0, state * 0.5 + gnp.log(x)), total + 1 / x), state * state

        return lax.scan(turn, (0.0, 0.0), x)

    x = xs()
    for k, value in ((5, np.nan), (20, np.inf), (30, 0.0), (40, -1.0), (66, 3.0)):
        x[k] = value
        distributed(f, x)


def test_loops_in_loops_and_branches():
    def f(x: Any) -> Any:
        def inner(c: Any) -> Any:
            return lax.scan(lambda c, x: (gnp.sin(c) + gnp.exp(x), None), c, x)[0]

        outer = lax.fori_loop(0, 5, lambda _, c: inner(c), 0.5)
        return lax.cond(outer > 0, inner, lambda c: c, outer)

    before, after = distributed(f, xs())
    assert str(before).count("exp") == str(after).count("exp")  # the region of a loop does not have them any more
    assert "exp" not in [
        e.primitive.name
        for eqn in after.eqns
        for region in eqn.regions
        for inner in region.eqns
        for part in inner.regions
        for e in part.eqns
    ]


# ---------------------------------------------------------------------------------------------------------------------
# What is left alone


@pytest.mark.parametrize("n", [2, 63, 70_000])
def test_short_and_long_loops_stay(n):
    graph = graphad.make_graph(lambda x: lax.scan(lambda c, x: (c * x + gnp.exp(x), None), 0.0, x)[0])(xs(n))
    assert Fission().run(graph) is graph


def test_large_arrays_and_effects_stay():
    def wide(x: Any) -> Any:
        return lax.scan(lambda c, x: (c * x + gnp.exp(x), None), gnp.zeros(17, "float64"), x)[0]

    def loud(x: Any) -> Any:
        def turn(c: Any, x: Any) -> Any:
            graphad.debug.print("{}", x)
            return c * x + gnp.exp(x), None

        return lax.scan(turn, 0.0, x)[0]

    for graph in (graphad.make_graph(wide)(RNG.normal(size=(100, 17))), graphad.make_graph(loud)(xs())):
        assert ALWAYS.run(graph) is graph


def test_arithmetic_alone_stays():
    def f(x: Any) -> Any:
        return lax.scan(lambda c, x: (c * c - 0.1 * x * x, c + x), 0.5, x)

    before, after = distributed(f, xs(), how=Fission())
    assert in_loop(before) == in_loop(after)


def test_it_says_what_it_does():
    def f(x: Any) -> Any:
        return lax.scan(lambda c, x: (gnp.cos(c) + gnp.exp(x), None), 0.0, x)[0]

    def g(x: Any) -> Any:
        return lax.scan(lambda c, x: (c * c - 0.1 * x * x, c + x), 0.5, x)[0]

    said = str(graphad.jit(f).explain(xs()))
    assert "loop of 67 turns" in said
    assert "2 of 3 equations in the loop, the others for all turns at once" in said
    assert "test_fission.py" in said
    assert "turn by turn" in str(graphad.jit(g).explain(xs()))


# ---------------------------------------------------------------------------------------------------------------------
# Anything


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_random_bodies(data):
    n_carry, n_turns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 12))
    program = []
    for k in range(data.draw(st.integers(1, 12))):
        operands = st.integers(0, n_carry + 2 + k)
        program.append((data.draw(st.sampled_from(sorted(OPERATIONS))), data.draw(operands), data.draw(operands)))
    size = n_carry + 3 + len(program)
    outputs = data.draw(st.lists(st.integers(0, size - 1), min_size=n_carry + 1, max_size=n_carry + 2))
    reverse = data.draw(st.booleans())

    def loss(start: Any, b: Any, x: Any) -> Any:
        def turn(carry: Any, x: Any) -> Any:
            values = [*carry, b, x, x * b]
            for name, i, j in program:
                values.append(OPERATIONS[name](values[i], values[j]))
            return tuple([values[k] for k in outputs[:n_carry]]), [values[k] for k in outputs[n_carry:]]

        carry, ys = lax.scan(turn, tuple(start), x, reverse=reverse)
        return sum(carry) + sum(y.sum() for y in ys)

    args = [np.full(1, k + 0.5)[0] for k in range(n_carry)], 0.3, xs(n_turns)
    distributed(lambda b, x: graphad.value_and_grad(loss, (0, 1, 2))(args[0], b, x), *args[1:], rtol=1e-9)


#: Bounded, so that nothing overflows in some turns.
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: 0.5 * (a + b),
    "sub": lambda a, b: 0.5 * (a - b),
    "mul": lambda a, b: gnp.tanh(a) * gnp.tanh(b),
    "scale": lambda a, _: 0.9 * a,
    "neg": lambda a, _: -a,
    "div": lambda a, b: a / (1 + b * b),
    "exp": lambda a, _: gnp.exp(-a * a),
    "select": lambda a, b: gnp.where(a > b, a, 0.5 * b),
}
