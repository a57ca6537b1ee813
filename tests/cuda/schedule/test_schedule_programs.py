"""Whole programs dealt out, against the CPU's; and how many kernels they come to."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.ir import Atomic
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Gemm
from graphad.backends.loops.visit import walk
from tests.backends.loop_harness import run_llvm
from tests.cuda.programs import for_device, lowered, programs
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY
from tests.thinned import every


@pytest.mark.parametrize("limits", [LIMITS, TINY, JOINED], ids=["usual", "tiny", "joined"])
@pytest.mark.parametrize("name", every(2, programs()))
def test_schedule_keeps_the_program(name, limits):
    program, args = lowered(name)
    device = schedule(for_device(name)[0], limits=limits)
    again = as_loops(device)
    check_device_program(device)
    _, want = run_llvm(program, args)
    _, got = run_llvm(again, args)
    for a, b in zip(got, want, strict=True):
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0))) if b.dtype.kind == "f" else 1.0
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * scale)
    assert format_device_program(device).startswith(f"device program @{program.name}")


#: The most kernels that a program may come to, matrix products apart.
KERNELS = {
    "gelu": 1, "gelu_gradient": 1, "softmax": 1, "layer_norm": 1, "layer_norm_gradient": 1, "cross_entropy_gradient": 3,
    "mlp_gradient": 8, "sum": 2, "sort": 1, "cumulative_rows": 2, "scatter_add": 2, "take": 1, "nbody_forces": 3,
    "perceptron": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_number_of_kernels(name):
    device = schedule(for_device(name)[0])
    assert sum(not isinstance(s, Gemm) for s in device.steps) <= KERNELS[name], format_device_program(device)


@pytest.mark.parametrize("limits", [LIMITS, TINY], ids=["usual", "tiny"])
@pytest.mark.parametrize("name", ["scatter_add", "take_gradient", "embedding_gradient"])
def test_scattered_sums_in_a_fixed_order(name, limits):
    program, args = lowered(name)
    device = schedule(for_device(name)[0], limits=limits, deterministic=True)
    dtypes = {b.name: b.dtype for b in (*device.buffers, *[b for k in device.kernels for b in k.shared])}
    sums = [s for k in device.kernels for s in walk(k.body) if isinstance(s, Atomic) and s.combine == "sum"]
    rounding = [s for s in sums if dtypes[s.buffer].is_float]
    assert len(rounding) == 1, "only the last store, to which nothing else comes"
    again = as_loops(device)
    check_device_program(device)
    for a, b in zip(run_llvm(again, args)[1], run_llvm(program, args)[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
