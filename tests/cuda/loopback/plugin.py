"""A plugin for pytest with which the process has a driver and a GPU, ``cuda:0``: ``-p tests.cuda.loopback.plugin``.

Only for a process of its own, for what has been loaded cannot be taken back.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.ptx.assemble import Assembled
from graphad.backends.cuda.runtime.nvidia import driver
from tests.cuda.loopback import calls, cublaslt, kernels, library
from tests.cuda.loopback.machine import machine

assert calls  # which registers what is in it


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests():
    """Have a driver from here on: before any module of the tests asks which devices there are."""
    machine.reset(count=int(os.environ.get("LOOPBACK_GPUS", "1")))
    with tempfile.TemporaryDirectory() as folder:
        library.load(Path(folder))
    driver.cubin = lambda ptx, architecture: Assembled(kernels.image(ptx, architecture), architecture, (), "")
    toolkit.cublaslt = lambda: cublaslt.LIBRARY


@pytest.fixture(autouse=True)
def in_order():
    """A call that the loopback did not understand fails the test, and so does a context that is left current."""
    yield
    accidents, machine.accidents = machine.accidents, []
    assert not accidents, "\n".join(accidents)
    assert not machine.stack, "the context that was current is to be current again"
