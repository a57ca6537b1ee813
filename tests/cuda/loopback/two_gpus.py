"""Two GPUs side by side."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_each_computes():
    f = graphad.jit(lambda x: gnp.sum(x * x, 1))
    assert [d.name for d in graphad.devices() if not d.is_emulated] == ["cpu", "cuda:0", "cuda:1"]
    for name in ("cuda:1", "cuda:0", "cuda:1"):
        x = graphad.device_put(X, name)
        for _ in range(3):
            y = f(x)
        assert y.device.name == name
        np.testing.assert_allclose(np.asarray(y), (X * X).sum(1), rtol=1e-6)


def test_an_array_goes_from_one_to_the_other():
    there = graphad.device_put(graphad.device_put(X, "cuda:0"), "cuda:1")
    assert there.device.name == "cuda:1"
    np.testing.assert_array_equal(np.asarray(there), X)


def test_operands_are_not_mixed():
    with pytest.raises(TypeError, match=r"runs on cuda:0, .* but operand 1 is on cuda:1"):
        graphad.device_put(X, "cuda:0") + graphad.device_put(X, "cuda:1")


def test_an_address_tells_its_gpu():
    from graphad.backends.cuda.runtime.pointers import device_of

    for name in ("cuda:0", "cuda:1"):
        assert device_of(graphad.device_put(X, name).memory.address).name == name
    with pytest.raises(ValueError, match="not in the memory of a GPU"):
        device_of(X.ctypes.data)
