"""Device programs are verified where `config.verify` asks for it, whoever has them made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphad
from graphad.backends.cuda.schedule import schedule as scheduling
from graphad.config import config
from graphad.errors import VerifyError


@pytest.fixture
def wrong_schedule(monkeypatch):
    """Every kernel is given a thread that fits into no warp."""
    run = scheduling._Scheduler.run

    def spoilt(self):
        return [replace(kernel, threads=kernel.threads + 1) for kernel in run(self)]

    monkeypatch.setattr(scheduling._Scheduler, "run", spoilt)


def compiled_for_a_device():
    graphad.jit(lambda x: x * 2.5 - 1.25, device="cuda:emulated")(np.ones(5, np.float32))


def looked_at():
    graphad.jit(lambda x: x * 2.5 - 1.25).explain(np.ones(5, np.float32), device="cuda", architecture="sm_80")


@pytest.mark.parametrize("use", [compiled_for_a_device, looked_at])
@pytest.mark.parametrize("level", [2, 3])
def test_a_wrong_program_is_refused(wrong_schedule, use, level):
    with config.override(verify=level), pytest.raises(VerifyError, match="threads are no block"):
        use()


def test_below_that_level_it_is_not_looked_for(wrong_schedule, monkeypatch):
    """As with the loops it is made from: users pay nothing for it."""
    monkeypatch.setattr(scheduling, "check_device_program", lambda program: pytest.fail("it was called"))
    with config.override(verify=1):
        looked_at()
