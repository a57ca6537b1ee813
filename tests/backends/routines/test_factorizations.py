"""The routines that call LAPACK: what they write and read, that they end, what they give, and in which form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graphad_kernels import objects
from graphad_kernels.routines import ROUTINES

from graphad.ir.types import DTYPES, i32
from tests.backends.routines.guard_zones import FILLS, Guarded, machine_code, random_call, same

ROOT = Path(__file__).parents[3]
NAMES = [name for name, row in ROUTINES.items() if row.lapack]


def run_guarded(name, dtype, count):
    """In a process of its own: a call may not end, or end the process."""
    command = [sys.executable, "-m", "tests.backends.routines.guard_zones", name, dtype, "0", str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60 + count / 10)
    except subprocess.TimeoutExpired as late:
        last = (late.stdout or b"").decode().splitlines()[-1:]
        pytest.fail(f"does not end: {last}")
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]}\n{done.stderr[-3000:]}"
    assert done.stdout.count("\n") == count, "LAPACK has printed"
    assert not done.stderr


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", NAMES)
def test_guard_zones(name, dtype):
    run_guarded(name, dtype, 300)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", NAMES)
def test_guard_zones_of_many_calls(name, dtype):
    run_guarded(name, dtype, 10_000)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", NAMES)
def test_numba_gives_the_bits_of_machine_code(name, dtype):
    row, element = ROUTINES[name], DTYPES[dtype].numpy
    rng = np.random.default_rng(7)
    native, jitted = machine_code(name, dtype), objects.jitted(name)
    types = [np.dtype(element) if t == "T" else np.dtype(i32.numpy) for t in row.buffers]
    for _ in range(100):
        call = random_call(name, element, rng)
        guarded = Guarded(types, row.extents(*call.sizes), rng)
        one, other = (guarded.run(f, call.reads, row.results, call.sizes, FILLS[0]) for f in (native, jitted))
        same(one, other, f"{call.sizes}")
