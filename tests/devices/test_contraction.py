"""Products are fused with what is added to them: alike everywhere, and what asks about a value does not notice."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp

PREDICATES = {
    "isfinite": np.isfinite,
    "isinf": np.isinf,
    "isnan": np.isnan,
    "signbit": np.signbit,
    "sign": np.sign,
    "nan_to_num": np.nan_to_num,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PREDICATES)
def test_what_is_asked_of_a_product(name, dtype, device, rng):
    """A product that is rounded differs from the exact one, which a fused operation would see."""
    a, b = rng.normal(size=(2, 100)).astype(dtype)
    a[:4], b[:4] = (np.inf, -np.inf, np.nan, 0.0), (2.0, 2.0, 1.0, -1.0)
    expected = PREDICATES[name](a * b)
    found = graphad.jit(lambda a, b: getattr(gnp, name)(a * b), device=device)(a, b)
    np.testing.assert_allclose(found, expected, rtol=0 if expected.dtype == bool else 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chaos_is_the_same_everywhere(dtype, device, rng):
    """One digit rounded otherwise would be another result after forty steps."""

    def trajectory(x, r, k):
        for _ in range(40):
            x = x * (r + k * x)
        return x

    x = rng.uniform(0.2, 0.8, 70).astype(dtype)
    with graphad.config.override(engine="numba"):
        wanted = np.asarray(graphad.jit(trajectory)(x, 3.9, -3.9))
    np.testing.assert_array_equal(np.asarray(graphad.jit(trajectory, device=device)(x, 3.9, -3.9)), wanted)
    assert np.ptp(wanted) > 0.5


def test_a_recomputed_value_is_that_computed_before(device):
    """Gradients with and without what is stored, of forty chaotic steps."""

    def step(x, r, k):
        return x * (r + k * x)

    def last(step):
        def f(x, r, k):
            for _ in range(40):
                x = step(x, r, k)
            return x

        return graphad.jit(graphad.value_and_grad(f, (0, 1, 2)), device=device)

    x, r, k = np.float64(0.3), np.float64(3.9), np.float64(-3.9)
    stored, recomputed = last(step)(x, r, k), last(graphad.checkpoint(step))(x, r, k)
    for a, b in zip(graphad.tree.leaves(stored), graphad.tree.leaves(recomputed), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
