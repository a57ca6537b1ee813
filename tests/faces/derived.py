"""Values and derivatives of one function by graphad and by JAX, in float64: alone, compiled, and of a batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import graphad
import graphad.numpy as gnp


def program(library, module, function, order):
    """Of operands and tangents: values, then by order the directional derivative, gradients, and theirs."""

    def floats(*xs):
        found = function(*xs)
        found = found if isinstance(found, (tuple, list)) else [found]
        return tuple([y for y in found if module.issubdtype(y.dtype, module.floating)])

    def scalar(*xs):
        return sum([module.sum(module.sin(y)) for y in floats(*xs)])

    def run(xs, ts):
        gradients = library.grad(scalar, tuple(range(len(xs))))
        results = [function(*xs)]
        if order:
            results += [library.jvp(floats, xs, ts)[1], gradients(*xs)]
        if order > 1:
            results += [library.jvp(gradients, xs, ts)[1]]
        return results

    return run


def alike(got, expected, tolerance):
    mine, theirs = jax.tree.leaves(jax.tree.map(np.asarray, got)), jax.tree.leaves(expected)
    assert len(mine) == len(theirs)
    for x, y in zip(mine, theirs, strict=True):
        y = np.asarray(y)
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        scale = np.abs(y).max(initial=1.0) if y.dtype.kind == "f" else 1
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale)


def nested(x):
    """Arrays of graphad's in containers, as NumPy's."""
    return [nested(y) for y in x] if isinstance(x, (tuple, list)) else np.asarray(x)


def check_like_jax(mine, theirs, *xs, order=2, tolerance=1e-9):
    """``mine(*xs)`` is as ``theirs(*xs)`` is by JAX, with derivatives; in float32 the values are."""
    rng = np.random.default_rng(11)
    xs = tuple([np.asarray(x, np.float64) for x in xs])
    other = tuple([x * 1.25 for x in xs])
    ts = tuple([rng.normal(size=x.shape) for x in xs])
    run = program(graphad, gnp, mine, order)
    with jax.enable_x64(True):
        reference = jax.jit(program(jax, jnp, theirs, order))
        expected, second = (jax.tree.map(np.asarray, reference(each, ts)) for each in (xs, other))
    alike(nested(run(xs, ts)), expected, tolerance)
    alike(nested(graphad.jit(run)(xs, ts)), expected, tolerance)
    pairs = tuple([np.stack(pair) for pair in zip(xs, other, strict=True)])
    found = graphad.vmap(run)(pairs, tuple([np.stack([t, t]) for t in ts]))
    alike(nested(found), jax.tree.map(lambda *ys: np.stack(ys), expected, second), tolerance)
    narrow = nested([mine(*[x.astype(np.float32) for x in xs])])
    single = jax.tree.map(lambda y: y.astype(np.float32) if y.dtype.kind == "f" else y, expected[:1])
    alike(narrow, single, 2e-4)
