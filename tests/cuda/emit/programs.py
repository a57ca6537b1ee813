"""Device programs that several tests look at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphad.backends.cuda.program.ir import Barrier, DeviceProgram, DeviceStatement, Scan, ScanCombine
from graphad.backends.loops.ir import Carry, Gemm, Let, Load, Matrix, Operand, Position, Store
from graphad.ir.types import DType, f32
from tests.cuda.emit.harness import at, axes, buffers, kernel, lit, program, spread


def affine(rows: int, columns: int, dtype: DType, lanes: int, threads: int = 128) -> DeviceProgram:
    """``y[i,j] = x[i,j] * w[j] + b[i] + j``."""
    body = [
        Load("a", "x", at(i=columns, j=1), loc="model.py:3"),
        Load("v", "w", at(j=1)),
        Load("c", "b", at(i=1), loc="model.py:4"),
        Position("n", dtype, at(j=1)),
        Let("m", dtype, "mul", ("a", "v"), loc="transpose(other.py:5)"),
        Let("s", dtype, "add", ("m", "c")),
        Let("t", dtype, "add", ("s", "n")),
        Store("y", at(i=columns, j=1), "t"),
    ]
    return program(
        buffers("input", x=(dtype, rows * columns), w=(dtype, columns), b=(dtype, rows)),
        buffers("output", y=(dtype, rows * columns)),
        kernel(axes(i=rows, j=columns), *body, uses=["x", "w", "b", "y"], lanes=lanes, threads=threads),
    )


def softmax(rows: int, columns: int, group: int, threads: int) -> DeviceProgram:
    """Of every row, by one group each."""
    size = rows * columns
    row = at(i=columns, j=1)
    body: list[DeviceStatement] = [
        spread([Load("a", "x", row)], Carry("top", f32, "max", lit(-np.inf, f32), "a"), j=columns),
        spread(
            [
                Load("b", "x", row),
                Let("c", f32, "sub", ("b", "top")),
                Let("d", f32, "exp", ("c",)),
                Store("tmp", at(j=1), "d"),
            ],
            Carry("total", f32, "sum", lit(0.0, f32), "d"),
            j=columns,
        ),
        Barrier(),
        spread([Load("e", "tmp", at(j=1)), Let("f", f32, "div", ("e", "total")), Store("y", row, "f")], j=columns),
    ]
    shared = buffers("temporary", tmp=(f32, columns))
    return program(
        buffers("input", x=(f32, size)),
        buffers("output", y=(f32, size)),
        kernel(axes(i=rows), *body, uses=["x", "y"], shared=shared, group=group, threads=threads),
    )


def scan(
    rows: int, size: int, dtype: DType, combine: ScanCombine, start: float | int | bool, group: int, threads: int,
    reverse: bool = False,
) -> DeviceProgram:  # fmt: skip
    """Running combinations of every row: without and with each element, and the totals."""
    row = at(i=size, j=1)
    body: list[DeviceStatement] = [
        Load("a", "x", row),
        Scan("before", "upto", dtype, combine, lit(start, dtype), "a"),
        Store("e", row, "before"),
        Store("y", row, "upto"),
    ]
    return program(
        buffers("input", x=(dtype, rows * size)),
        buffers("output", e=(dtype, rows * size), y=(dtype, rows * size), t=(dtype, rows)),
        kernel(
            axes(i=rows),
            spread(body, reverse=reverse, j=size),
            Store("t", at(i=1), "before"),
            uses=["x", "e", "y", "t"],
            group=group,
            threads=threads,
        ),
    )


def chain(functions: tuple[str, ...], dtype: DType, lanes: int = 1) -> DeviceProgram:
    """Elementary functions one after the other."""
    lets = [Let(f"t{k + 1}", dtype, op, (f"t{k}",)) for k, op in enumerate(functions)]
    value: Operand = f"t{len(functions)}"
    return program(
        buffers("input", x=(dtype, 1 << 20)),
        buffers("output", y=(dtype, 1 << 20)),
        kernel(
            axes(i=1 << 20), Load("t0", "x", at(i=1)), *lets, Store("y", at(i=1), value), uses=["x", "y"], lanes=lanes
        ),
    )


def product(
    dtype: DType, size: int, *, transposed: bool = False, fused: bool = False, result: DType | None = None
) -> DeviceProgram:
    """Of two square matrices; ``fused`` with a bias, which is the first row of one, and relu."""
    a, b, c = (Matrix(name, 0, size, transposed and name == "a") for name in "abc")
    whole = size * size
    inputs = buffers("input", a=(dtype, whole), b=(dtype, whole))
    step = Gemm(dtype, size, size, size, a, b, c, result=result)
    if fused:
        step = replace(step, bias="b", relu=True)
    return program(inputs, buffers("output", c=(step.c_dtype, whole)), step)
