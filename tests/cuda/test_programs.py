"""Whole programs on the device against the CPU's, under every way of dealing them out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import graphad
from graphad.backends.cuda.run import executable
from graphad.backends.cuda.schedule.schedule import schedule
from tests.cuda.devices import DEVICES
from tests.cuda.programs import programs
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY


def check(name, device, flat=graphad.tree.leaves):
    function, args = programs()[name]
    want = flat(graphad.jit(function)(*args))
    got = flat(graphad.jit(function, device=device)(*args))
    for a, b in zip(got, want, strict=True):
        assert a.device == device
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a), np.asarray(b)
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0))) if b.dtype.kind == "f" else 1.0
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=3e-5 * scale)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", programs())
def test_program_is_the_cpus(name, device):
    check(name, device)


@pytest.mark.slow
@pytest.mark.parametrize("limits", [TINY, JOINED], ids=["tiny", "joined"])
@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", programs())
def test_program_is_the_cpus_however_it_is_dealt_out(name, device, limits, monkeypatch):
    monkeypatch.setattr(executable, "schedule", partial(schedule, limits=limits))
    check(name, device)
