"""Random nestings of collectives and transformations over a named batch axis: the same as over the batch as an array.

A function is written once for ``m``: within ``vmap(axis_name=)`` its values are those of one element, and outside
arrays of all of them, of which a collective is a plain function.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad import lax

SIZE = 5
X = np.random.default_rng(1).normal(size=SIZE)
SHIFTED = [(k, (k + 2) % SIZE) for k in range(SIZE)]
CUT = [(0, 1), (3, 2), (4, 3)]


class Named:
    """One element of the batch."""

    psum = staticmethod(lambda x: lax.psum(x, "i"))
    pmean = staticmethod(lambda x: lax.pmean(x, "i"))
    pmax = staticmethod(lambda x: lax.pmax(x, "i"))
    weighted = staticmethod(lambda x: (lax.all_gather(x, "i") * gnp.arange(1.0, SIZE + 1)).sum())
    shifted = staticmethod(lambda x: lax.ppermute(x, "i", SHIFTED))
    cut = staticmethod(lambda x: lax.ppermute(x, "i", CUT))
    place = staticmethod(lambda: lax.axis_index("i"))
    total = staticmethod(lambda x: x)


class Whole:
    """The batch as an array."""

    psum = staticmethod(lambda x: gnp.full(SIZE, x.sum()))
    pmean = staticmethod(lambda x: gnp.full(SIZE, x.mean()))
    pmax = staticmethod(lambda x: gnp.full(SIZE, x.max()))
    weighted = staticmethod(lambda x: gnp.full(SIZE, (x * gnp.arange(1.0, SIZE + 1)).sum()))
    shifted = staticmethod(lambda x: gnp.roll(x, 2))
    cut = staticmethod(lambda x: gnp.stack([x[0] * 0, x[0], x[3], x[4], x[0] * 0]))
    place = staticmethod(lambda: gnp.arange(SIZE))
    total = staticmethod(lambda x: x.sum())


STEPS = [
    lambda _, x: gnp.sin(x),
    lambda m, x: m.psum(x) * 0.3 + x,
    lambda m, x: x * m.pmean(x * x),
    lambda m, x: m.pmax(x) * 0.5 - x,
    lambda m, x: gnp.tanh(m.weighted(x) * 0.2) * x,
    lambda m, x: m.shifted(x) * x,
    lambda m, x: m.cut(x) + 0.1 * x,
    lambda m, x: x * (m.place() + 1) * 0.4,
]


def then(f, g):
    return lambda m, x: g(m, f(m, x))


def compiled(f):
    return lambda m, x: graphad.jit(lambda y: f(m, y))(x)


def checkpointed(f):
    return lambda m, x: graphad.checkpoint(lambda y: f(m, y))(x)


def gradient(f):
    return lambda m, x: gnp.tanh(graphad.grad(lambda y: m.total(f(m, y)))(x)) + x


def tangent(f):
    return lambda m, x: gnp.tanh(graphad.jvp(lambda y: f(m, y), (x,), (x * 0.5,))[1]) - x


def closure(f):
    return lambda m, x: graphad.jit(lambda y: f(m, y * x) * y)(x * 0.5)


def with_rule(f):
    """With a rule of its own, which is over the axis too."""

    def function(m, x):
        @graphad.custom_vjp
        def g(y):
            return f(m, y)

        g.defvjp(lambda y: (g(y), y), lambda y, ct: (m.psum(ct) * 0.2 + gnp.cos(y) * ct,))
        return g(x)

    return function


FUNCTIONS = st.recursive(
    st.sampled_from(STEPS),
    lambda inner: st.one_of(
        st.builds(then, inner, inner),
        *[st.builds(wrap, inner) for wrap in (compiled, checkpointed, gradient, tangent, closure)],
    ),
    max_leaves=5,
)


def check(f):
    each = graphad.vmap(lambda x: f(Named, x), axis_name="i")
    compare(each, lambda x: f(Whole, x))


def compare(each, whole):
    np.testing.assert_allclose(each(X), whole(X), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(graphad.jit(each)(X), whole(X), rtol=1e-9, atol=1e-9)
    scalar = [lambda x, g=g: (gnp.sin(g(x)) * gnp.arange(SIZE)).sum() for g in (each, whole)]
    found, expected = [graphad.grad(g)(X) for g in scalar]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(graphad.jit(graphad.grad(scalar[0]))(X), expected, rtol=1e-8, atol=1e-8)


@settings(deadline=None, max_examples=40)
@given(FUNCTIONS)
def test_named_is_the_whole(f):
    check(f)


@pytest.mark.parametrize("wrap", [compiled, checkpointed, gradient, tangent, closure, with_rule])
@pytest.mark.parametrize("k", range(len(STEPS)))
def test_each_step_within_each_transformation(k, wrap):
    check(then(wrap(STEPS[k]), STEPS[1]))


@settings(deadline=None, max_examples=20)
@given(FUNCTIONS)
def test_under_another_batch_axis(f):
    rows = np.stack([X, X[::-1], X * 0.3])
    named = graphad.vmap(graphad.vmap(lambda x: f(Named, x), axis_name="i"), axis_name="j")
    inside_out = graphad.vmap(graphad.vmap(lambda x: f(Named, x)), in_axes=1, out_axes=1, axis_name="i")
    expected = np.stack([np.asarray(f(Whole, x)) for x in rows])
    np.testing.assert_allclose(named(rows), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inside_out(rows), expected, rtol=1e-9, atol=1e-9)
