"""A slow interpreter of loop programs, element by element: the oracle that shares nothing with the emitters.

The iterations of vector loops are run backwards: a program that depends on their order gives another result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special
from graphad_kernels.routines import ROUTINES

from graphad.backends.loops.ir import (
    Carry,
    Copy,
    Gemm,
    GuardStep,
    HostCall,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    Operand,
    Position,
    RoutineCall,
    Statement,
    Store,
)
from graphad.backends.routines.host import flat_function
from graphad.ir.types import DType, Literal
from graphad.primitives.cast import convert
from graphad.primitives.reference import kernel

Scalar = Any


def _quo(a: Scalar, b: Scalar) -> int:
    if b == 0:
        return 0
    return abs(int(a)) // abs(int(b)) * (1 if (a < 0) == (b < 0) else -1)


def _rem(a: Scalar, b: Scalar) -> Scalar:
    if not np.issubdtype(a.dtype, np.integer):
        return np.fmod(a, b)
    return a if b == 0 else int(a) - int(b) * _quo(a, b)


def _unsigned(a: Scalar) -> int:
    return int(a) % (1 << (a.dtype.itemsize * 8))


def _shift(op: str, a: Scalar, b: Scalar) -> int:
    bits = a.dtype.itemsize * 8
    by, unsigned = _unsigned(b), _unsigned(a)
    signed = unsigned - (1 << bits) if unsigned >> (bits - 1) else unsigned
    match op:
        case "shl":
            return unsigned << by if by < bits else 0
        case "lshr":
            return unsigned >> by if by < bits else 0
        case _:
            return signed >> min(by, bits - 1)


def _fma(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    """In a wider type; of f64 correct to the last digit but one in a million."""
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    return wide(a) * wide(b) + wide(c)


_OPS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "fma": _fma, "div": np.divide, "quo": _quo, "rem": _rem,
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "maximum": np.maximum, "minimum": np.minimum,
    "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "select": lambda c, a, b: a if c else b, "copysign": np.copysign,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "cbrt": np.cbrt, "atan2": np.arctan2,
    "hypot": np.hypot, "nextafter": np.nextafter, "tanh_slope": lambda x, _: 1 / np.cosh(x) ** 2,
    "popcount": lambda a: _unsigned(a).bit_count(), "clz": lambda a: a.itemsize * 8 - _unsigned(a).bit_length(),
    "erf": scipy.special.erf, "erfc": scipy.special.erfc, "erf_inv": scipy.special.erfinv,
    "threefry2x32": kernel("threefry2x32"),
    "pow": lambda a, b: np.power(np.atleast_1d(a), np.atleast_1d(b))[0],  # of scalars NumPy takes -inf ** 0.5 for nan
    "pair0": lambda pair: pair[0], "pair1": lambda pair: pair[1],
}  # fmt: skip

_COMBINE = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "and": "and", "or": "or"}


def apply(op: str, dtype: DType, args: Sequence[Scalar]) -> Scalar:
    """One scalar operator on NumPy scalars."""
    if op == "threefry2x32":
        return _OPS[op](*args)
    if op == "cast":
        return np.asarray(convert.evaluate((np.asarray(args[0]),), (dtype,)))[()]
    if op == "bitcast":
        return np.asarray(args[0]).view(dtype.numpy)[()]
    result = _shift(op, *args) if op in ("shl", "lshr", "ashr") else _OPS[op](*args)
    if dtype.is_integer and isinstance(result, int):
        wrapped = result % (1 << dtype.bits)
        if dtype.kind == "i" and wrapped >= 1 << (dtype.bits - 1):
            wrapped -= 1 << dtype.bits
        result = wrapped
    return dtype.numpy.type(result)


class Interpreter:
    """Runs one program over flat arrays."""

    def __init__(self, program: KernelProgram, arrays: Sequence[np.ndarray[Any, Any]]) -> None:
        self.program = program
        self.buffers: dict[str, np.ndarray[Any, Any]] = {}
        given = iter(arrays)
        for b in program.buffers:
            if b.role == "temporary":
                blank = np.zeros(b.size, b.dtype.numpy)
                if b.dtype.is_float:
                    blank[...] = math.nan
                self.buffers[b.name] = blank
            else:
                array = next(given)
                assert array.shape == (b.size,), (b, array.shape)
                assert array.dtype == b.dtype.numpy, (b, array.dtype)
                self.buffers[b.name] = array
        self.names: dict[str, Scalar] = {}

    def run(self) -> int:
        """The status of the program: 0, or the ordinal of the guard that failed, plus 1."""
        with np.errstate(all="ignore"):
            for step in self.program.steps:
                match step:
                    case LoopNest(body=body):
                        self.names = {}
                        self.body(body)
                    case Copy(target=target, source=source):
                        self.buffers[target][...] = self.buffers[source]
                    case Gemm():
                        self.gemm(step)
                    case RoutineCall(routine=kernel, reads=reads, writes=writes, sizes=sizes):
                        ROUTINES[kernel].function(*[self.buffers[b] for b in (*reads, *writes)], *sizes)
                    case HostCall(slot=slot, reads=reads, writes=writes):
                        results = flat_function(slot)(*[self.buffers[b] for b in reads])
                        for b, result in zip(writes, results, strict=True):
                            self.buffers[b][...] = result
                    case GuardStep(ordinal=ordinal, buffer=buffer, expected=expected):
                        if self.buffers[buffer][0] != expected.value:
                            return ordinal + 1
        return 0

    def gemm(self, g: Gemm) -> None:
        for k in range(g.batch):
            a, b = self.matrix(g.a, g.m, g.k, k * g.a_step), self.matrix(g.b, g.k, g.n, k * g.b_step)
            c = self.matrix(g.c, g.m, g.n, k * g.c_step)
            c[...] = a @ b

    def matrix(self, m: Matrix, rows: int, columns: int, start: int) -> np.ndarray[Any, Any]:
        buffer = self.buffers[m.buffer]
        if m.transposed:
            rows, columns = columns, rows
        item = buffer.itemsize
        assert m.offset + start + (rows - 1) * m.row_stride + columns <= buffer.size
        view = np.lib.stride_tricks.as_strided(
            buffer[m.offset + start :], (rows, columns), (m.row_stride * item, item), writeable=True
        )
        return view.T if m.transposed else view

    def value(self, operand: Operand) -> Scalar:
        return operand.value if isinstance(operand, Literal) else self.names[operand]

    def at(self, buffer: str, index: Index, dynamic: str | None) -> int:
        place = index.offset + sum(stride * self.names[var] for var, stride in index.terms)
        if dynamic is not None:
            place += int(self.names[dynamic])
        assert 0 <= place < self.buffers[buffer].size, (buffer, index, place)
        return place

    def body(self, statements: Sequence[Statement]) -> None:
        for s in statements:
            match s:
                case Let(name=name, dtype=dtype, op=op, args=args):
                    self.names[name] = apply(op, dtype, [self.value(a) for a in args])
                case Position(name=name, dtype=dtype, index=index):
                    self.names[name] = dtype.numpy.type(index.offset + sum(k * self.names[v] for v, k in index.terms))
                case Load(name=name, buffer=buffer, index=index, dynamic=dynamic):
                    self.names[name] = self.buffers[buffer][self.at(buffer, index, dynamic)]
                case Store(buffer=buffer, index=index, value=value, dynamic=dynamic, mask=mask):
                    if mask is None or self.names[mask]:
                        self.buffers[buffer][self.at(buffer, index, dynamic)] = self.value(value)
                case Loop():
                    self.loop(s)

    def loop(self, loop: Loop) -> None:
        running = [self.value(c.init) for c in loop.carries]
        for i in range(loop.extent)[:: -1 if loop.reverse or loop.vector else 1]:
            self.names[loop.var] = i
            for c, value in zip(loop.carries, running, strict=True):
                self.names[c.name] = value
            self.body(loop.body)
            running = [self.following(c, old) for c, old in zip(loop.carries, running, strict=True)]
        for c, value in zip(loop.carries, running, strict=True):
            self.names[c.name] = value

    def following(self, c: Carry, running: Scalar) -> Scalar:
        values = [self.value(v) for v in c.reads]
        if c.combine == "last":
            return values[0]
        if len(values) == 2:
            return apply("fma", c.dtype, (*values, running))
        return apply(_COMBINE[c.combine], c.dtype, (running, *values))


def interpret(program: KernelProgram, arrays: Sequence[np.ndarray[Any, Any]]) -> int:
    """Run ``program`` on flat arrays, inputs then outputs; its status."""
    return Interpreter(program, arrays).run()
