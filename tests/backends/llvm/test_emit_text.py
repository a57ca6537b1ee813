"""What a reader sees: the text of both emitters, and names, lines and lanes in it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphad.backends.cpu.emit import emit
from graphad.backends.loops.ir import Carry, KernelProgram, Let, Load, Loop, Store
from graphad.backends.numba import source as emit_numba
from graphad.errors import LoweringError
from graphad.ir.types import DType, f32, f64, i32
from tests.backends.loop_harness import agree, at, buffers, lit, nest, program, same

rng = np.random.default_rng(7)


def whole(size: int) -> np.ndarray[Any, Any]:
    """Small whole numbers."""
    return rng.integers(-8, 9, size).astype(np.float32)


def test_the_users_lines_stand_in_both_texts() -> None:
    body = (
        Load("a", "x", at(i=1), loc="model.py:3"),
        Let("b", f32, "mul", ("a", "a"), loc="model.py:4"),
        Store("y", at(i=1), "b", loc="model.py:4"),
    )
    p = program(buffers("input", x=(f32, 4)), buffers("output", y=(f32, 4)), nest(Loop("i", 4, body, vector=True)))
    llvm = emit(p, lanes_bytes=16).text
    assert llvm.count("; model.py:3") == llvm.count("; model.py:4") == 1
    assert re.search(r"; model\.py:4\n +%b = fmul <4 x float> %a, %a\n", llvm)
    assert ";" not in emit(p, lanes_bytes=16, comments=False).text
    assert "b = a * a  # model.py:4\n" in emit_numba.source(p)


def test_names_of_values_never_hide_those_of_the_source() -> None:
    """Values, buffers and loops named like each other, like helpers, like keywords."""
    p = program(
        buffers("input", x=(f32, 3), np=(f32, 3)),
        buffers("output", maximum=(f32, 3)),
        nest(
            Loop(
                "at",
                3,
                (
                    Load("maximum", "x", at(at=1)),
                    Load("range", "np", at(at=1)),
                    Let("lambda_", f32, "maximum", ("maximum", "range")),
                    Store("maximum", at(at=1), "lambda_"),
                ),
            )
        ),
        nest(Load("maximum", "np", at()), Let("range", i32, "cast", ("maximum",)), Let("z", i32, "neg", ("range",))),
        name="x",
    )
    x, y = whole(3), whole(3)
    (got,) = agree(p, [x, y])
    same(got, np.maximum(x, y))


def test_lanes_that_differ_are_no_scalar() -> None:
    body = (Load("a", "x", at(i=1)), Store("y", at(), "a"))
    p = program(buffers("input", x=(f32, 4)), buffers("output", y=(f32, 1)), nest(Loop("i", 4, body, vector=True)))
    with pytest.raises(LoweringError, match="a differs from lane to lane"):
        emit(p, lanes_bytes=16)


def softmax_rows(rows: int, columns: int) -> KernelProgram:
    """The program that the golden source below shows: row maxima, exponentials and their sums, quotients."""
    row = at(i=columns, j=1)
    spread = Loop("j", columns, (Load("x1", "x", row),), (Carry("top", f32, "max", lit(-np.inf, f32), "x1"),), True)
    raised = Loop(
        "j",
        columns,
        (
            Load("x2", "x", row),
            Let("shifted", f32, "sub", ("x2", "top"), "model.py:8"),
            Let("e", f32, "exp", ("shifted",), "model.py:8"),
            Store("exps", at(j=1), "e"),
        ),
        (Carry("total", f32, "sum", lit(0, f32), "e"),),
        vector=True,
    )
    divided = Loop(
        "j",
        columns,
        (
            Load("e2", "exps", at(j=1)),
            Let("share", f32, "div", ("e2", "total"), "model.py:9"),
            Store("y", row, "share"),
        ),
        vector=True,
    )
    return program(
        buffers("input", x=(f32, rows * columns)),
        buffers("output", y=(f32, rows * columns)),
        buffers("temporary", exps=(f32, columns)),
        nest(Loop("i", rows, (spread, raised, divided))),
        name="softmax",
    )


SOFTMAX = """\
\"\"\"softmax: fills its outputs and returns 0, or 1 + the number of the first guard that does not hold.

All arrays are flat.
Inputs: x: f32[6]
Outputs: y: f32[6]
\"\"\"

import numpy as np
from numba import njit

from graphad_kernels.numba_math import compiled
from graphad_kernels.scalar import maximum

at = np.uintp  # positions are unsigned: array[at(i)] needs no branch for negative indices
exp_f32 = compiled("exp", "f32")


@njit(error_model="numpy", boundscheck=False, nogil=True)
def softmax(x, y):
    exps = np.empty(3, np.float32)
    for i in range(2):
        top = np.float32(-np.inf)
        for j in range(3):
            x1 = x[at(3 * i + j)]
            top = maximum(x1, top)
        total = np.float32(0.0)
        for j in range(3):
            x2 = x[at(3 * i + j)]
            shifted = x2 - top  # model.py:8
            e = exp_f32(shifted)  # model.py:8
            exps[at(j)] = e
            total = total + e
        for j in range(3):
            e2 = exps[at(j)]
            share = e2 / total  # model.py:9
            y[at(3 * i + j)] = share
    return 0
"""


def test_the_source_reads_like_this() -> None:
    assert emit_numba.source(softmax_rows(2, 3)) == SOFTMAX


def test_the_source_runs_alone(tmp_path: Path) -> None:
    (tmp_path / "softmax.py").write_text(emit_numba.source(softmax_rows(3, 200)))
    x, y = rng.normal(size=(3, 200)).astype(np.float32), np.empty((3, 200), np.float32)
    assert runpy.run_path(str(tmp_path / "softmax.py"))["softmax"](x.reshape(-1), y.reshape(-1)) == 0
    e = np.exp(x - x.max(1, keepdims=True))
    same(y, e / e.sum(1, keepdims=True), rtol=1e-5)


def test_wide_bodies_take_fewer_lanes() -> None:
    def lanes(count: int, dtype: DType, extent: int = 10_000) -> int:
        lets = [Let(f"t{k}", dtype, "add", (f"t{k - 1}" if k else "a", "a")) for k in range(count)]
        body = (Load("a", "x", at(i=1)), *lets, Store("y", at(i=1), lets[-1].name))
        p = program(
            buffers("input", x=(dtype, extent)),
            buffers("output", y=(dtype, extent)),
            nest(Loop("i", extent, body, vector=True)),
        )
        found = re.search(r"%t0 = fadd <(\d+) x", emit(p, lanes_bytes=64).text)
        assert found is not None
        return int(found[1])

    assert [lanes(n, f32) for n in (10, 400, 4000)] == [64, 32, 16]
    assert [lanes(n, f64) for n in (10, 400, 4000)] == [32, 16, 8]
    assert [lanes(10, f32, extent) for extent in (2, 3, 9, 40)] == [2, 4, 16, 64]
