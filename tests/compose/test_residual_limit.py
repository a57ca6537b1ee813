"""Gradients in bounded memory: those of the plain loops, in the bytes that were asked for."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api.residual_limit import bounded
from graphad.api.stages import simplify
from graphad.api.tracing import loop_notes, with_loops
from graphad.backends.loops.memory import plan
from graphad.backends.lower.fuse import lower
from graphad.errors import DifferentiationError
from graphad.primitives.control import jit as jit_equation
from graphad.primitives.custom import custom_vjp
from graphad.primitives.scan import scan
from graphad.transforms.linearize import linearized
from tests.thinned import every

RNG = np.random.default_rng(0)
W, START, XS = RNG.normal(size=(3, 3)) / 2, RNG.normal(size=3), RNG.normal(size=(203, 3))


def close(got, wanted, tolerance=1e-11):
    for a, b in zip(graphad.tree.leaves(got), graphad.tree.leaves(wanted), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(np.asarray(b)).max(initial=1e-300))


def notes(f, *args):
    with loop_notes() as found:
        graphad.make_graph(f)(*args)
    return found


def states(f, *args):
    """The numbers of states of the loops that are bounded."""
    return [int(n.replace(",", "")) for text in notes(f, *args) for n in re.findall(r"stores ([\d,]+) states", text)]


# ---------------------------------------------------------------------------------------------------------------------
# Programs of several kinds


def recurrence(w, start, xs, reverse=False):
    """Containers, what is closed over, an integer that is carried, stacked results, turns that make no whole block."""

    def turn(carry, x):
        c = gnp.tanh(w @ carry["c"]) + x * 0.5
        return {"c": c, "k": carry["k"] + 1}, (gnp.sum(c) * carry["k"], gnp.sin(c[0]))

    end, (sums, firsts) = lax.scan(turn, {"c": start, "k": 0}, xs, reverse=reverse)
    return gnp.sum(end["c"] ** 2) + gnp.sum(sums[::3]) / (end["k"] + 1) + gnp.sum(gnp.cos(firsts))


def nested(w, start, xs):
    def outer(c, x):
        c = lax.fori_loop(0, 40, lambda i, c: gnp.tanh(w @ c) + 0.1 * x * gnp.cos(c), c)
        return c, c[1]

    c, ys = lax.scan(outer, start, xs)
    return gnp.sum(c) + gnp.sum(ys * ys)


def two_loops(w, start, xs):
    c, _ = lax.scan(lambda c, x: (gnp.sin(w @ c) + x, None), start, xs)
    return lax.fori_loop(0, 40, lambda _, c: gnp.cos(w @ c), c).sum()


def in_regions(w, start, xs):
    """Loops in compiled functions, in a branch, and in what is computed again; and other equations."""
    inner = graphad.jit(lambda c: lax.fori_loop(0, 150, lambda _, c: gnp.sin(w @ c), c[gnp.array([2, 0, 1])]))
    c = graphad.checkpoint(lambda c: lax.scan(lambda c, x: (gnp.cos(w @ c) * x, None), c, xs)[0])(inner(start))
    loops = [lambda c, f=f: lax.fori_loop(0, 160, lambda _, c: f(w @ c), c) for f in (gnp.sin, gnp.cos)]
    return lax.cond(c[0] > 0, *loops, c).sum()


def unrolled(w, start, xs):
    c = start
    for x in xs:
        c = gnp.sin(w @ c) + x
    return c.sum()


def derivatives(w, start, xs):
    """Loops that are derivatives themselves."""

    def run(start):
        return lax.scan(lambda c, x: (gnp.sin(w @ c) + x, None), start, xs)[0]

    _, tangent = graphad.jvp(run, (start,), (gnp.ones(3, np.float64),))
    return gnp.sum(tangent**2) + gnp.sum(graphad.grad(lambda s: gnp.sum(run(s)))(start) ** 2)


PROGRAMS = [recurrence, nested, two_loops, in_regions, unrolled, derivatives]


def plain_bytes(f, *args):
    """What the traced function stores for reverse mode."""
    return stored(with_loops(graphad.make_graph(f)(*args)), len(args))


def stored(graph, n):
    """The bytes that loops store for reverse mode by the first ``n`` inputs of a graph."""
    primal = linearized(graph, (True,) * n + (False,) * (graph.n_inputs - n)).primal
    of_loops = {o for e in primal.eqns if any(r.primitive is scan for r in every_equation(e)) for o in e.outputs}
    residuals = {a for a in primal.outputs[len(graph.outputs) :] if a in of_loops}
    return sum(primal.avals[a].size * primal.avals[a].dtype.bits // 8 for a in residuals)


def every_equation(eqn):
    yield eqn
    for region in eqn.regions:
        for inside in region.eqns:
            yield from every_equation(inside)


@pytest.mark.parametrize("share", every(2, [2, 5, 12]))
@pytest.mark.parametrize("f", PROGRAMS)
def test_gradients_are_those_of_plain_loops(f, share):
    limit = plain_bytes(f, W, START, XS) // share
    got = graphad.jit(graphad.value_and_grad(f, (0, 1, 2), max_residual_bytes=limit))
    assert states(graphad.grad(f, max_residual_bytes=limit), W, START, XS)
    close(got(W, START, XS), graphad.jit(graphad.value_and_grad(f, (0, 1, 2)))(W, START, XS))


@pytest.mark.parametrize("share", every(2, [1, 2, 5, 12]))
@pytest.mark.parametrize("f", [recurrence, nested, two_loops])
def test_no_more_is_stored_than_was_asked_for(f, share):
    graph = graphad.make_graph(f)(W, START, XS)
    limit = stored(graph, 3) // share
    assert stored(bounded(graph, (True,) * 3, limit, "f"), 3) <= limit


def test_reversed_loops_and_numbers_of_float32():
    args = [x.astype(np.float32) for x in (W, START, XS)]
    f = lambda *args: recurrence(*args, reverse=True)
    for transform in (graphad.grad, graphad.value_and_grad):
        close(transform(f, (0, 1, 2), max_residual_bytes=1500)(*args), transform(f, (0, 1, 2))(*args), 1e-5)


def test_auxiliary_results_and_other_arguments():
    def f(w, name, start, *, xs):
        loss = recurrence(w, start, xs)
        return loss, {"name": name, "loss": loss}

    got = graphad.grad(f, (0, 2), has_aux=True, max_residual_bytes=3000)(W, "a name", START, xs=XS)
    wanted = graphad.grad(f, (0, 2), has_aux=True)(W, "a name", START, xs=XS)
    assert got[1].pop("name") == wanted[1].pop("name") == "a name"
    close(got, wanted)


def test_batches():
    ws = np.stack([W, -W])
    f = graphad.vmap(graphad.grad(recurrence, max_residual_bytes=2000), (0, None, None))
    close(graphad.jit(f)(ws, START, XS), graphad.vmap(graphad.grad(recurrence), (0, None, None))(ws, START, XS))
    close(f(ws, START, XS)[1], graphad.grad(recurrence)(-W, START, XS))


def test_derivatives_of_gradients():
    def loss(transform):
        return lambda start: gnp.sum(transform(lambda s: recurrence(W, s, XS[:60]))(start) ** 2)

    limited = loss(lambda f: graphad.grad(f, max_residual_bytes=1500))
    close(graphad.jacfwd(limited)(START), graphad.grad(loss(graphad.grad))(START), 1e-9)
    close(graphad.grad(limited)(START), graphad.grad(loss(graphad.grad))(START), 1e-9)
    twice = graphad.grad(limited, max_residual_bytes=20_000)
    close(twice(START), graphad.grad(loss(graphad.grad))(START), 1e-9)


def test_compile_grad_takes_it():
    f = graphad.compile_grad(recurrence, with_value=True, max_residual_bytes=2000)
    close(f(W, START, XS), graphad.value_and_grad(recurrence)(W, START, XS))
    assert states(f, W, START, XS) == states(graphad.grad(recurrence, max_residual_bytes=2000), W, START, XS) != []


def test_loops_over_named_axes():
    def f(x):
        return lax.fori_loop(0, 100, lambda _, c: gnp.sin(c) + lax.pmean(c, "i") * x, x)

    def of(**options):
        return graphad.vmap(graphad.grad(f, **options), axis_name="i")(gnp.array([0.3, 0.7, 0.1]))

    close(of(max_residual_bytes=200), of(), 1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# What is chosen


def test_what_fits_is_left_alone():
    limit = plain_bytes(recurrence, W, START, XS)
    graph = graphad.make_graph(recurrence)(W, START, XS)
    assert bounded(graph, (True,) * 3, limit, "f") == graph
    assert bounded(graph, (True,) * 3, limit - 1, "f") != graph


def test_loops_without_a_derivative_do_not_count():
    def f(a, n):
        k = lax.fori_loop(0, 100_000, lambda i, k: k + i, n)
        c = lax.fori_loop(0, 100_000, lambda _, c: gnp.sin(c), graphad.stop_gradient(a))
        return a * k + c

    assert notes(graphad.grad(f, max_residual_bytes=0), 1.0, 1) == []
    assert graphad.grad(f, max_residual_bytes=0)(1.0, 1) == graphad.grad(f)(1.0, 1)


def test_the_largest_loops_come_first():
    found = notes(graphad.grad(two_loops, (0, 1, 2), max_residual_bytes=7000), W, START, XS)
    assert len(found) == 1
    assert found[0].startswith("loop of 203 turns (test_residual_limit.py:")
    found = notes(graphad.grad(two_loops, (0, 1, 2), max_residual_bytes=1500), W, START, XS)
    assert [text[:17] for text in found] == ["loop of 203 turns", "loop of 40 turns "]


def test_states_use_up_what_is_left():
    """The example of the module: 10 states of float64 and 30 bytes are scaled by 8."""

    def f(a):
        return lax.fori_loop(0, 8000, lambda _, c: gnp.sin(c) * a, gnp.float64(1.0))

    per_turn = plain_bytes(f, np.float64(0.9)) // 8000
    for limit in (3000, 5000, 9000):
        (found,) = states(graphad.grad(f, max_residual_bytes=limit), np.float64(0.9))
        assert found == min((limit - 8 * per_turn) // 8, 1000)


def test_a_long_loop_in_a_short_one_is_the_one_that_is_bounded():
    def f(a):
        def outer(c, _):
            return lax.fori_loop(0, 10_000, lambda _, c: gnp.sin(c) * a, c), None

        return lax.scan(outer, 1.0, None, 5)[0]

    (text,) = notes(graphad.grad(f, max_residual_bytes=20_000), 0.9)
    assert re.match(
        r"loop of 5 turns \(.*\): in it, the loop of 10,000 turns \(.*\): reverse mode stores [\d,]+ states$", text
    )


def test_both_of_two_long_loops_are_bounded_where_it_must_be():
    def f(a):
        def outer(c, _):
            return lax.fori_loop(0, 1000, lambda _, c: gnp.sin(c) * a, c), None

        return lax.scan(outer, gnp.float64(1.0), None, 1000)[0]

    one, two = (notes(graphad.grad(f, max_residual_bytes=n), np.float64(0.9)) for n in (200_000, 10_000))
    assert one[0].count("states") == 1
    assert two[0].count("states") == 2
    got = graphad.jit(graphad.grad(f, max_residual_bytes=10_000))(np.float64(0.9))
    close(got, graphad.jit(graphad.grad(f))(np.float64(0.9)), 1e-9)


def test_temporaries_are_those_of_the_limit():
    """Of the whole program: the states, one block, and what the loops carry."""

    def loss(a, c):
        return gnp.sum(lax.scan(lambda c, _: (gnp.sin(c) * a, None), c, None, 6400)[0])

    args = np.float64(0.9), np.ones(1000)
    state, block = 8000, 2 * 8 * 8000
    for limit in (2_000_000, 500_000):
        f = graphad.jit(graphad.grad(loss, max_residual_bytes=limit))
        used = plan(lower(simplify(f.graph(*args))).program).size
        assert limit - block <= used <= limit + 25 * state
    assert plan(lower(simplify(graphad.jit(graphad.grad(loss)).graph(*args))).program).size > 100_000_000


# ---------------------------------------------------------------------------------------------------------------------
# Loops of which nothing is known beforehand, errors


def test_while_loops_get_checkpoints_beside_others():
    def f(a):
        c = lax.while_loop(lambda c: abs(c * c - a) > 1e-6, lambda c: 0.5 * (c + a / c), a)
        return lax.fori_loop(0, 500, lambda _, c: gnp.sin(c) * a, c)

    limited = graphad.grad(f, max_residual_bytes=1000)
    one, two = sorted(notes(limited, np.float64(2.0)))
    assert one.startswith("loop of 500 turns")
    assert re.match(
        r"while loop \(test_residual_limit.py:\d+\): reverse mode stores \d+ states, and runs [\d,]+ turns", two
    )
    close(limited(np.float64(2.0)), graphad.grad(f)(np.float64(2.0)))


@pytest.mark.parametrize("f", [recurrence, nested, two_loops, in_regions])
def test_too_little_says_how_much_works(f):
    with pytest.raises(ValueError, match=r"too little to reverse the loops of .*; the largest is the loop of") as error:
        graphad.grad(f, max_residual_bytes=10)(W, START, XS)
    least = int(re.findall(r"Allow ([\d,]+) bytes at least", str(error.value))[0].replace(",", ""))
    close(graphad.grad(f, max_residual_bytes=least)(W, START, XS), graphad.grad(f)(W, START, XS))
    with pytest.raises(ValueError, match=f"Allow {least:,} bytes at least"):
        graphad.grad(f, max_residual_bytes=least - 1)(W, START, XS)


def test_loops_too_short_for_checkpoints_store_all():
    def f(a):
        return lax.fori_loop(0, 9, lambda _, c: gnp.sin(c) * a, a)

    least = plain_bytes(f, np.float64(0.3))
    assert graphad.grad(f, max_residual_bytes=least)(0.3) == graphad.grad(f)(0.3)
    with pytest.raises(ValueError, match=f"Allow {least} bytes at least"):
        graphad.grad(f, max_residual_bytes=0)(np.float64(0.3))


@pytest.mark.parametrize("limit", [-1, 1.5, "1 MB", True])
def test_what_is_no_number_of_bytes(limit):
    for transform in (graphad.grad, graphad.value_and_grad, graphad.compile_grad):
        with pytest.raises(ValueError, match="max_residual_bytes is a number of bytes or None"):
            transform(recurrence, max_residual_bytes=limit)


def test_a_bounded_loop_is_an_equation_with_a_rule_at_the_line_of_the_loop():
    graph = bounded(graphad.make_graph(recurrence)(W, START, XS), (True,) * 3, 2000, "f")
    assert custom_vjp in [e.primitive for e in graph.eqns]
    with pytest.raises(DifferentiationError, match="scan_with_checkpoint"):
        linearized(linearized(graph, (True,) * 3).linear, (True,) * 3)
    graph = graphad.make_graph(in_regions)(W, START, XS)
    inside = bounded(graph, (True,) * 3 + (False,) * (graph.n_inputs - 3), 4000, "f")
    assert jit_equation in [e.primitive for e in inside.eqns]
    assert scan not in [e.primitive for e in inside.eqns]
