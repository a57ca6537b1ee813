"""Forward mode, linear maps and their transposes, over and under the others."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close, count, f64, slope

V = f64([0.3, -0.5, 0.9])
W = f64([1.0, 2.0, -1.0])


def f(x):
    return gnp.sin(x) * x.sum() + gnp.exp(-x)


def test_forward_over_reverse_is_reverse_over_reverse():
    g = lambda x: (f(x) ** 2).sum()
    product = graphad.jvp(graphad.grad(g), (V,), (W,))[1]
    close(graphad.hvp(g, (V,), (W,)), product)
    close(graphad.grad(lambda x: (graphad.grad(g)(x) * W).sum())(V), product)
    close(graphad.grad(lambda x: graphad.jvp(g, (x,), (W,))[1])(V), product)
    close(graphad.hessian(g)(V) @ W, product)


def test_the_jvp_and_the_vjp_are_adjoint():
    _, tangent = graphad.jvp(f, (V,), (W,))
    _, pullback = graphad.vjp(f, V)
    ct = f64([2.0, -1.0, 0.5])
    close((np.asarray(tangent) * ct).sum(), (np.asarray(pullback(ct)[0]) * W).sum(), 1e-12)


def test_a_linear_map_is_evaluated_many_times_at_one_point():
    value, linear = graphad.linearize(f, V)
    close(value, f(V))
    for direction in np.eye(3):
        close(linear(direction), graphad.jvp(f, (V,), (direction,))[1], 1e-12)
    close(linear(V * 2), 2 * np.asarray(linear(V)), 1e-12)
    close(graphad.vmap(linear)(np.eye(3)).T, graphad.jacfwd(f)(V), 1e-12)


def test_the_linear_map_does_not_compute_the_primal_again():
    _, linear = graphad.linearize(lambda x: gnp.exp(gnp.sin(x)), V)
    graph = graphad.make_graph(linear)(W)
    assert count(graph, "exp") == count(graph, "sin") == count(graph, "cos") == 0


def test_the_transpose_of_a_linear_map_is_the_pullback():
    _, linear = graphad.linearize(f, V)
    close(graphad.linear_transpose(linear, V)(W)[0], graphad.vjp(f, V)[1](W)[0], 1e-12)


def test_transposes_of_linear_functions():
    matrix = np.arange(12.0).reshape(4, 3)
    close(graphad.linear_transpose(lambda x: matrix @ x, V)(np.ones(4))[0], matrix.sum(0))
    shape = graphad.ShapeDtypeStruct((3,), "float64")
    close(graphad.linear_transpose(lambda x: x[::-1].cumsum() * 2.0, shape)(W)[0], [-2.0, 2.0, 4.0])
    first, second = graphad.linear_transpose(lambda x, y: x * 2.0 - y, V, V)(W)
    close(first, 2 * W)
    close(second, -W)


def test_transpose_twice_is_the_map_itself():
    matrix = np.arange(12.0).reshape(4, 3)
    once = graphad.linear_transpose(lambda x: matrix @ x, V)
    twice = graphad.linear_transpose(lambda y: once(y)[0], np.ones(4))
    close(twice(V)[0], matrix @ V)


def test_a_pullback_inside_jit_and_out_of_it():
    compiled = graphad.jit(lambda x, ct: graphad.vjp(f, x)[1](ct)[0])
    close(compiled(V, W), graphad.vjp(f, V)[1](W)[0])
    close(graphad.jit(graphad.vjp(f, V)[1])(W)[0], graphad.vjp(f, V)[1](W)[0])


def test_differentiating_a_pullback():
    g = lambda x: (graphad.vjp(f, x)[1](W)[0] ** 2).sum()
    flat = lambda t: float(g(V + t * W))
    close(graphad.jvp(g, (V,), (W,))[1], slope(flat, 0.0), 1e-5)
    close((np.asarray(graphad.grad(g)(V)) * W).sum(), slope(flat, 0.0), 1e-5)


def test_zero_tangents():
    value, tangent = graphad.jvp(lambda x: gnp.ones(3), (V,), (W,))
    close(value, np.ones(3, np.float32))
    close(tangent, np.zeros(3, np.float32))
    value, tangent = graphad.jvp(lambda x: (x * 2.0, x > 0), (V,), (W,))
    close(tangent[0], W * 2)
    assert tangent[1].dtype == graphad.float0
    assert tangent[1].shape == (3,)


def test_integer_primals_take_float0():
    value, tangent = graphad.jvp(lambda x, n: x * n, (2.0, 3), (1.0, np.zeros((), graphad.float0)))
    assert (float(value), float(tangent)) == (6.0, 3.0)
    _, pullback = graphad.vjp(lambda x, n: (x * n, n + 1), 2.0, 3)
    by_x, by_n = pullback((1.0, np.zeros((), graphad.float0)))
    assert float(by_x) == 3.0
    assert by_n.dtype == graphad.float0


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_check_grads_catches_a_wrong_rule(mode):
    wrong = graphad.custom_jvp(gnp.sin) if mode == "fwd" else graphad.custom_vjp(gnp.sin)
    if mode == "fwd":
        wrong.defjvp(lambda primals, tangents: (gnp.sin(primals[0]), tangents[0]))
    else:
        wrong.defvjp(lambda x: (gnp.sin(x), x), lambda x, ct: (ct,))
    graphad.check_grads(gnp.sin, (V,), 3)
    with pytest.raises(AssertionError, match="mode of"):
        graphad.check_grads(wrong, (V,), 1, modes=(mode,))


def test_check_grads_of_a_second_derivative():
    right_once = graphad.custom_vjp(lambda x: x**3)
    right_once.defvjp(lambda x: (x**3, x), lambda x, ct: (graphad.lax.stop_gradient(3 * x**2) * ct,))
    graphad.check_grads(right_once, (V,), 1, modes=("rev",))
    with pytest.raises(AssertionError, match="reverse mode of vjp"):
        graphad.check_grads(right_once, (V,), 2, modes=("rev",))
