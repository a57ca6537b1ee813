"""Devices to run on: the CPU, the emulated GPU, the first real one where there is one, and one of the tests' own."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

import graphad
from graphad.backends import targets
from tests.backends import interpreted_target

GPU = "cuda:0"
NAMES = ["cpu", "cuda:emulated", *[d.name for d in graphad.devices() if d.name == GPU]]
THIRD = pytest.param(interpreted_target.KIND, marks=pytest.mark.slow)


@pytest.fixture(params=[*NAMES, THIRD])
def device(request):
    """The name of a device."""
    with there(request.param):
        yield request.param


@pytest.fixture(params=[*[name for name in NAMES if name != "cpu"], THIRD])
def gpu(request):
    """The name of a device with memory of its own."""
    with there(request.param):
        yield request.param


@contextmanager
def there(name):
    """While a test runs on it, there is a device of this name."""
    if name != interpreted_target.KIND:
        yield
        return
    targets.register(name, interpreted_target.Target)
    try:
        yield
    finally:
        targets.unregister(name)


@pytest.fixture
def no_download(gpu, monkeypatch):
    """A context in which nothing may come from the device to the CPU."""

    @contextmanager
    def forbidden():
        def download(memory, target):
            raise AssertionError("a silent download")

        with monkeypatch.context() as patch:
            patch.setattr(type(graphad.device_put(np.float32(0), gpu).memory), "download", download)
            yield

    return forbidden
