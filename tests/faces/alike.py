"""One function, written for the modules of either library: values and gradients, eagerly and compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import graphad as ga
import graphad.numpy as gnp


def same(got, expected, tolerance=2e-5):
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=tolerance, atol=tolerance)


def check(function, *args, grad=True, tolerance=2e-5, argnums=(0,)):
    """``function(module of lax, module of numpy, *args)`` alike in both libraries, and its gradients."""

    def mine(*xs):
        return function(ga.lax, gnp, *xs)

    def theirs(*xs):
        return function(lax, jnp, *xs)

    slopes_of = jax.grad(lambda *xs: (jnp.cos(theirs(*xs)) ** 2).sum(), argnums) if grad else lambda *xs: ()
    expected, slopes = jax.jit(lambda *xs: (theirs(*xs), slopes_of(*xs)))(*map(jnp.asarray, args))
    same(mine(*map(gnp.asarray, args)), expected, tolerance)
    same(ga.jit(mine)(*args), expected, tolerance)
    if grad:
        got = ga.jit(ga.grad(lambda *xs: (gnp.cos(mine(*xs)) ** 2).sum(), argnums))(*args)
        for g, e in zip(got, slopes, strict=True):
            same(g, e, tolerance)
