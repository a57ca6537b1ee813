"""The batching rule of every primitive against a loop over the batch."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from graphad.check.batching import batch_of
from graphad.check.compare import batching_mismatch
from graphad.transforms.batch import batch
from tests.primitives.cases import USUAL, each, epsilon, programs, pure, run


@pytest.mark.parametrize(**each(USUAL, pure))
def test_batch_is_a_loop(primitive, dtype):
    for graph, args in programs(primitive, dtype):
        for mask in product((False, True), repeat=len(args)):
            if any(mask):
                check(primitive, graph, args, mask, size=3)


def check(primitive, graph, args, mask, size):
    stacked = [batch_of(x, size) if b else x for x, b in zip(args, mask)]
    bounds = [primitive.tolerance * epsilon(a.dtype.numpy) if a.is_float else 0 for a in graph.out_avals]
    wrong = batching_mismatch(graph, stacked, mask, size, bounds)
    assert wrong is None, f"{wrong}\n{graph}\n{mask}"


@pytest.mark.parametrize(**each(USUAL[:1], pure))
def test_empty_batch(primitive, dtype):
    for graph, args in programs(primitive, dtype):
        if args:
            empty = [np.empty((0, *x.shape), x.dtype) for x in args]
            batched = batch(graph, [True] * len(args), 0, force=True)
            for got, a in zip(run(batched.graph, empty), graph.out_avals, strict=True):
                assert got.shape == (0, *a.shape)
