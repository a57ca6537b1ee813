"""Every primitive's program, scheduled under unusual limits and written back as loops, against the program itself."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.schedule.limits import Limits
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.lower.fuse import lower
from graphad.ir.types import b1, f32, i32, u32
from graphad.primitives.callbacks import pure_callback
from tests.backends.loop_harness import run_llvm, same
from tests.cuda.programs import EMULATED_TRAITS
from tests.cuda.test_primitives import FAST, on_gpus
from tests.primitives.cases import case_id, cases
from tests.primitives.test_engines import all_samples

#: Limits under which the smallest programs are spread, cut and scanned.
TINY = Limits(
    spread=2, plenty=8, warp=4, block=8, enough=1 << 30, long=2, chunks=3, chunk=2, shared=64, rows=1, small=0
)
#: Everything that can be one kernel is.
JOINED = Limits(spread=2, rows=1, small=1 << 20)


def compare(program, args, limits, rtol=1e-5, for_device=None):
    """The schedule of ``program``, or of the same ``for_device``, computes what ``program`` does."""
    device = schedule(for_device or program, limits=limits)
    again = as_loops(device)
    check_device_program(device)
    flat = [np.ascontiguousarray(a).reshape(-1) for a in args]
    status, want = run_llvm(program, flat)
    got_status, got = run_llvm(again, flat)
    assert got_status == status
    for a, b in zip(got, want, strict=True):
        same(a, b, rtol)
    return device


def check(primitive, dtype, limits):
    graph, args, _ = all_samples(primitive, dtype)
    compare(lower(graph).program, args, limits, for_device=lower(graph, traits=EMULATED_TRAITS).program)


#: Programs with callbacks run with the host around them.
WITHOUT_HOST = [(p, d) for p, d in FAST if p is not pure_callback]


@pytest.mark.parametrize(("primitive", "dtype"), WITHOUT_HOST, ids=case_id)
def test_schedule_keeps_the_program(primitive, dtype):
    check(primitive, dtype, TINY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("primitive", "dtype", "limits"),
    [
        pytest.param(p, d, limits, id=f"{p.name}-{d.name}-{name}")
        for p, d in cases((f32, i32, u32, b1), on_gpus)
        if p is not pure_callback
        for limits, name in ((TINY, "tiny"), (JOINED, "joined"))
        if (p, d) not in FAST or limits is JOINED
    ],
)
def test_schedules_keep_every_program(primitive, dtype, limits):
    check(primitive, dtype, limits)
