"""`lax.sort` of several operands against JAX: nan, signed zeros, ties, and the derivative through every operand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import graphad as ga
import graphad.numpy as gnp

RNG = np.random.default_rng(0)
SPECIAL = np.array([1, np.nan, -0.0, np.inf, 0.0, -np.inf, -np.nan, -0.0, -1, 0.0, np.nan, 1], np.float32)
PLACE = np.arange(12, dtype=np.int32)


def identical(got, expected):
    """Alike in dtype and value, the signs of zeros included."""
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == e.dtype
        g, e = np.asarray(g), np.asarray(e)
        np.testing.assert_array_equal(g, e)
        numbers = ~np.isnan(g.astype(np.float64))
        np.testing.assert_array_equal(np.signbit(g[numbers]), np.signbit(e[numbers]))


@pytest.mark.parametrize("num_keys", [1, 2, 3])
@pytest.mark.parametrize("is_stable", [True, False])
def test_orders(num_keys, is_stable):
    compiled = ga.jit(lambda *xs: ga.lax.sort(xs, num_keys=num_keys, is_stable=is_stable))
    for _ in range(3):
        few = RNG.integers(0, 3, 12).astype(np.int32)
        operands = (few, RNG.permutation(SPECIAL), RNG.permutation(SPECIAL), PLACE)
        for listed in (operands, (*operands[1::-1], *operands[2:])):
            expected = lax.sort(listed, num_keys=num_keys)
            identical(ga.lax.sort(listed, num_keys=num_keys, is_stable=is_stable), expected)
            identical(compiled(*listed), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "uint8", "bool"])
def test_dtypes(dtype):
    x = np.where(np.isfinite(SPECIAL), SPECIAL, 7).astype(dtype) if dtype[0] in "iub" else SPECIAL.astype(dtype)
    order = np.argsort(x, kind="stable")
    identical(ga.lax.sort((x, PLACE)), (x[order], PLACE[order]))
    identical(ga.jit(ga.lax.sort)(x[None])[None], x[order][None, None])


@pytest.mark.parametrize(("dimension", "num_keys"), [(0, 1), (1, 2), (-1, 1), (-3, 3)])
def test_derivatives_of_every_operand(dimension, num_keys):
    xs = [RNG.normal(size=(3, 5, 4)).astype(np.float32) for _ in range(3)]
    xs[0] = np.round(xs[0])  # ties, which the next key parts or keeps
    weights = np.arange(60, dtype=np.float32).reshape(3, 5, 4)

    def f(library):
        return lambda *xs: sum(((k + 1) * y**3 * weights).sum() for k, y in enumerate(
            library.sort(xs, dimension=dimension, num_keys=num_keys)
        ))  # fmt: skip

    wrt = (0, 1, 2)
    for mine, theirs in (
        (ga.jit(ga.grad(f(ga.lax), wrt))(*xs), jax.grad(f(lax), wrt)(*xs)),
        (ga.jvp(f(ga.lax), xs, xs[::-1]), jax.jvp(f(lax), tuple(xs), tuple(xs[::-1]))),
        (
            ga.grad(lambda x: (ga.grad(f(ga.lax))(x, *xs[1:]) ** 2).sum())(xs[0])[None],
            jax.grad(lambda x: (jax.grad(f(lax))(x, *xs[1:]) ** 2).sum())(xs[0])[None],
        ),
    ):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4)


def test_tangents_follow_ties_and_nan():
    x = np.array([1, np.nan, 0.0, -0.0, 2, 1, 1, np.nan, 3, -0.0, 0, 5], np.float32)
    tangent = PLACE.astype(np.float32)
    got = ga.jvp(lambda v: ga.lax.sort((v,))[0], (x,), (tangent,))[1]
    np.testing.assert_array_equal(got, jax.jvp(lambda v: lax.sort((v,))[0], (x,), (tangent,))[1])


def test_batches():
    a, b = RNG.normal(size=(2, 3, 5)).astype(np.float32)
    got = ga.vmap(lambda x, y: ga.lax.sort((x, y)))(a, b)
    identical(got, jax.vmap(lambda x, y: lax.sort((x, y)))(jnp.asarray(a), jnp.asarray(b)))
    shared = ga.vmap(lambda x, y: ga.lax.sort((x, y)), (0, None))(a, b[0])
    identical(shared, jax.vmap(lambda x, y: lax.sort((x, y)), (0, None))(jnp.asarray(a), jnp.asarray(b[0])))


def test_wrong_operands_say_what_to_do():
    with pytest.raises(TypeError, match=r"f32\[3\] and f32\[2\]; shapes must be equal"):
        ga.lax.sort((gnp.zeros(3), gnp.zeros(2)))
    with pytest.raises(ValueError, match="num_keys=3 for 2 operands"):
        ga.lax.sort((gnp.zeros(3), gnp.zeros(3)), num_keys=3)
    with pytest.raises(ValueError, match="axis 1 for an array of 1 axes"):
        ga.lax.sort(gnp.zeros(3), dimension=1)
