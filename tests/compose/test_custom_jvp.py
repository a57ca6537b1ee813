"""Custom forward rules in every composition."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import DifferentiationError
from tests.compose.tools import close, f64

BATCH = f64([0.3, -0.5, 0.9])


def wrong_sine():
    """sin with ten times its derivative."""
    sine = graphad.custom_jvp(gnp.sin)
    sine.defjvp(lambda primals, tangents: (sine(primals[0]), 10.0 * gnp.cos(primals[0]) * tangents[0]))
    return sine


def test_both_modes_use_the_rule():
    f = wrong_sine()
    expected = 10 * np.cos(0.3)
    close(graphad.jvp(f, (f64(0.3),), (f64(1.0),))[1], expected)
    close(graphad.grad(f)(f64(0.3)), expected)
    close(graphad.jit(graphad.grad(f))(f64(0.3)), expected)
    close(graphad.jacfwd(f)(f64(0.3)), expected)
    close(graphad.linearize(f, f64(0.3))[1](f64(2.0)), 2 * expected)


def test_orders_and_batches():
    f = wrong_sine()
    close(graphad.grad(graphad.grad(f))(f64(0.3)), -10 * np.sin(0.3))
    close(graphad.hessian(f)(f64(0.3)), -10 * np.sin(0.3))
    close(graphad.vmap(graphad.grad(f))(BATCH), 10 * np.cos(BATCH))
    close(graphad.vmap(graphad.grad(graphad.grad(f)))(BATCH), -10 * np.sin(BATCH))
    close(
        graphad.grad(lambda w: graphad.vmap(lambda x: f(x * w))(BATCH).sum())(f64(1.0)),
        (10 * np.cos(BATCH) * BATCH).sum(),
    )
    close(graphad.vmap(lambda x, y: f(x) * y, (0, None))(BATCH, f64(2.0)), 2 * np.sin(BATCH))


def test_a_zero_tangent_is_written_out_for_the_rule():
    seen = []

    @graphad.custom_jvp
    def f(x, y):
        return x * y

    @f.defjvp
    def rule(primals, tangents):
        seen.append([t.shape for t in tangents])
        (x, y), (tx, ty) = primals, tangents
        return x * y, tx * y + x * ty

    assert float(graphad.grad(f)(2.0, 3.0)) == 3.0
    assert float(graphad.grad(f, 1)(2.0, 3.0)) == 2.0
    assert seen == [[(), ()]]


def test_one_rule_per_argument():
    f = graphad.custom_jvp(lambda x, y: x * y)
    f.defjvps(lambda t, out, x, y: 10.0 * t * y, lambda t, out, x, y: 100.0 * t * x)
    assert [float(g) for g in graphad.grad(f, (0, 1))(2.0, 3.0)] == [30.0, 200.0]
    only_first = graphad.custom_jvp(lambda x, y: x * y)
    only_first.defjvps(lambda t, out, x, y: t * out, None)
    assert [float(g) for g in graphad.grad(only_first, (0, 1))(2.0, 3.0)] == [6.0, 0.0]


def test_nondifferentiable_function_as_an_argument():
    def apply(f, x):
        return f(x) * 2.0

    custom = graphad.custom_jvp(apply, nondiff_argnums=(0,))
    custom.defjvp(lambda f, primals, tangents: (apply(f, primals[0]), tangents[0] * 7.0))
    assert float(graphad.grad(lambda x: custom(gnp.sin, x))(1.0)) == 7.0


def test_pytrees_integers_and_several_results():
    @graphad.custom_jvp
    def f(p):
        return {"y": p["x"] * p["n"], "n": p["n"]}

    @f.defjvp
    def rule(primals, tangents):
        (p,), (t,) = primals, tangents
        assert t["n"].dtype == graphad.float0
        return f(p), {"y": 10.0 * t["x"] * p["n"], "n": t["n"]}

    assert float(graphad.grad(lambda x: f({"x": x, "n": np.int32(3)})["y"])(2.0)) == 30.0


def test_a_differentiated_capture_is_refused():
    def f(x, w):
        g = graphad.custom_jvp(lambda x: x * w)
        g.defjvp(lambda primals, tangents: (primals[0] * w, tangents[0] * w))
        return g(x)

    assert float(graphad.grad(f)(2.0, 3.0)) == 3.0
    with pytest.raises(DifferentiationError, match="closes over a value that is being differentiated"):
        graphad.grad(f, 1)(2.0, 3.0)


def test_a_rule_may_be_replaced():
    f = wrong_sine()
    assert float(graphad.grad(f)(0.0)) == 10.0
    f.defjvp(lambda primals, tangents: (gnp.sin(primals[0]), tangents[0] * 3.0))
    assert float(graphad.grad(f)(0.0)) == 3.0


def test_inside_jit_inside_checkpoint():
    f = wrong_sine()
    close(graphad.grad(graphad.checkpoint(graphad.jit(lambda x: f(x) * x)))(f64(0.3)), np.sin(0.3) + 3 * np.cos(0.3))


def test_a_branch_in_the_primal():
    f = graphad.custom_jvp(lambda x: x * 2.0 if x > 0 else x * 3.0)
    f.defjvp(
        lambda primals, tangents: (gnp.where(primals[0] > 0, primals[0] * 2.0, primals[0] * 3.0), 10.0 * tangents[0])
    )
    compiled = graphad.jit(graphad.value_and_grad(lambda x: f(x) * 1.0))
    for x, value in ((1.0, 2.0), (-1.0, -3.0), (2.0, 4.0)):
        assert [float(v) for v in compiled(x)] == [value, 10.0]
