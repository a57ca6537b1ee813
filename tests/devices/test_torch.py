"""Arrays to PyTorch and back, on the CPU: memory is shared where nobody can write to it, and copied where somebody can.

What a GPU adds (streams, and memory that both have) is in `test_dlpack`.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp

torch = pytest.importorskip("torch")

DTYPES = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint32", "float16", "bfloat16", "float32", "float64"]


def pointer(x):
    return np.asarray(x).ctypes.data


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 4), (7,), (3, 5)])
@pytest.mark.filterwarnings("ignore:.*not writable")
def test_there_and_back(dtype, shape):
    x = gnp.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 3).astype(dtype)
    there = torch.from_dlpack(x)
    assert there.dtype == getattr(torch, dtype)
    assert there.tolist() == x.tolist()
    back, shared = gnp.from_dlpack(there), gnp.from_dlpack(there, copy=False)
    assert back.dtype == shared.dtype == x.dtype
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(shared, x)
    if x.size:
        assert there.data_ptr() == pointer(x) == pointer(shared)
        assert pointer(back) != pointer(x)  # to us it is memory that PyTorch may write to


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_pytorch_writes_later(dtype):
    source = torch.arange(4).to(dtype)
    copied, shared = gnp.from_dlpack(source), gnp.from_dlpack(source, copy=False)
    source[0] = 7
    assert (float(copied[0]), float(shared[0])) == (0, 7)
    del source
    gc.collect()
    assert shared.tolist() == [7, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.bfloat16])
def test_memory_with_gaps_is_copied(dtype):
    whole = torch.arange(60).reshape(3, 4, 5).to(dtype)
    for view in (whole.transpose(0, 2), whole[:, 1:3], whole[1, ::2, 3], whole[:1].expand(2, 4, 5), whole[..., ::3]):
        taken = gnp.from_dlpack(view)
        assert taken.tolist() == view.tolist()
        with pytest.raises(ValueError, match=r"^test_torch\.py:\d+: from_dlpack\(copy=False\): .* has gaps"):
            gnp.from_dlpack(view, copy=False)
    part = whole.reshape(-1)[1:7]
    assert pointer(gnp.from_dlpack(part, copy=False)) == part.data_ptr()


def test_copies_that_pytorch_asks_for():
    x = gnp.arange(3.0)
    assert torch.from_dlpack(x, copy=True).data_ptr() != pointer(x)
    assert torch.from_dlpack(x, copy=False).data_ptr() == pointer(x)
    assert torch.from_dlpack(x, device="cpu").data_ptr() == pointer(x)
    old = torch.utils.dlpack.from_dlpack(x.__dlpack__())  # of a version that cannot say that memory is read-only
    assert old.data_ptr() != pointer(x)
    old += 1
    assert x.tolist() == [0, 1, 2]


def test_what_pytorch_does_not_hand_over():
    for bad in (torch.ones(2, requires_grad=True), torch.nn.Parameter(torch.ones(2)), torch.eye(2).to_sparse()):
        with pytest.raises(BufferError, match="Can't export"):
            gnp.from_dlpack(bad)
    assert gnp.from_dlpack(torch.ones(2, requires_grad=True).detach()).tolist() == [1, 1]


def test_arguments_and_operands():
    x = torch.arange(6.0).reshape(2, 3)
    assert graphad.grad(lambda v: (v**2).sum())(x).tolist() == (2 * x).tolist()
    assert graphad.jit(lambda v: v.T @ v)(x.T).tolist() == (x @ x.T).tolist()
    assert (gnp.ones(3) + x).tolist() == (1 + x).tolist()
    assert graphad.device_put(x.T, "cuda:emulated").tolist() == x.T.tolist()


def test_the_emulated_device_shares_nothing():
    x = graphad.device_put(np.arange(6.0).reshape(2, 3), "cuda:emulated")
    for options in ({}, {"copy": True}, {"device": "cpu"}):
        with pytest.raises(BufferError, match=r"emulator's own.*Pass np\.asarray\(x\)"):
            torch.from_dlpack(x, **options)
    assert torch.from_dlpack(np.from_dlpack(x, device="cpu", copy=True)).tolist() == x.tolist()
