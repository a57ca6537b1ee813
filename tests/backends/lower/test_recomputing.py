"""What is cheaper to compute again than to write and read has no buffer: differences of all pairs, for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.stages import compiled


def absolute(c: Any, x: Any) -> Any:
    return gnp.min(abs(x[:, None] - c), 1).sum()


def squared(c: Any, x: Any) -> Any:
    return gnp.min((x[:, None] - c) ** 2, 1).mean()


def greatest(c: Any, x: Any) -> Any:
    return gnp.max(x[:, None] * c, -1).sum()


@pytest.mark.parametrize("k", [10, 100])
@pytest.mark.parametrize("f", [absolute, squared, greatest], ids=lambda f: f.__name__)
def test_gradients_of_row_minima_store_no_matrix_of_pairs(f: Any, k: int) -> None:
    n = 500
    rng = np.random.default_rng(k)
    x, c = (rng.integers(-40, 41, size) / 4 for size in (n, k))
    gradient = graphad.grad(f, (0, 1))
    program = compiled(graphad.jit(gradient).trace(c, x).graph).program
    assert not [b for b in program.buffers if b.size >= n * k]
    for got, expected in zip(graphad.jit(gradient)(c, x), gradient(c, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
