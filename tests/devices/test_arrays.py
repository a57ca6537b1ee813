"""Arrays on a device: what they know without a download, how their value comes back, and their end."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.device import Device, parse
from graphad.errors import DeletedArrayError

SHAPES = [(), (1,), (7,), (0,), (3, 0, 2), (2, 3), (1, 5, 1)]
DTYPES = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint32", "float16", "float32", "float64", "bfloat16"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(device, shape, dtype):
    wanted = np.asarray(gnp.asarray(np.arange(np.prod(shape)).reshape(shape) % 5 - 2.0).astype(dtype))
    x = graphad.device_put(wanted, device)
    assert (x.shape, x.dtype, x.ndim, x.size) == (wanted.shape, wanted.dtype, wanted.ndim, wanted.size)
    assert (x.nbytes, x.itemsize) == (wanted.nbytes, wanted.itemsize)
    back = graphad.device_get(x)
    assert type(back) is np.ndarray
    assert back.dtype == wanted.dtype
    assert back.tobytes() == wanted.tobytes()


def test_what_is_copied_has_no_gaps(device):
    whole = np.arange(24.0).reshape(4, 6)
    for view in (whole.T, whole[::2, 1::2], whole[::-1], np.broadcast_to(np.float32(3), (2, 3)), whole.astype(">f8")):
        np.testing.assert_array_equal(graphad.device_put(view, device), view)


def test_a_later_write_is_not_seen(device):
    source = np.ones(3)
    x = graphad.device_put(source, device)
    source[:] = 5
    np.testing.assert_array_equal(x, np.ones(3))


def test_where_it_is(device):
    x = graphad.device_put(np.ones(2), device)
    assert isinstance(x, graphad.Array)
    assert x.device == parse(device)
    assert x.devices() == {x.device}
    assert gnp.ones(2).device == Device("cpu")
    np.testing.assert_array_equal(x.to_device("cpu"), [1, 1])
    assert x.to_device("cpu").device == Device("cpu")
    assert gnp.ones(2).to_device(device).device == x.device
    with pytest.raises(ValueError, match="stream=None"):
        x.to_device(device, stream=1)


def test_trees(device):
    tree = {"w": np.ones((2, 2), np.float32), "b": [1.0, None, 2]}
    put = graphad.device_put(tree, device)
    assert graphad.tree.structure(put) == graphad.tree.structure(tree)
    assert {x.device.name for x in graphad.tree.leaves(put)} == {device}
    assert put["b"][0].weak_type
    assert (put["b"][0].dtype, put["b"][2].dtype) == (np.float32, np.int32)
    got = graphad.device_get(put)
    assert all(type(x) is np.ndarray for x in graphad.tree.leaves(got))
    assert graphad.device_get({"n": 3, "x": put["w"]})["n"] == 3


def test_put_where_it_is_already(gpu):
    x = graphad.device_put(np.ones(2), gpu)
    assert graphad.device_put(x, gpu) is x
    with graphad.default_device(gpu):
        assert graphad.device_put(x) is x
        assert graphad.device_put(1.0).device.name == gpu
    assert graphad.device_put(1.0).device.name == "cpu"


def test_what_is_known_without_a_download(gpu, no_download):
    x = graphad.device_put(np.ones((2, 3), np.float32), gpu)
    with no_download():
        assert (x.shape, x.dtype, x.ndim, x.size, x.nbytes, len(x)) == ((2, 3), np.float32, 2, 6, 24, 2)
        assert (x.weak_type, x.device.name, x.is_deleted()) == (False, gpu, False)
        assert x.block_until_ready() is x
        assert graphad.block_until_ready({"x": x})["x"] is x
        assert isinstance(x, graphad.Array)
        assert copy.copy(x) is x
        assert copy.deepcopy([x])[0] is x
        with pytest.raises(AssertionError, match="a silent download"):
            np.asarray(x)


def test_one_download(gpu, no_download):
    x = graphad.device_put(np.arange(3.0), gpu)
    first = np.asarray(x)
    with no_download():
        assert np.shares_memory(np.asarray(x), first)
        assert x.tolist() == [0, 1, 2]
        assert repr(x) == f"Array([0., 1., 2.], dtype=float64, device={gpu})"
        assert str(x) == "[0. 1. 2.]"
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 5
    changed = np.array(x)
    changed[0] = 5
    assert x.tolist() == [0, 1, 2]


def test_numbers(device):
    x = graphad.device_put(np.float32(2.5), device)
    assert (float(x), int(x), bool(x), x.item(), f"{x:.3f}") == (2.5, 2, True, 2.5, "2.500")
    n = graphad.device_put(np.int32(2), device)
    assert [10, 20, 30][n] == 30
    assert complex(x) == 2.5
    with pytest.raises(ValueError, match="ambiguous"):
        bool(graphad.device_put(np.ones(2), device))
    with pytest.raises(TypeError, match="without axes"):
        len(x)


def test_numpy_functions_compute_with_numpy(device):
    x = graphad.device_put(np.arange(3.0), device)
    assert type(np.sin(x)) is np.ndarray
    np.testing.assert_array_equal(np.sin(x), np.sin(np.arange(3.0)))
    assert np.mean(x) == 1.0


def test_pickled_it_comes_back_to_the_cpu(device):
    x = graphad.device_put(2.5, device)
    y = pickle.loads(pickle.dumps([x]))[0]
    assert (float(y), y.weak_type, y.device.name) == (2.5, True, "cpu")


def test_deleted(device):
    x = graphad.device_put(np.ones(3), device)
    y = graphad.device_put(x, device)
    x.delete()
    x.delete()
    assert x.is_deleted()
    assert repr(x) == "Array(deleted)"
    for use in (lambda: x + 1, lambda: np.asarray(x), lambda: graphad.jit(gnp.sin)(x), x.block_until_ready):
        if device == "cpu" and use == x.block_until_ready:
            continue
        with pytest.raises(DeletedArrayError, match="donated"):
            use()
    if y is not x:
        np.testing.assert_array_equal(y, np.ones(3))


def test_deleted_memory_is_given_back(gpu):
    x = graphad.device_put(np.ones(1000), gpu)
    gone = []
    import weakref

    weakref.finalize(x.memory, gone.append, True)
    y = x.as_weak(True)
    x.delete()
    gc.collect()
    assert not gone
    y.delete()
    gc.collect()
    assert gone


def test_immutable(device):
    x = graphad.device_put(np.ones(3), device)
    with pytest.raises(TypeError, match=r"x\.at\[0\]\.set"):
        x[0] = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


def test_an_array_of_arrays_stays_on_the_device(gpu, no_download):
    x = graphad.device_put(np.arange(3.0), gpu)
    with no_download():
        stacked = gnp.array([x[0], [x[2], 3.0][0], 5.0])
        assert stacked.device.name == gpu
    np.testing.assert_array_equal(stacked, [0, 2, 5])
