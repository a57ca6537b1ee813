"""Runs loop programs on every engine and holds the results against each other."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from graphad_kernels import math, scalar
from graphad_kernels.cpu import blas
from graphad_kernels.routines import ROUTINES

from graphad.backends.cpu import externals
from graphad.backends.cpu.emit import emit
from graphad.backends.llvm import native
from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import Buffer, Index, KernelProgram, LoopNest, Role, Statement
from graphad.backends.numba import source as emit_numba
from graphad.ir.types import DType, Literal, literal
from tests.backends.loading import load

Arrays = list[np.ndarray[Any, Any]]


def at(offset: int = 0, **terms: int) -> Index:
    """``at(2, i=3)`` is the index ``3*i + 2``."""
    return Index(offset, tuple(terms.items()))


def lit(value: Any, dtype: DType) -> Literal:
    return literal(value, dtype)


def buffers(role: Role, **sized: tuple[DType, int]) -> list[Buffer]:
    return [Buffer(name, dtype, size, role) for name, (dtype, size) in sized.items()]


def nest(*body: Statement) -> LoopNest:
    return LoopNest(body)


def program(*parts: Any, name: str = "example") -> KernelProgram:
    """A program from lists of buffers and steps, in any order."""
    listed = [b for part in parts if isinstance(part, list) for b in part]
    steps = tuple(part for part in parts if not isinstance(part, list))
    return KernelProgram(name, tuple(listed), steps)


def blank(p: KernelProgram) -> Arrays:
    """Outputs filled with something that no program writes."""
    made = []
    for b in p.buffers:
        if b.role == "output":
            made.append(np.frombuffer(b"\x01" * (b.size * b.dtype.bits // 8), b.dtype.numpy).copy())
    return made


def run_python(p: KernelProgram, inputs: Sequence[Any]) -> tuple[int, Arrays]:
    """The Numba source run by Python itself, element by element: independent of any compiler."""
    outputs = blank(p)
    emitter = emit_numba._Source(p)
    text = emitter.function(emitter.parameters())
    namespace: dict[str, Any] = {"np": np, "at": int, "gemm": blas.gemm, "gram": blas.gram}
    namespace |= {name: ROUTINES[name].function for name in emitter.routines}
    namespace |= {name: getattr(scalar, name) for name in emitter.expressions.helpers}
    namespace |= {name: math.FUNCTIONS[key] for name, key in emitter.expressions.math.items()}
    exec(text, namespace)
    with np.errstate(all="ignore"):
        return int(namespace[p.name](*map(emit_numba.bits_of, [*inputs, *outputs]))), outputs


def run_numba(p: KernelProgram, inputs: Sequence[Any]) -> tuple[int, Arrays]:
    outputs = blank(p)
    function = emit_numba.compile_program(p)
    return int(function(*map(emit_numba.bits_of, [*inputs, *outputs]))), outputs


def run_llvm(p: KernelProgram, inputs: Sequence[Any], native: int = 64) -> tuple[int, Arrays]:
    emitted = emit(p, lanes_bytes=native)
    loaded = _load(emitted.text, emitted.name, emitted.opt)
    outputs = blank(p)
    arena = np.empty(emitted.arena_bytes + 64, np.uint8)
    pointers = [a.ctypes.data for a in [*inputs, *outputs]]
    pointers.append(-(-arena.ctypes.data // 64) * 64)
    pointers += [externals.address(name) for name in emitted.externals]
    run = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(loaded.address)
    return int(run((ctypes.c_void_p * len(pointers))(*pointers))), outputs


@functools.cache
def _load(text: str, name: str, opt: int) -> native.Executable:
    return load(text, name, opt)


def same(got: Any, want: Any, rtol: float = 0.0) -> None:
    """Equal, nan where nan; zeros may differ in sign. Floats may differ by ``rtol``."""
    assert got.dtype == want.dtype
    floats = got.dtype.kind in "fV"
    with np.errstate(invalid="ignore"):  # signalling nans
        a, b = (x.astype(np.float64) if floats else x for x in (got, want))
    if rtol and floats:
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    else:
        np.testing.assert_array_equal(a, b)


def agree(
    p: KernelProgram, inputs: Sequence[Any] = (), *, rtol: float = 0.0, numba: bool = True, natives: Any = (16, 64)
) -> Arrays:
    """Run ``p`` everywhere; the engines must agree. Returns the outputs of Python's run."""
    check_program(p)
    status, want = run_python(p, inputs)
    runs = [run_llvm(p, inputs, native) for native in natives]
    if numba:
        runs.append(run_numba(p, inputs))
    for got_status, got in runs:
        assert got_status == status
        for a, b in zip(got, want, strict=True):
            same(a, b, rtol)
    return want
