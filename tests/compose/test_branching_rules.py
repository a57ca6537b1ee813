"""Python branches on the primal inside custom rules: in every composition, each way, and where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import TracerBoolError
from tests.compose.tools import close, path_count

GRID = [(a, b) for a in (-2.0, 0.5, 2.0) for b in (-1.0, 0.5, 3.0)]


def scaled_square():
    """x * x with its derivative times 1 or 100, and what the rule has seen."""

    @graphad.custom_jvp
    def f(x):
        return x * x

    @f.defjvp
    def rule(primals, tangents):
        (x,), (t,) = primals, tangents
        if x > 0:
            return f(x), 2.0 * x * t
        return f(x), 200.0 * x * t

    return f


def scale(x):
    return 1 if x > 0 else 100


def product():
    """x * y; one branch in each rule, that of `bwd` on a residual."""

    @graphad.custom_vjp
    def f(x, y):
        return x * y

    def fwd(x, y):
        return f(x, y), (x, y) if x > 0 else (x, -y)

    def bwd(residuals, ct):
        x, y = residuals
        k = 10.0 if int(y) >= 1 else 1.0
        return k * ct * y, k * ct * x

    f.defvjp(fwd, bwd)
    return f


def slopes(x, y):
    y = y if x > 0 else -y
    k = 10.0 if int(y) >= 1 else 1.0
    return k * y, k * x


TAKEN = {
    "grad": lambda f, x: graphad.grad(f)(x),
    "value_and_grad": lambda f, x: graphad.value_and_grad(f)(x)[1],
    "jvp": lambda f, x: graphad.jvp(f, (x,), (1.0,))[1],
    "linearize": lambda f, x: graphad.linearize(f, x)[1](1.0),
    "vjp": lambda f, x: graphad.vjp(f, x)[1](1.0)[0],
    "jacfwd": lambda f, x: graphad.jacfwd(f)(x),
    "jacrev": lambda f, x: graphad.jacrev(f)(x),
    "grad of jit": lambda f, x: graphad.grad(graphad.jit(f))(x),
    "grad of jit of jit": lambda f, x: graphad.grad(graphad.jit(lambda y: graphad.jit(f)(y) * 1.0))(x),
    "grad of checkpoint": lambda f, x: graphad.grad(graphad.checkpoint(f))(x),
    "jit of grad": lambda f, x: graphad.jit(graphad.grad(f))(x),
    "grad under jit of a product": lambda f, x: graphad.jit(lambda y: graphad.grad(lambda z: f(z) * 1.0)(y))(x),
    "vmap beside": lambda f, x: graphad.vmap(lambda _, y: graphad.grad(f)(y), (0, None))(gnp.ones(2), x)[1],
}


@pytest.mark.parametrize("name", TAKEN)
def test_each_way_is_taken_by_the_values_of_the_call(name):
    """Also where functions were traced before, the other way."""
    f, g = scaled_square(), product()
    for x in (2.0, -2.0, 3.0, -0.5, 2.0):
        close(TAKEN[name](f, x), 2 * x * scale(x))
    if name in {"jvp", "linearize", "jacfwd"}:  # of custom_vjp there is no forward mode
        return
    for x, y in GRID:
        close(TAKEN[name](lambda z, y=y: g(z, y), x), slopes(x, y)[0])


def test_a_compiled_function_is_reused_and_its_rule_is_not():
    f = scaled_square()
    inner = graphad.jit(lambda x: f(x) * 3.0)
    outer = graphad.jit(graphad.grad(inner))
    for x in (2.0, -2.0, 3.0, -0.5):
        close(inner(x), 3 * x * x)
        close(graphad.grad(inner)(x), 6 * x * scale(x))
        close(outer(x), 6 * x * scale(x))
    assert path_count(inner) == 1  # where nothing is differentiated, nothing is guarded
    assert path_count(outer) == 2


def test_predicates_are_guarded_outside():
    g = product()
    compiled = graphad.jit(graphad.grad(g, (0, 1)))
    for _ in range(2):
        for x, y in GRID:
            close(compiled(x, y), slopes(x, y))
    assert path_count(compiled) == len({(x > 0, int(y if x > 0 else -y)) for x, y in GRID})


def test_one_program_for_each_way():
    f = scaled_square()
    graphs = set()
    for x in (2.0, 3.0, -2.0, 4.0, -1.0):
        graphs.add(graphad.make_graph(graphad.grad(lambda y: graphad.jit(f)(y) * 1.0))(x))
    assert len(graphs) == 2


@pytest.mark.parametrize("x", [2.0, -2.0])
def test_second_derivatives(x):
    f = scaled_square()
    for second in (
        graphad.grad(graphad.grad(f)),
        graphad.hessian(f),
        graphad.jit(graphad.hessian(f)),
        graphad.grad(graphad.jit(graphad.grad(f))),
        lambda x: graphad.hvp(f, (x,), (1.0,)),
    ):
        close(second(x), 2 * scale(x))


@pytest.mark.parametrize("x", [2.0, -2.0])
def test_a_rule_that_calls_a_function_whose_rule_branches(x):
    inner = scaled_square()
    outer = graphad.custom_jvp(lambda x: x**3)
    outer.defjvp(lambda primals, tangents: (outer(primals[0]), 3.0 * inner(primals[0]) * tangents[0]))
    close(graphad.grad(outer)(x), 3 * x * x)
    close(graphad.grad(graphad.grad(outer))(x), 6 * x * scale(x))
    close(graphad.jit(graphad.grad(graphad.grad(outer)))(x), 6 * x * scale(x))


def test_what_a_rule_captures_is_known_too():
    def f(x, w):
        g = graphad.custom_jvp(lambda x: x * w)
        g.defjvp(lambda primals, tangents: (primals[0] * w, tangents[0] * (w if w > 1 else 7.0)))
        return g(x)

    for w, expected in ((0.5, 7.0), (3.0, 3.0)):
        close(graphad.grad(f)(2.0, w), expected)
        close(graphad.grad(f)(2.0, gnp.array(w)), expected)
        close(graphad.jit(graphad.grad(f))(2.0, w), expected)


def test_batched_values_are_not_known():
    f, g = scaled_square(), product()
    f_over, g_over = graphad.vmap(f), graphad.vmap(g)
    x = gnp.array([1.0, -2.0])
    for _ in range(2):  # also when it is known that the rules branch
        close(f_over(x), x * x)  # no rule is needed here
        for call in (
            lambda: graphad.vmap(graphad.grad(f))(x),
            lambda: graphad.grad(lambda x: f_over(x).sum())(x),
            lambda: graphad.jit(graphad.vmap(graphad.grad(f)))(x),
            lambda: graphad.vmap(graphad.grad(g))(x, x),
            lambda: graphad.grad(lambda x: g_over(x, x).sum())(x),
            lambda: graphad.eval_shape(graphad.grad(f), 2.0),
        ):
            with pytest.raises(TracerBoolError, match=r"^test_branching_rules\.py:\d+: Python"):
                call()
        close(graphad.grad(f)(-2.0), -400.0)


def test_tangents_and_cotangents_are_not_known():
    f = graphad.custom_jvp(lambda x: x)
    f.defjvp(lambda primals, tangents: (primals[0], tangents[0] if tangents[0] > 0 else tangents[0] * 2.0))
    g = graphad.custom_vjp(lambda x: x)
    g.defvjp(lambda x: (x, None), lambda _, ct: (ct if ct > 0 else -ct,))
    for _ in range(2):
        for h in (f, g):
            with pytest.raises(TracerBoolError, match="uses of a custom rule"):
                graphad.grad(h)(2.0)


def test_a_function_made_anew_in_each_call():
    def f(x):
        return scaled_square()(x) + scaled_square()(-x)

    close(graphad.grad(f)(2.0), 2 * 2.0 - 2 * -2.0 * 100)
    close(graphad.jit(graphad.grad(f))(2.0), 404.0)


def test_observations_before_and_behind_the_rule_stay_in_order():
    f = scaled_square()

    def g(x, y):
        before = 1.0 if y > 1 else 2.0
        value = f(x)
        return value * before * (3.0 if y > -1 else 5.0)

    compiled = graphad.jit(graphad.grad(g))
    for x in (2.0, -2.0):
        for y in (-2.0, 0.0, 2.0):
            factor = (1.0 if y > 1 else 2.0) * (3.0 if y > -1 else 5.0)
            close(compiled(x, y), 2 * x * scale(x) * factor)
    assert path_count(compiled) == 6


def test_prints_of_a_forward_rule_are_printed_once(capsys):
    f = graphad.custom_vjp(lambda x: x * x)

    def fwd(x):
        graphad.debug.print("at {}", x)
        return x * x, x

    f.defvjp(fwd, lambda x, ct: (2.0 * x * ct if x > 0 else -ct,))
    close(graphad.grad(f)(2.0), 4.0)
    assert capsys.readouterr().out == "at 2.0\n"
    close(graphad.grad(f)(np.float32(-2.0)), -1.0)
