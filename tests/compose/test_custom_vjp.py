"""Custom reverse rules in every composition."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import DifferentiationError
from tests.compose.tools import close, count, f64

BATCH = f64([0.3, -0.5, 0.9])


def wrong_product():
    """x² y with a derivative by x that is ten times too large: it shows which rule was used."""
    product = graphad.custom_vjp(lambda x, y: x * x * y)
    product.defvjp(
        lambda x, y: (product(x, y), (x, y)),
        lambda residuals, ct: (ct * 20.0 * residuals[0] * residuals[1], ct * residuals[0] * residuals[0]),
    )
    return product


def test_the_rule_is_used_and_may_call_the_function_itself():
    f = wrong_product()
    assert float(graphad.grad(lambda x: f(x, x * 0.0 + 2.0))(3.0)) == 120.0
    assert float(graphad.grad(f)(3.0, 2.0)) == 120.0
    assert [float(g) for g in graphad.grad(f, (0, 1))(3.0, 2.0)] == [120.0, 9.0]


def test_called_on_arrays_it_is_the_function():
    f = wrong_product()
    assert float(f(3.0, 2.0)) == 18.0
    assert float(graphad.jit(f)(3.0, 2.0)) == 18.0


def test_second_order_goes_through_the_backward_rule():
    f = wrong_product()
    close(graphad.grad(graphad.grad(lambda x: f(x, 2.0)))(f64(3.0)), 40.0)
    square = graphad.custom_vjp(lambda x: x * x)
    square.defvjp(lambda x: (square(x), x), lambda r, ct: (ct * square(r) * 0.0 + ct * 2.0 * r,))
    cube = lambda x: square(x) * x
    close(graphad.grad(graphad.grad(cube))(f64(2.0)), 12.0)
    close(graphad.vmap(graphad.grad(graphad.grad(graphad.grad(cube))))(f64([1.0, 2.0])), [6.0, 6.0])


def test_under_vmap_and_jit():
    f = wrong_product()
    close(graphad.vmap(graphad.grad(lambda x: f(x, 2.0)))(BATCH), BATCH * 40)
    close(graphad.jit(lambda xs: graphad.vmap(graphad.grad(lambda x: f(x, 2.0)))(xs))(BATCH), BATCH * 40)
    close(graphad.vmap(graphad.grad(lambda x: f(x, x)))(BATCH), 21 * BATCH**2)


def test_cotangents_of_shared_arguments_are_summed_over_the_batch():
    f = wrong_product()
    close(graphad.grad(lambda w: graphad.vmap(lambda x: f(x, w))(BATCH).sum())(f64(2.0)), (BATCH**2).sum())
    close(
        graphad.grad(lambda w: graphad.vmap(graphad.grad(lambda x: f(x, w)))(BATCH).sum())(f64(2.0)), 20 * BATCH.sum()
    )


def test_forward_mode_says_what_to_do():
    f = wrong_product()
    for transform in (
        lambda: graphad.jvp(lambda x: f(x, 2.0), (1.0,), (1.0,)),
        lambda: graphad.linearize(lambda x: f(x, 2.0), 1.0)[1](1.0),
        lambda: graphad.jacfwd(lambda x: f(x, 2.0))(1.0),
        lambda: graphad.jit(lambda x: graphad.jvp(lambda x: f(x, 2.0), (x,), (x,)))(1.0),
    ):
        with pytest.raises(DifferentiationError, match=r"test_custom_vjp.py:\d+.*custom_jvp"):
            transform()


def test_forward_over_reverse_differentiates_the_backward_rule():
    # The outer forward derivative meets the forward rule's own program, not the custom linear map.
    square = graphad.custom_vjp(lambda x: x * x)
    square.defvjp(lambda x: (x * x, x), lambda x, ct: (2.0 * x * ct,))
    close(graphad.jvp(graphad.grad(square), (f64(3.0),), (f64(1.0),))[1], 2.0)


def test_pytrees_and_none():
    @graphad.custom_vjp
    def f(params, x):
        return {"y": params["w"] * x, "n": params["w"].sum()}

    f.defvjp(
        lambda params, x: (f(params, x), (params, x)),
        lambda residuals, ct: ({"w": ct["y"] * residuals[1] * 100.0 + ct["n"]}, None),
    )
    loss = lambda params, x: f(params, x)["y"].sum() + 2.0 * f(params, x)["n"]
    by_params, by_x = graphad.grad(loss, (0, 1))({"w": BATCH}, f64(3.0))
    close(by_params["w"], np.full(3, 302.0))
    close(by_x, 0.0)


def test_nondifferentiable_arguments_come_first_in_the_backward_rule():
    def f(kind, x, scale):
        return scale * x if kind == "linear" else scale * x * x

    custom = graphad.custom_vjp(f, nondiff_argnums=(0, 2))
    custom.defvjp(
        lambda kind, x, scale: (f(kind, x, scale), x),
        lambda kind, scale, x, ct: (ct * scale * (1.0 if kind == "linear" else 20.0 * x),),
    )
    assert float(graphad.grad(lambda x: custom("linear", x, 3.0))(2.0)) == 3.0
    assert float(graphad.grad(lambda x: custom("square", x, 3.0))(2.0)) == 120.0
    assert float(graphad.grad(lambda x: custom(x=x, scale=3.0, kind="square"))(2.0)) == 120.0


def test_integer_arguments_and_results_have_no_cotangent():
    @graphad.custom_vjp
    def f(x, n):
        return x * n, n + 1

    f.defvjp(lambda x, n: (f(x, n), n), lambda n, cts: (cts[0] * n * 10.0, None))
    assert float(graphad.grad(lambda x: f(x, np.int32(3))[0])(2.0)) == 30.0


def test_rule_over_a_captured_value_that_is_not_differentiated():
    def f(x, w):
        g = graphad.custom_vjp(lambda x: gnp.sin(x) * w)
        g.defvjp(lambda x: (gnp.sin(x) * w, x), lambda x, ct: (ct * gnp.cos(x) * w * 10.0,))
        return g(x)

    close(graphad.vmap(lambda x, w: graphad.grad(lambda x: f(x, w))(x))(BATCH, BATCH), 10 * np.cos(BATCH) * BATCH)
    close(graphad.jit(graphad.grad(f))(f64(1.0), f64(2.0)), 20 * np.cos(1.0))
    for transform in (lambda: graphad.grad(lambda w: f(w, w))(1.0), lambda: graphad.grad(f, 1)(1.0, 2.0)):
        with pytest.raises(DifferentiationError, match="nondiff_argnums"):
            transform()


def test_captured_arrays_in_rules():
    scale = gnp.array([1.0, 2.0, 3.0])
    f = graphad.custom_vjp(lambda x: x * scale)
    f.defvjp(lambda x: (x * scale, None), lambda _, ct: (ct * scale * 10.0,))
    x = np.ones(3, np.float32)
    close(graphad.grad(lambda x: f(x).sum())(x), [10.0, 20.0, 30.0])
    close(graphad.jit(graphad.grad(lambda x: f(x).sum()))(x), [10.0, 20.0, 30.0])
    close(graphad.vmap(graphad.grad(lambda x: f(x).sum()))(np.ones((2, 3), np.float32)), [[10.0, 20.0, 30.0]] * 2)


def test_a_backward_rule_may_not_capture_what_the_function_does_not():
    def f(x, w):
        g = graphad.custom_vjp(gnp.sin)
        g.defvjp(lambda x: (gnp.sin(x), x), lambda x, ct: (ct * w,))
        return g(x)

    with pytest.raises(DifferentiationError, match=r"bwd rule .* closes over a traced value"):
        graphad.vmap(lambda x, w: graphad.grad(lambda x: f(x, w))(x))(BATCH, BATCH)


@pytest.mark.parametrize(
    "constant",
    [
        lambda: gnp.arange(3.0),
        lambda: gnp.array([3.0, -0.0, 7.0]),
        lambda: np.eye(3)[1],
        lambda: gnp.eye(3, dtype=bool)[2],
    ],
)
def test_rules_may_use_small_arrays_of_their_own(constant):
    f = graphad.custom_vjp(lambda x: x * 2.0)
    f.defvjp(lambda x: (x * 2.0, constant() + 1.0), lambda r, ct: (ct * r * constant(),))
    expected = (np.asarray(constant()) + 1.0) * np.asarray(constant())
    x = np.ones(3, np.float32)
    close(graphad.grad(lambda x: f(x).sum())(x), expected.astype(np.float32))
    close(graphad.jit(graphad.grad(lambda x: f(x).sum()))(x), expected.astype(np.float32))
    close(graphad.vmap(graphad.grad(lambda x: f(x).sum()))(np.ones((2, 3), np.float32)), [expected] * 2)


def test_an_array_of_numpy_that_function_and_rule_share():
    table = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    f = graphad.custom_vjp(lambda x: (table @ x).sum())
    f.defvjp(lambda x: ((table @ x).sum(), None), lambda _, ct: (ct * table.sum(0) * 10.0,))
    close(graphad.grad(f)(np.ones(20, np.float32)), table.sum(0) * 10, 1e-4)
    close(graphad.jit(graphad.grad(f))(np.ones(20, np.float32)), table.sum(0) * 10, 1e-4)


def test_large_arrays_of_a_rule_are_an_error_that_says_so():
    table = gnp.array(np.random.default_rng(0).normal(size=(20, 20)))
    f = graphad.custom_vjp(lambda x: x.sum())
    f.defvjp(lambda x: (x.sum(), None), lambda _, ct: ((table * ct)[0],))
    with pytest.raises(DifferentiationError, match=r"array of shape \(20, 20\).*Pass it as an argument"):
        graphad.grad(f)(np.ones(20))


def test_two_functions_of_one_name_print_apart():
    def scaled(c):
        f = graphad.custom_vjp(lambda x: x * c)
        f.defvjp(lambda x: (x * c, None), lambda _, ct: (ct * c * 2.0,))
        return f

    first, second = scaled(2.0), scaled(3.0)
    graph = graphad.make_graph(lambda x: first(x) + second(x))(1.0)
    assert "custom_vjp[rule=@lambda]" in str(graph)
    assert "custom_vjp[rule=@lambda.1]" in str(graph)
    assert float(graphad.grad(lambda x: first(x) + second(x))(1.0)) == 10.0


def test_nothing_of_the_rule_is_left_in_the_compiled_gradient():
    f = wrong_product()
    graph = graphad.jit(graphad.grad(f)).graph(3.0, 2.0)
    assert count(graph, "custom_vjp") == count(graph, "custom_lin") == 0


def test_linearized_and_pulled_back_at_two_points():
    f = wrong_product()
    _, pullback = graphad.vjp(lambda x: f(x, 2.0), f64(3.0))
    close(pullback(f64(1.0))[0], 120.0)
    close(pullback(f64(2.0))[0], 240.0)
    close(graphad.vmap(pullback)(f64([1.0, 2.0]))[0], [120.0, 240.0])
    close(graphad.jacrev(lambda x: f(x, x))(BATCH), np.diag(21 * BATCH**2))
