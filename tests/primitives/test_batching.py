"""The batching rule of every primitive against a loop over the lanes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from graphad.transforms.batch import batch
from tests.primitives.cases import USUAL, assert_close, each, programs, pure, run


def lanes_of(x, size):
    """``size`` arrays with the values of ``x``, each in another order."""
    return np.stack([np.roll(x.ravel(), k).reshape(x.shape) for k in range(size)])


@pytest.mark.parametrize(**each(USUAL, pure))
def test_batch_is_a_loop(primitive, dtype):
    for graph, args in programs(primitive, dtype):
        for mask in product((False, True), repeat=len(args)):
            if any(mask):
                check(primitive, graph, args, mask, size=3)


def check(primitive, graph, args, mask, size):
    stacked = [lanes_of(x, size) if b else x for x, b in zip(args, mask)]
    batched = batch(graph, mask, size, force=True)
    assert all(batched.mask)
    got = run(batched.graph, stacked)
    lanes = [run(graph, [x[k] if b else x for x, b in zip(stacked, mask)]) for k in range(size)]
    for g, *parts in zip(got, *lanes):
        assert_close(g, np.stack(parts), primitive, f"{graph}\n{mask}\n{batched.graph}")


@pytest.mark.parametrize(**each(USUAL[:1], pure))
def test_batch_of_no_lanes(primitive, dtype):
    for graph, args in programs(primitive, dtype):
        if args:
            empty = [np.empty((0, *x.shape), x.dtype) for x in args]
            batched = batch(graph, [True] * len(args), 0, force=True)
            for got, a in zip(run(batched.graph, empty), graph.out_avals, strict=True):
                assert got.shape == (0, *a.shape)
