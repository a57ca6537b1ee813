"""`compile_grad`: the compiled gradient, and what one can see of it."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close, count

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
Y = np.sign(X[:, 0])


@graphad.compile_grad
def loss(w, x, y):
    """Logistic loss."""
    return gnp.log1p(gnp.exp(-y * (x @ w))).mean()


def by_hand(w):
    margin = Y * (X @ w)
    return ((-Y / (1 + np.exp(margin)))[:, None] * X).mean(0)


def test_gradient_value_and_both():
    w = np.array([0.5, -1.0, 0.2], np.float32)
    close(loss(w, X, Y), by_hand(w), 1e-5)
    value, gradient = loss.value_and_grad(w, X, Y)
    close(value, np.float32(np.log1p(np.exp(-Y * (X @ w))).mean()), 1e-5)
    close(gradient, by_hand(w), 1e-5)
    close(loss.fun(w, X, Y), value, 1e-5)


def test_name_and_docstring_are_kept():
    assert loss.__name__ == "loss"
    assert loss.__doc__ == "Logistic loss."
    assert repr(loss) == "<compiled gradient of loss>"


def test_options():
    @graphad.compile_grad(argnums=(0, 1), has_aux=True, with_value=True, static_argnums=2)
    def f(x, y, power):
        return (x**power * y).sum(), {"power": power}

    (value, aux), (by_x, by_y) = f(np.float32(2.0), np.float32(3.0), 3)
    assert [float(v) for v in (value, by_x, by_y)] == [24.0, 36.0, 8.0]
    assert int(aux["power"]) == 3
    (value, _), _ = f(np.float32(2.0), np.float32(3.0), 2)
    assert float(value) == 12.0


def test_branches():
    f = graphad.compile_grad(lambda x: x * x if x > 0 else -x)
    assert [float(f(x)) for x in (3.0, -3.0, 4.0)] == [6.0, -1.0, 8.0]


def test_looking_inside():
    w = np.zeros(3, np.float32)
    assert count(loss.graph(w, X, Y), "dot_general") == 1
    assert count(loss.adjoint(w, X, Y), "dot_general") == 2
    source = loss.kernel_source(w, X, Y)
    assert "def grad_loss(" in source
    assert "# transpose(jvp(test_compile_grad.py:" in source
    compile(source, "kernel", "exec")


def test_the_source_runs_alone():
    w = np.array([0.5, -1.0, 0.2], np.float32)
    scope: dict = {}
    exec(loss.kernel_source(w, X, Y), scope)
    out = np.zeros(3, np.float32)
    status = scope["grad_loss"](w, X.ravel(), Y, out)
    assert status == 0
    close(out, by_hand(w), 1e-5)


def test_fast_math_is_another_program():
    f = lambda x: ((x + 0.0) * 1.0).sum()
    exact = graphad.compile_grad(f).graph(np.ones(3, np.float32))
    fast = graphad.compile_grad(f, fast_math=True).graph(np.ones(3, np.float32))
    assert count(exact, "add") == 1
    assert count(fast, "add") == 0


def test_an_unknown_device():
    with pytest.raises(ValueError, match=r"^test_compile_grad\.py:\d+: there is no device 'tpu'; devices are 'cpu', "):
        graphad.compile_grad(lambda x: x, device="tpu")


def test_gradients_of_a_model_in_pytrees():
    params = {"w": [np.ones((3, 4), np.float32), np.ones((4,), np.float32)], "b": np.float32(0.0)}
    f = lambda p, x: (gnp.tanh(x @ p["w"][0]) @ p["w"][1] + p["b"]).sum()
    compiled, eager = graphad.compile_grad(f)(params, X), graphad.grad(f)(params, X)
    assert graphad.tree.structure(compiled) == graphad.tree.structure(eager)
    for a, b in zip(graphad.tree.leaves(compiled), graphad.tree.leaves(eager), strict=True):
        close(a, b, 1e-5)
