"""Devices to run on: the CPU, the emulated GPU, and the first real one where there is one."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

import graphad

GPU = "cuda:0"
NAMES = ["cpu", "cuda:emulated", *[d.name for d in graphad.devices() if d.name == GPU]]


@pytest.fixture(params=NAMES)
def device(request):
    """The name of a device."""
    return request.param


@pytest.fixture(params=[name for name in NAMES if name != "cpu"])
def gpu(request):
    """The name of a device with memory of its own."""
    return request.param


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
