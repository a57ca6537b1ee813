"""Guards in graphs: where `bool` and `int` put them, how regions hand them out, what is evaluated for them."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api import stages
from graphad.errors import TracerBoolError
from graphad.ir.primitive import PRIMITIVES
from graphad.trace import tracer
from tests.compose.tools import close, count, f64, path_count

BATCH = f64([0.3, -0.5, 0.9])


def guards_of(graph):
    """The guards of ``graph`` itself; none may be inside a region."""
    assert all(count(r, "guard") == 0 for e in graph.eqns for r in e.regions)
    return [e for e in graph.eqns if e.primitive.name == "guard"]


def test_bool_of_a_float_guards_that_it_is_not_zero():
    graph = graphad.make_graph(lambda x: x or -x)(2.0)
    (guard,) = guards_of(graph)
    assert graph.avals[guard.inputs[0]].dtype.name == "bool"
    assert guard.params[0].item() is True


def test_int_guards_the_number_itself():
    (guard,) = guards_of(graphad.make_graph(lambda x, n: x * int(n))(2.0, np.int32(3)))
    assert guard.params[0].item() == 3


def test_the_same_question_twice_is_one_guard():
    def f(x):
        a = x * 2.0 if x > 0 else x
        b = x * 3.0 if x > 0 else x
        return a + b

    assert len(guards_of(graphad.make_graph(f)(1.0))) == 1


def test_guards_of_a_region_stand_outside_in_their_order():
    def inner(y):
        if y > 1.0:
            y = y * 2.0
        if y > 5.0:
            y = y * 3.0
        return y

    graph = graphad.make_graph(graphad.jit(inner))(2.0)
    assert [g.params[0].item() for g in guards_of(graph)] == [True, False]
    (region,) = [e for e in graph.eqns if e.primitive.name == "jit"]
    assert len(region.outputs) == 3


@pytest.mark.parametrize("wrap", [graphad.jit, graphad.checkpoint], ids=["jit", "checkpoint"])
def test_guards_come_out_of_nested_regions(wrap):
    f = wrap(lambda x: wrap(lambda y: gnp.sin(y) if y > 0 else y * y)(x) * 2.0)
    for transform in (lambda f: f, graphad.grad, lambda f: graphad.grad(graphad.grad(f))):
        graph = graphad.make_graph(transform(f))(0.5)
        assert len(guards_of(graph)) == 1
        compiled = graphad.jit(transform(f))
        for x in (0.5, -0.5, 0.25):
            close(compiled(x), transform(f)(x))
        assert path_count(compiled) == 2


def test_predicate_on_a_value_of_the_enclosing_trace():
    f = lambda w: graphad.vmap(lambda x: x * w if w > 0 else x)(BATCH).sum()
    compiled = graphad.jit(graphad.grad(f))
    close([compiled(f64(2.0)), compiled(f64(-2.0)), compiled(f64(3.0))], [BATCH.sum(), 0.0, BATCH.sum()])
    assert path_count(compiled) == 2


def test_inner_gradient_that_branches_on_the_outer_variable():
    def f(w):
        def inner(x):
            if w > 0:
                return x * w
            return x * x

        return graphad.grad(inner)(w)

    compiled = graphad.jit(f)
    assert [float(compiled(w)) for w in (2.0, -2.0, 3.0)] == [2.0, -4.0, 3.0]
    assert path_count(compiled) == 2


def test_gradient_with_a_branch_in_a_region_under_vmap_of_something_else():
    f = lambda s: graphad.jit(lambda y: graphad.grad(lambda z: z * z if z > 0 else -z)(y))(s)
    assert float(graphad.grad(f)(2.0)) == 2.0
    compiled = graphad.jit(lambda x, s: graphad.vmap(lambda q: q * f(s))(x))
    close(compiled(BATCH, f64(2.0)), BATCH * 4)
    close(compiled(BATCH, f64(-2.0)), -BATCH)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x if x > 0 else -x,
        lambda x: graphad.jit(lambda y: y if y > 0 else -y)(x),
        lambda x: graphad.grad(lambda y: y * y if y > 0 else -y)(x),
        lambda x: x * int(x),
    ],
    ids=["plain", "jit", "grad", "int"],
)
def test_branching_on_a_batched_value_quotes_the_line(f):
    with pytest.raises(TracerBoolError, match=r"(?s)test_guards.py:\d+: .*lambda x.*where"):
        graphad.vmap(f)(BATCH)


def test_custom_rules_have_no_example_to_branch_on_in_a_batch():
    @graphad.custom_vjp
    def f(x):
        return x * 2.0 if x > 0 else x * 3.0

    f.defvjp(lambda x: (x * 2.0, 1.0) if x > 0 else (x * 3.0, -1.0), lambda residual, ct: (ct * residual,))
    with pytest.raises(TracerBoolError, match="custom rule"):
        graphad.vmap(graphad.grad(f))(BATCH)


def test_primal_of_a_custom_rule_may_branch():
    @graphad.custom_vjp
    def f(x):
        return gnp.sin(x) if x > 0 else x * 3.0

    f.defvjp(lambda x: (gnp.where(x > 0, gnp.sin(x), x * 3.0), x), lambda x, ct: (ct * gnp.cos(x),))
    g = graphad.value_and_grad(lambda x: f(x) * 2.0)
    for compiled in (g, graphad.jit(g)):
        for x, value in ((1.0, np.sin(1.0)), (-1.0, -3.0), (2.0, np.sin(2.0))):
            got, slope = compiled(x)
            close(got, np.float32(2 * value))
            close(slope, np.float32(2 * np.cos(x)))


@pytest.mark.parametrize("kind", ["jvp", "vjp"])
def test_a_custom_function_may_branch_on_an_unmapped_value(kind):
    function = lambda x, s: x * 2.0 if s > 0 else x * 3.0
    if kind == "jvp":
        f = graphad.custom_jvp(function, nondiff_argnums=())
        f.defjvp(lambda p, t: (p[0] * gnp.where(p[1] > 0, 2.0, 3.0), t[0] * 10.0))
    else:
        f = graphad.custom_vjp(function)
        f.defvjp(lambda x, s: (x * gnp.where(s > 0, 2.0, 3.0), None), lambda _, ct: (ct * 10.0, None))
    over_the_batch = graphad.jit(lambda xs, s: graphad.vmap(lambda x: f(x, s))(xs))
    gradients = graphad.jit(lambda xs, s: graphad.vmap(graphad.grad(f), (0, None))(xs, s))
    for s, factor in ((1.0, 2), (-1.0, 3), (2.0, 2)):
        close(over_the_batch(BATCH, s), BATCH * factor)
        close(gradients(BATCH, s), np.full(3, 10.0))
    assert path_count(over_the_batch) == 2


def test_examples_are_evaluated_once_each(monkeypatch):
    runs = []
    exp = PRIMITIVES["exp"]
    reference = exp.numpy
    monkeypatch.setattr(exp, "numpy", lambda x: runs.append(1) or reference(x))

    def loop(x):
        y = gnp.exp(x)
        for _ in range(20):
            y = y * 0.9 if y > 0 else -y
        return y

    graphad.make_graph(loop)(f64(1.0))
    assert len(runs) == 1
    runs.clear()
    nested = lambda z: gnp.exp(z) * 0.1
    for _ in range(5):
        nested = (lambda g: lambda x: (lambda y: y if y > 0 else -y)(graphad.jit(g)(x)))(nested)
    graphad.make_graph(nested)(f64(1.0))
    assert len(runs) == 1


def test_no_example_is_computed_without_a_question(monkeypatch):
    asked = []
    monkeypatch.setattr(tracer.Trace, "example", lambda *_: asked.append(1))
    graphad.make_graph(lambda x: gnp.exp(x) * 2)(1.0)
    assert not asked


def test_eager_gradients_follow_the_branch_at_each_level():
    f = lambda x: gnp.sin(x) * x * x if x > 0 else -x
    g = f
    for _ in range(4):
        g = graphad.grad(g)
    x = 0.7
    close(g(f64(x)), -8 * x * np.cos(x) - 12 * np.sin(x) + x * x * np.sin(x), 1e-10)
    assert float(g(f64(-0.7))) == 0.0


def test_random_bits_decide():
    @graphad.jit
    def f(key, x):
        if graphad.random.bits(key) > np.uint32(2**31):
            return x * 2.0
        return x * 3.0

    got = [float(f(graphad.random.key(k), 1.0)) for k in range(8)]
    expected = [2.0 if int(graphad.random.bits(graphad.random.key(k))) > 2**31 else 3.0 for k in range(8)]
    assert got == expected
    assert set(got) == {2.0, 3.0}


def test_deep_straight_programs_do_not_recurse():
    def deep(x):
        for _ in range(20000):
            x = x * 1.0001
        return x if x > 0 else -x

    close(graphad.grad(deep)(f64(1.0)), 1.0001**20000, 1e-9)


def test_long_loops_run_compiled_for_examples(monkeypatch):
    compiled = []
    run_loop = stages._run_loop

    def counted(*args):
        compiled.append(args)
        return run_loop(*args)

    monkeypatch.setattr(stages, "_run_loop", counted)

    def f(x, turns):
        def outer(k, c):
            return lax.fori_loop(0, turns, lambda _, c: gnp.sin(c) * 0.5 + x, c)

        total = lax.fori_loop(0, 10, outer, x)
        return total * total if total > 0.3 else -total

    def slope_of(x, turns):
        total, slope = x, 1.0
        for _ in range(10 * turns):
            total, slope = np.sin(total) * 0.5 + x, np.cos(total) * 0.5 * slope + 1.0
        return 2 * total * slope if total > 0.3 else -slope

    for turns, times in ((5, 0), (2000, 1)):
        compiled.clear()
        close(graphad.jit(graphad.grad(f), static_argnums=1)(f64(0.7), turns), slope_of(0.7, turns))
        assert len(compiled) == times
