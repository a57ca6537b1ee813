"""Random nestings of branches, loops, `jit`, `checkpoint`, `grad`, `vmap` and rules: compiled = run as Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close, f64


@graphad.custom_jvp
def steep(x):
    return gnp.sin(x) if x > 0 else x * 0.5


@steep.defjvp
def steep_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    return gnp.where(x > 0, gnp.sin(x), x * 0.5), 3.0 * t * gnp.cos(x)


STEPS = [
    steep,
    gnp.sin,
    gnp.tanh,
    lambda x: x * 1.5,
    lambda x: x - 0.75,
    lambda x: x * x * 0.5,
    lambda x: gnp.exp(-x * x),
]
POINTS = [f64(x) for x in (-1.3, -0.2, 0.4, 1.7)]


def then(f, g):
    return lambda x: g(f(x))


def branch(threshold, f, g):
    return lambda x: f(x) if x > threshold else g(x)


def early(threshold, f):
    def function(x):
        if abs(x) > threshold:
            return x * 0.25
        return f(x) * x

    return function


def halve(f):
    def function(x):
        y, n = f(x), 0
        while abs(y) > 0.5:
            y = y * 0.5
            n += 1
        return y + n

    return function


def gradient(f):
    return lambda x: graphad.grad(f)(x) + x


def tangent(f):
    return lambda x: graphad.jvp(f, (x,), (x * 0.5,))[1] - x


def pullback(f):
    return lambda x: graphad.vjp(f, x)[1](x)[0] * 0.5


def closure(f):
    return lambda x: graphad.grad(lambda y: f(y * x) * y)(x * 0.5)


def over_a_batch(f):
    return lambda x: graphad.vmap(lambda s: s * f(x))(f64([1.0, -0.5])).sum()


def compiled_closure(f):
    return lambda x: graphad.jit(lambda y: f(y) * x)(x + 0.1)


WRAPPERS = [
    graphad.jit,
    graphad.checkpoint,
    gradient,
    tangent,
    pullback,
    closure,
    over_a_batch,
    compiled_closure,
    halve,
]
thresholds = st.floats(-1.0, 1.0).map(lambda x: round(x, 2) + 0.0137)
functions = st.recursive(
    st.sampled_from(STEPS),
    lambda inner: st.one_of(
        st.builds(then, inner, inner),
        st.builds(branch, thresholds, inner, inner),
        st.builds(early, thresholds.map(abs), inner),
        st.builds(lambda wrap, f: wrap(f), st.sampled_from(WRAPPERS), inner),
    ),
    max_leaves=7,
)


def outcomes(f):
    return [np.asarray(f(x)) for x in POINTS]


@settings(max_examples=75)
@given(functions)
def test_compiled_is_python(f):
    with graphad.config.override(disable_jit=True):
        values, slopes = outcomes(f), outcomes(graphad.grad(f))
    with graphad.config.override(max_paths=500, warn_paths=500):
        for got, expected in (
            (f, values),
            (graphad.jit(f), values),
            (graphad.grad(f), slopes),
            (graphad.jit(graphad.grad(f)), slopes),
        ):
            for x, y in zip(outcomes(got), expected, strict=True):
                close(x, y, 1e-6)
