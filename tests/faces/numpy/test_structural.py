"""The structural functions of `graphad.lax` and `graphad.numpy` against JAX: eagerly, under jit, grad and vmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import graphad as ga
import graphad.numpy as gnp
from tests.faces.alike import check, same

X = np.random.default_rng(3).normal(size=(5, 7)).astype(np.float32)
AT = (np.int32(2), np.int32(-3))


SLICES = {
    "slice": lambda lax, np, x, i, j: lax.dynamic_slice(x, (i, j), (2, 3)),
    "slice_known": lambda lax, np, x, i, j: lax.dynamic_slice(x, (-2, 6), (2, 3)),
    "slice_half_known": lambda lax, np, x, i, j: lax.dynamic_slice(x, (i, 1), (2, 3)),
    "slice_stacked": lambda lax, np, x, i, j: lax.dynamic_slice(x, np.stack([i, j]), (2, 3)),
    "in_dim": lambda lax, np, x, i, j: lax.dynamic_slice_in_dim(x, j, 3, axis=1),
    "index": lambda lax, np, x, i, j: lax.dynamic_index_in_dim(x, i, axis=-1, keepdims=False),
    "update": lambda lax, np, x, i, j: lax.dynamic_update_slice(x, x[:2, :2] * 2, (i, j)),
    "update_in_dim": lambda lax, np, x, i, j: lax.dynamic_update_slice_in_dim(x, x[:2] * 2, i, axis=0),
    "update_index": lambda lax, np, x, i, j: lax.dynamic_update_index_in_dim(x, x[0] * 2, i, axis=0),
}
RUNNING = {
    "cumprod": lambda lax, np, x: np.cumprod(x, axis=1),
    "cumprod_flat": lambda lax, np, x: np.cumprod(x[:2, :3]),
    "lax.cumprod": lambda lax, np, x: lax.cumprod(x, 1, reverse=True),
    "lax.cummax": lambda lax, np, x: lax.cummax(x),
    "lax.cummin": lambda lax, np, x: lax.cummin(x, 1),
    "lax.cumlogsumexp": lambda lax, np, x: lax.cumlogsumexp(x, 1),
    "cumulative_sum": lambda lax, np, x: np.cumulative_sum(x, axis=1, include_initial=True),
    "cumulative_prod": lambda lax, np, x: np.cumulative_prod(x, axis=0),
    "nancumsum": lambda lax, np, x: np.nancumsum(np.where(x > 1, np.nan, x), 1),
    "nancumprod": lambda lax, np, x: np.nancumprod(np.where(x > 1, np.nan, x), 1),
}
TIES = np.array([[2, 0, 1, 2, 0, 2, 1], [1, 1, 1, 1, 1, 1, 1]], np.int32)
ODD = np.array([[1, np.nan, -0.0, np.inf, 0.0], [-np.inf, np.nan, -1, 0.0, -0.0]], np.float32)
SORTING = {
    "sort": lambda lax, np, x: np.sort(x),
    "sort_0": lambda lax, np, x: np.sort(x, axis=0),
    "sort_flat": lambda lax, np, x: np.sort(x, axis=None),
    "sort_descending": lambda lax, np, x: np.sort(x, descending=True),
    "lax.sort": lambda lax, np, x: lax.sort(x, dimension=0),
    "lax.sort_several": lambda lax, np, x: lax.sort((np.round(x), x), dimension=1, num_keys=2)[1],
    "lax.sort_along": lambda lax, np, x: lax.sort((x, x * 2), dimension=0)[1],
    "top_k": lambda lax, np, x: lax.top_k(x, 3)[0],
    "median": lambda lax, np, x: np.median(x, axis=1),
    "median_all": lambda lax, np, x: np.median(x),
    "quantile": lambda lax, np, x: np.quantile(x, 0.3, axis=1),
    "quantiles": lambda lax, np, x: np.quantile(x, np.asarray([0.0, 0.25, 1.0]), axis=0),
    "quantile_axes": lambda lax, np, x: np.quantile(x.reshape(5, 7, 1), 0.7, axis=(0, 2), keepdims=True),
    "percentile": lambda lax, np, x: np.percentile(x, 40),
}
ORDERS = {
    "argsort": lambda lax, np, x: np.argsort(x),
    "argsort_0": lambda lax, np, x: np.argsort(x, axis=0),
    "argsort_flat": lambda lax, np, x: np.argsort(x, axis=None),
    "argsort_descending": lambda lax, np, x: np.argsort(x, descending=True),
    "lexsort": lambda lax, np, x: np.lexsort((x, x > 1)),
    "sort": lambda lax, np, x: np.sort(x),
    "top_k": lambda lax, np, x: lax.top_k(x, 4)[1],
}


@pytest.mark.parametrize("name", SLICES)
def test_blocks_at_computed_positions(name):
    check(SLICES[name], X, *AT)


@pytest.mark.parametrize("name", RUNNING)
def test_running_combinations(name):
    check(RUNNING[name], X)


@pytest.mark.parametrize("name", SORTING)
def test_sorting(name):
    check(SORTING[name], X)


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("x", [TIES, ODD, TIES.astype(np.uint8), TIES == 1], ids=["ties", "odd", "u8", "bool"])
def test_orders(name, x):
    check(ORDERS[name], x, grad=False)


@pytest.mark.parametrize("method", ["lower", "higher", "midpoint", "nearest", "linear"])
def test_quantile_methods(method):
    shares = np.linspace(0, 1, 9, dtype=np.float32)
    got = gnp.quantile(X, shares, axis=1, method=method)
    if method == "nearest":  # halfway NumPy takes the even position, JAX the lower one
        same(got, np.quantile(X, shares, axis=1, method=method))
    else:
        same(got, jnp.quantile(X, shares, axis=1, method=method))
    assert np.isnan(np.asarray(gnp.quantile(np.where(X > 2, np.nan, X), 0.5, method=method))) == (X > 2).any()


def test_blocks_of_a_batch():
    starts = np.array([0, 2, -1], np.int32)
    got = ga.vmap(lambda i: ga.lax.dynamic_slice_in_dim(gnp.asarray(X), i, 2))(starts)
    same(got, jax.vmap(lambda i: lax.dynamic_slice_in_dim(jnp.asarray(X), i, 2))(jnp.asarray(starts)))


def test_wrong_starts_say_what_to_do():
    with pytest.raises(TypeError, match="give one for each of its axes"):
        ga.lax.dynamic_slice(X, (0,), (2, 3))
    with pytest.raises(TypeError, match="a start is an integer scalar"):
        ga.lax.dynamic_slice(X, (0.5, 0), (2, 3))
    with pytest.raises(ValueError, match="Cut it"):
        ga.lax.dynamic_slice(X, (gnp.asarray(2), 0), (9, 3))


def test_methods_of_arrays():
    x = gnp.asarray(X)
    same(x.sort(), np.sort(X))
    same(x.argsort(axis=0), np.argsort(X, axis=0, kind="stable").astype(np.int32))
    same(x.cumprod(1), np.cumprod(X, 1))
