"""Memory grows with what goes in and comes out, not with the product of sizes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad import random as gr

N = 4096  # a byte for each pair of elements is 16 MB
MODEST = 6_000_000

_rng = np.random.default_rng(0)
_floats = gnp.array((_rng.permutation(N) / N).astype(np.float32))
_ints = gnp.array(_rng.permutation(N).astype(np.int32))
_sorted = gnp.sort(_floats)
#: What looks for some numbers among others, counts or orders them, or slides them along each other.
SEARCHES: dict[str, Callable[[], Any]] = {
    "isin": lambda: gnp.isin(_floats, _floats[:-1]),
    "isin of integers": lambda: gnp.isin(_ints, _ints[:-1], invert=True),
    "searchsorted": lambda: gnp.searchsorted(_sorted, _floats),
    "digitize": lambda: gnp.digitize(_floats, _sorted),
    "interp": lambda: gnp.interp(_floats, _sorted, _floats),
    "histogram": lambda: gnp.histogram(_floats, N),
    "histogram of edges": lambda: gnp.histogram(_floats, _sorted),
    "bincount": lambda: gnp.bincount(_ints, length=N),
    "quantile": lambda: gnp.quantile(_floats, _floats),
    "nanquantile": lambda: gnp.nanquantile(_floats, _floats),
    "take": lambda: gnp.take(_floats, _ints),
    "lexsort": lambda: gnp.lexsort((_floats, _ints)),
    "partition": lambda: gnp.partition(_floats, N // 2),
    "convolve": lambda: gnp.convolve(_floats, _floats),
    "correlate": lambda: gnp.correlate(_ints, _ints, "full"),
    "add at": lambda: _floats.at[_ints].add(_floats),
    "top_k": lambda: lax.top_k(_floats, N),
    "choice": lambda: gr.choice(gr.key(0), N, (N,), p=_floats),
    "choice of others": lambda: gr.choice(gr.key(0), N, (N,), replace=False, p=_floats),
    "permutation": lambda: gr.permutation(gr.key(0), _floats),
}


def peak(call: Callable[[], Any]) -> tuple[Any, int]:
    """The result of ``call``, and the most memory that it held beyond what was there."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_take_memory_for_the_sum_of_the_sizes(name: str) -> None:
    assert peak(SEARCHES[name])[1] < MODEST


@pytest.mark.parametrize("compiled", [False, True])
def test_weighted_choice_takes_memory_for_what_it_draws(compiled: bool) -> None:
    n = 200_000
    weights = gnp.array(np.random.default_rng(1).integers(0, 5, n).astype(np.float64))

    def draw(p: Any) -> Any:
        return gr.choice(gr.key(0), n, (n,), p=p / p.sum())

    drawn, most = peak(lambda: (graphad.jit(draw) if compiled else draw)(weights))
    assert most < 100 * n
    counts = np.bincount(np.asarray(drawn), minlength=n)
    assert counts.size == n
    assert not counts[np.asarray(weights) == 0].any()
    by_weight = [counts[np.asarray(weights) == w].mean() / w for w in (1, 2, 3, 4)]
    np.testing.assert_allclose(by_weight, 1 / np.asarray(weights).mean(), rtol=0.03)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("size", [0, 1, 8, 9, 300])
def test_isin_is_numpys(size: int, dtype: str, compiled: bool) -> None:
    rng = np.random.default_rng(size)
    x, tested = rng.integers(0, 40, (7, 9)), rng.integers(0, 600, size) // 2
    if dtype.startswith("float"):
        x, tested = x / 2 - 5, np.append(tested / 2 - 5, [np.nan, -0.0])
        x[0, :3] = 0.0, -0.0, np.nan
    x, tested = x.astype(dtype), tested.astype(dtype)
    isin = graphad.jit(gnp.isin, static_argnames="invert") if compiled else gnp.isin
    for invert in (False, True):
        np.testing.assert_array_equal(isin(x, tested, invert=invert), np.isin(x, tested, invert=invert))


def test_isin_of_a_large_set() -> None:
    n = 200_000
    x = np.arange(n)
    found, most = peak(lambda: gnp.isin(x, x[::-3] + 1))
    assert most < 200 * n
    np.testing.assert_array_equal(found, np.isin(x, x[::-3] + 1))
