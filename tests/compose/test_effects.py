"""Effects: `debug.print` in regions and through transforms, in order, as often as the program says."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close, count, f64

BATCH = f64([1.0, 2.0, 3.0])


def printed(capsys, f, *args):
    capsys.readouterr()
    result = f(*args)
    return capsys.readouterr().out.splitlines(), result


def show(x, text="x = {}"):
    graphad.debug.print(text, x)
    return x * 2.0


@pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit, graphad.grad, lambda f: graphad.jit(graphad.grad(f))])
def test_printed_once(capsys, wrap):
    lines, _ = printed(capsys, wrap(show), 1.5)
    assert lines == ["x = 1.5"]


def test_printed_at_every_call(capsys):
    f = graphad.jit(show)
    for x in (1.0, 2.0, 1.0):
        assert printed(capsys, f, x)[0] == [f"x = {x}"]


def test_equal_prints_are_not_merged(capsys):
    def f(x):
        show(x)
        show(x)
        return x

    for wrapped in (f, graphad.jit(f), graphad.jit(lambda x: graphad.jit(f)(x)), graphad.grad(f)):
        assert printed(capsys, wrapped, 1.0)[0] == ["x = 1.0", "x = 1.0"]


def test_prints_of_regions_whose_results_nobody_reads(capsys):
    def f(x):
        graphad.jit(show)(x)
        graphad.checkpoint(show)(x + 1.0)
        return x * 3.0

    for wrapped in (f, graphad.jit(f), graphad.grad(f), graphad.jit(graphad.grad(f))):
        assert printed(capsys, wrapped, 1.0)[0] == ["x = 1.0", "x = 2.0"]


def test_order_across_regions(capsys):
    def f(x):
        graphad.debug.print("first {}", x)
        y = graphad.jit(lambda y: show(y, "second {}"))(x)
        graphad.debug.print("third {} {y:.1f}", x, y=y)
        return y

    for wrapped in (f, graphad.jit(f), graphad.grad(f), graphad.jit(graphad.grad(f))):
        lines, _ = printed(capsys, wrapped, 1.0)
        assert lines == ["first 1.0", "second 1.0", "third 1.0 2.0"]


def test_prints_of_the_path_that_is_taken(capsys):
    @graphad.jit
    def f(x):
        graphad.debug.print("before")
        if x > 0:
            graphad.debug.print("positive {}", x)
            return x
        graphad.debug.print("other {}", x)
        return -x

    for x, word in ((1.0, "positive"), (-1.0, "other"), (2.0, "positive"), (-2.0, "other")):
        assert printed(capsys, f, x)[0] == ["before", f"{word} {x}"]


def test_forward_mode_prints_the_primal_once(capsys):
    lines, _ = printed(capsys, lambda: graphad.jvp(show, (1.0,), (1.0,)))
    assert lines == ["x = 1.0"]
    lines, (_, linear) = printed(capsys, lambda: graphad.linearize(show, 1.0))
    assert lines == ["x = 1.0"]
    assert printed(capsys, linear, 1.0)[0] == []


def test_vjp_prints_once_and_its_pullback_never(capsys):
    lines, (_, pullback) = printed(capsys, lambda: graphad.vjp(show, 1.0))
    assert lines == ["x = 1.0"]
    assert printed(capsys, pullback, 1.0)[0] == []


def test_each_element_of_a_batch_prints(capsys):
    lines, _ = printed(capsys, graphad.vmap(show), BATCH)
    assert lines == ["x = 1.0", "x = 2.0", "x = 3.0"]
    assert printed(capsys, graphad.jit(graphad.vmap(show)), BATCH)[0] == lines


def test_a_tangent_is_printed_by_the_program_that_has_it(capsys):
    f = graphad.custom_jvp(lambda x: x * 2.0)

    @f.defjvp
    def rule(primals, tangents):
        graphad.debug.print("tangent {}", tangents[0])
        return primals[0] * 2.0, tangents[0] * 2.0

    lines, (value, tangent) = printed(capsys, lambda: graphad.jvp(f, (1.0,), (3.0,)))
    assert (float(value), float(tangent)) == (2.0, 6.0)
    assert lines == ["tangent 3.0"]
    _, linear = graphad.linearize(f, 1.0)
    lines, tangent = printed(capsys, linear, 5.0)
    assert float(tangent) == 10.0
    assert lines == ["tangent 5.0"]


def test_a_backward_rule_may_print_its_cotangent(capsys):
    f = graphad.custom_vjp(lambda x: x)

    def backward(_, ct):
        graphad.debug.print("cotangent {}", ct)
        return (ct,)

    f.defvjp(lambda x: (x, None), backward)
    for wrapped in (graphad.grad(lambda x: f(x) * 3.0), graphad.jit(graphad.grad(lambda x: f(x) * 3.0))):
        lines, slope = printed(capsys, wrapped, 1.0)
        assert lines == ["cotangent 3.0"]
        assert float(slope) == 3.0


def test_numbers_need_no_trace(capsys):
    lines, _ = printed(capsys, lambda: graphad.debug.print("{:.2f} {name} {{}}", 1.5, name=np.arange(2)))
    assert lines == ["1.50 [0 1] {}"]


def test_effectful_regions_are_kept_in_the_graph():
    graph = graphad.make_graph(lambda x: (graphad.jit(show)(x), x)[1])(1.0)
    assert count(graph, "debug_print") == 1
    graph = graphad.make_graph(lambda x: (graphad.jit(lambda y: gnp.exp(y))(x), x)[1])(1.0)
    assert graph.eqns == ()


def test_gradient_of_a_function_that_prints_is_the_gradient():
    close(graphad.grad(lambda x: show(x) * x)(f64(3.0)), 12.0)


def test_what_has_no_traced_argument_prints_when_the_program_runs(capsys):
    show_one = graphad.jit(lambda: graphad.debug.print("one"))

    @graphad.jit
    def f(x):
        show_one()
        graphad.vmap(lambda n: graphad.debug.print("n = {}", n))(gnp.arange(2))
        return x

    for x in (1.0, 2.0):
        assert printed(capsys, f, x)[0] == ["one", "n = 0", "n = 1"]
