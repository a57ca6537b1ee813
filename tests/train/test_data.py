"""Batches, their order, and prefetching."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import graphad
from graphad.train import batches, prefetch, to_device
from graphad.train._data import read_scalars


def as_lists(items):
    return [b.tolist() for b in items]


def test_batches_keep_the_order_without_a_key():
    assert as_lists(batches(np.arange(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert as_lists(batches(np.arange(7), 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert as_lists(batches(np.arange(7))) == [list(range(7))]


def test_every_epoch_holds_each_example_once_in_an_order_of_its_own():
    orders = [np.concatenate(list(batches(np.arange(101), 10, key=3, epoch=e))) for e in range(4)]
    for order in orders:
        assert sorted(order) == list(range(101))
    assert len({order.tobytes() for order in orders}) == 4
    other = np.concatenate(list(batches(np.arange(101), 10, key=4)))
    assert not np.array_equal(orders[0], other)


def test_the_order_is_fixed_for_ever():
    """A checkpoint says which batch comes next; another version must take the same."""
    assert as_lists(batches(np.arange(6), 6, key=7, epoch=2)) == [[4, 0, 1, 5, 3, 2]]
    assert as_lists(batches(np.arange(6), 6, key=graphad.random.key(7), epoch=2)) == [[4, 0, 1, 5, 3, 2]]
    assert as_lists(batches(np.arange(6), 6, key=graphad.random.PRNGKey(7), epoch=2)) == [[4, 0, 1, 5, 3, 2]]


@pytest.mark.parametrize("start", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("key", [None, 5])
@pytest.mark.parametrize("drop_last", [False, True])
def test_any_batch_can_be_the_first(start, key, drop_last):
    whole = as_lists(batches(np.arange(22), 5, key, 1, drop_last))
    assert as_lists(batches(np.arange(22), 5, key, 1, drop_last, start=start)) == whole[start:]


def test_containers_and_arrays_stay_together():
    data = {"x": np.arange(20).reshape(10, 2)[:, ::-1], "y": (graphad.numpy.arange(10), None)}
    for batch in batches(data, 4, key=0):
        assert set(batch) == {"x", "y"}
        assert batch["y"][1] is None
        np.testing.assert_array_equal(batch["x"][:, 1], 2 * batch["y"][0])
        assert type(batch["x"]) is type(batch["y"][0]) is np.ndarray


def test_wrong_data():
    with pytest.raises(ValueError, match=r"test_data\.py:\d+: batches: data\[0\] has 4 examples .* data\[1\] has 3"):
        batches((np.ones((4, 2)), np.ones(3)), 2)
    with pytest.raises(ValueError, match="hold no arrays"):
        batches({}, 2)
    with pytest.raises(ValueError, match="there are no examples"):
        batches(np.ones((0, 3)), 2)
    with pytest.raises(ValueError, match="batch_size=5, but there are 4 examples"):
        batches(np.ones(4), 5)
    with pytest.raises(ValueError, match="at least one example"):
        batches(np.ones(4), 0)
    with pytest.raises(ValueError, match=r"data\['n'\] is a single number"):
        batches({"a": np.ones(3), "n": 2.0}, 1)
    with pytest.raises(TypeError, match="a key is an integer seed"):
        batches(np.ones(3), 1, key=np.ones(3))


def test_prefetching_changes_nothing():
    data = (np.arange(50.0), np.arange(50))
    for size in (1, 3, 100):
        found = list(prefetch(batches(data, 7, key=1), size=size))
        for (a, b), (x, y) in zip(found, batches(data, 7, key=1), strict=True):
            np.testing.assert_array_equal(a, x)
            np.testing.assert_array_equal(b, y)


def test_prefetching_works_ahead_but_not_far():
    made = []
    seen = threading.Event()

    def source():
        for k in range(100):
            made.append(k)
            if k == 3:
                seen.set()
            yield np.full(1, k)

    items = prefetch(source(), size=2)
    next(items)
    assert seen.wait(10)  # one taken, two that wait, one in the hand of the thread
    assert len(made) == 4
    items.close()
    assert not [t for t in threading.enumerate() if t.name == "graphad-prefetch"]


def test_errors_of_the_source_come_through():
    def source():
        yield np.ones(1)
        raise OSError("the disk is gone")

    items = prefetch(source())
    next(items)
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)
    with pytest.raises(ValueError, match="size=0"):
        prefetch([], size=0)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
@pytest.mark.parametrize("kind", [np.asarray, graphad.numpy.asarray])
def test_numbers_are_read_in_order(n, kind):
    assert read_scalars([kind(np.float32(k)) for k in range(n)]) == list(range(n))


def test_the_cpu_reads_arrays_where_they_are():
    x = np.ones(3)
    assert to_device({"x": x}, "cpu")["x"] is x
    with pytest.raises(ValueError, match="tpu"):
        to_device(x, "tpu")
