"""Work along columns takes no more memory than work along rows."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from tests.cuda.schedule.test_scans import program
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY, compare

FUNCTIONS = {
    "softmax": lambda x: nn.softmax(x, axis=0),
    "softmax in the middle": lambda x: nn.softmax(x.reshape(10, -1, 90), axis=1),
    "gradient of softmax": graphad.grad(lambda x: (nn.softmax(x, axis=0) ** 2).sum()),
    "scan of a scan": lambda x: gnp.cumsum(lax.cummax(x, axis=0), 0),
    "scan over its end": lambda x: gnp.cumsum(x, 0) / gnp.cumsum(x, 0)[-1],
}


def matrix(rows, columns):
    return np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_temporaries_are_shared_memory(name):
    device = schedule(program(FUNCTIONS[name], np.broadcast_to(np.float32(1), (1000, 900))))
    text = format_device_program(device)
    assert not [b for b in device.buffers if b.role == "temporary"], text
    assert max(b.size for k in device.kernels for b in k.shared) <= 1000, text


@pytest.mark.parametrize("limits", [LIMITS, TINY, JOINED], ids=["usual", "tiny", "joined"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_schedule_keeps_the_program(name, limits):
    for rows, columns in ((50, 90), (10, 180), (20, 90)):
        x = matrix(rows, columns)
        device = compare(program(FUNCTIONS[name], x), [x], limits, rtol=1e-4)
        assert all(b.size <= x.size for b in device.buffers)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_on_a_device(name):
    x = matrix(50, 90)
    got = np.asarray(graphad.jit(FUNCTIONS[name], device="cuda:emulated")(x))
    np.testing.assert_allclose(got, np.asarray(graphad.jit(FUNCTIONS[name])(x)), rtol=1e-4, atol=1e-5)
