"""Python loops under derivatives, batches and compilation: what they give, as loops again, is what `lax.scan` gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.config import config
from graphad.inspection import diff_text, explain

T = 100
RNG = np.random.default_rng(0)
PARAMETERS = RNG.uniform(0.5, 1.0, 3)
SERIES = RNG.normal(size=(T, 2))


def step(state: Any, p: Any, x: Any) -> Any:
    return gnp.tanh(p[0] * state[0] + x[0]), gnp.sin(p[1] * state[1] + state[0]) * p[2] + x[1]


def python_loop(p: Any, xs: Any) -> Any:
    state, out = (xs[0, 0], xs[0, 1]), []
    for i in range(T):
        state = step(state, p, xs[i])
        out.append(state[0] * state[1])
    return gnp.sum(gnp.stack(out)) + state[0]


def scanned(p: Any, xs: Any) -> Any:
    def turn(state: Any, x: Any) -> Any:
        state = step(state, p, x)
        return state, state[0] * state[1]

    state, out = lax.scan(turn, (xs[0, 0], xs[0, 1]), xs)
    return gnp.sum(out) + state[0]


TRANSFORMS = {
    "value": lambda f: f,
    "gradient": lambda f: graphad.grad(f, (0, 1)),
    "gradient of a gradient": lambda f: graphad.grad(lambda p, xs: gnp.sum(graphad.grad(f)(p, xs) ** 2)),
    "hessian": graphad.hessian,
    "tangent": lambda f: lambda p, xs: graphad.jvp(f, (p, xs), (p, xs))[1],
    "batch": lambda f: lambda p, xs: graphad.vmap(f, (None, 0))(p, gnp.stack([xs, -xs, 2 * xs])),
    "gradients of a batch": lambda f: lambda p, xs: graphad.vmap(graphad.grad(f), (0, None))(gnp.stack([p, 2 * p]), xs),
    "checkpoint": lambda f: graphad.grad(graphad.checkpoint(f)),
    "compiled inside": lambda f: graphad.grad(graphad.jit(f)),
}


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "eager"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_same_as_scan(name: str, compiled: bool):
    wrap = graphad.jit if compiled else lambda f: f
    args = gnp.array(PARAMETERS), gnp.array(SERIES)
    found, expected = [wrap(TRANSFORMS[name](f))(*args) for f in (python_loop, scanned)]
    for x, y in zip(graphad.tree.leaves(found), graphad.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10)


def test_the_same_as_without_loops():
    args = gnp.array(PARAMETERS), gnp.array(SERIES)
    found = graphad.jit(graphad.value_and_grad(python_loop))(*args)
    with config.override(reroll=False):
        expected = graphad.jit(graphad.value_and_grad(python_loop))(*args)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9)


def test_the_compiled_graph_is_short():
    args = gnp.array(PARAMETERS), gnp.array(SERIES)
    compiled = graphad.jit(graphad.grad(python_loop))
    assert len(compiled.graph(*args).eqns) < 300
    with config.override(reroll=False):
        assert len(compiled.graph(*args).eqns) > 1000


def test_explain_says_what_became_a_loop_and_what_did_not():
    args = gnp.array(PARAMETERS), gnp.array(SERIES)
    (note, *_) = [n for n in graphad.jit(graphad.grad(python_loop)).explain(*args).notes if "rolled" in n]
    assert "turns of" in note
    assert "test_python_loops.py:" in note

    def branching(p: Any, xs: Any) -> Any:
        s = p[0]
        for i in range(T):
            s = gnp.sin(s) * xs[i, 0]
            if s > 2:
                s = s - 1
        return s

    (note,) = graphad.jit(branching).explain(*args).notes
    assert "no loop: it has an effect" in note
    (note,) = explain(branching, args, of="simplified").notes
    assert "no loop: it has an effect" in note


def test_the_difference_shows_the_loop():
    args = [gnp.array(PARAMETERS), gnp.array(SERIES)]
    text = diff_text(python_loop, args, ("traced", "simplified"), after="reroll")
    assert "scan[length=9" in text


def test_programs_for_gpus_stay_unrolled():
    def f(x: Any) -> Any:
        for _ in range(T):
            x = gnp.sin(x) * x + 1.0
        return x

    x = gnp.arange(6.0) / 7
    with config.override(default_device="cuda:emulated"):
        assert "scan" not in [e.primitive.name for e in graphad.jit(f).graph(x).eqns]
