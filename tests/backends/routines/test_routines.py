"""Routines: in Python, in Numba and as machine code; and code from the cache, which needs no Numba."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graphad_kernels.cpu.sort import RUN
from graphad_kernels.routines import ROUTINES

from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import RoutineCall
from graphad.backends.loops.text import format_program
from graphad.errors import VerifyError
from graphad.ir.types import DTYPES, f32, i32
from tests.backends.loop_harness import agree, buffers, program

ROOT = Path(__file__).parents[3]


def sorting(dtype, rows, n, order_dtype=i32, spare=None):
    spare = 2 * n if spare is None else spare
    return program(
        buffers("input", x=(dtype, rows * n)),
        buffers("output", y=(order_dtype, rows * n)),
        buffers("temporary", keys=(dtype, spare), order=(i32, 2 * n)),
        RoutineCall("argsort", dtype, ("x",), ("y", "keys", "order"), (rows, n)),
    )


def solving(reads, result):
    call = RoutineCall("triangular_solve", f32, reads, (result,), (1, 2, 2, 1, 1, 0, 0))
    return program(buffers("input", x=(f32, 4)), buffers("output", y=(f32, 4)), call)


@pytest.mark.parametrize("n", [1, 2, RUN - 1, RUN, RUN + 1, 4 * RUN, 4 * RUN + 3, 7 * RUN])
def test_argsort_is_stable_for_every_number_of_runs(rng, n):
    x = rng.integers(0, max(n // 3, 1), 3 * n).astype(np.float32)
    x[rng.integers(0, 3 * n, n // 4)] = np.nan
    (got,) = agree(sorting(f32, 3, n), [x], numba=n == 4 * RUN)
    np.testing.assert_array_equal(got.reshape(3, n), np.argsort(x.reshape(3, n), axis=1, kind="stable"))


@pytest.mark.parametrize("name", ROUTINES["argsort"].dtypes)
def test_argsort_of_every_dtype(rng, name):
    dtype = DTYPES[name]
    low = 0 if dtype.kind == "u" else -100
    x = rng.integers(low, 100, 2 * 50).astype(dtype.numpy)
    (got,) = agree(sorting(dtype, 2, 50), [x], numba=False, natives=(64,))
    np.testing.assert_array_equal(got.reshape(2, 50), np.argsort(x.reshape(2, 50), axis=1, kind="stable"))


def test_a_long_row(rng):
    x = rng.normal(size=20_011).astype(np.float32)
    p = sorting(f32, 1, x.size)
    (got,) = agree(p, [x], numba=False, natives=(64,))
    np.testing.assert_array_equal(got, np.argsort(x, kind="stable"))
    assert "call argsort f32 (x) -> (y, keys, order) for 1, 20011" in format_program(p)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (sorting(f32, 2, 3, order_dtype=f32), "y is f32, not i32"),
        (sorting(f32, 2, 3, spare=5), "it needs 6 of 5 elements"),
        (sorting(DTYPES["bool"], 2, 3), "not for bool"),
        (solving(("x", "y"), "y"), None),
        (solving(("y", "x"), "y"), "writes what it uses"),
        (solving(("y", "y"), "y"), "writes what it uses"),
    ],
)
def test_wrong_calls_are_refused(wrong, message):
    """But those that write what they may overwrite."""
    if message is None:
        check_program(wrong)
        return
    with pytest.raises(VerifyError, match=message):
        check_program(wrong)


def test_a_cached_kernel_needs_no_numba(tmp_path):
    code = """
import sys, numpy as np, graphad as ga, graphad.numpy as gnp
print(np.asarray(ga.jit(gnp.argsort)(np.array([3.0, 1.0, 2.0], np.float32))), "numba" in sys.modules)
"""
    environment = {"GRAPHAD_CACHE": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "PATH": ""}
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        for _ in range(2)
    ]
    assert [r.stdout.strip() for r in runs] == ["[1 2 0] True", "[1 2 0] False"]
