"""Products may be contracted with what is added to them; what asks about a value must not notice."""

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
