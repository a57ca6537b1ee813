"""Numba source of a loop program: a module that a person can read, run alone and change.

It computes what the LLVM text of `emit_llvm` computes, in plain loops over flat arrays, and is the oracle of the other.
The source needs ``graphad_kernels`` only. `compile_program` is the one place where graphad brings in Numba.
"""

from __future__ import annotations

import keyword
import linecache
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
from graphad_kernels.bodies import BODIES

from graphad.backends.loops import (
    Carry,
    Copy,
    Gemm,
    GuardStep,
    Index,
    KernelCall,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    Operand,
    Position,
    Statement,
    Step,
    Store,
)
from graphad.backends.loops_text import format_gemm, format_sum
from graphad.backends.numba_scalar import FUNCTIONS, HELPERS, Expressions, array_type, constant, scalar_type
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import DType, f32, f64, i64

#: float32 sums over more iterations than this are kept in float64, which the reader sees.
PLAIN_SUM: Final = 64
_RESERVED: Final = frozenset(
    {"np", "njit", "at", "gemm", "compiled", "jitted", "abs", "min", "max", "range"}
    | {*keyword.kwlist, *HELPERS, *FUNCTIONS, *BODIES}
)


def source(program: KernelProgram) -> str:
    """The text of a Python module that defines ``program`` as a compiled function over flat arrays.

    The function takes the inputs, then the outputs, which it fills; it returns 0, or ``ordinal + 1`` of the guard that
    did not hold. 16-bit floats are handed over as ``np.uint16`` arrays of their bits.
    """
    return _Source(program).text()


def compile_program(program: KernelProgram) -> Callable[..., int]:
    """The function of `source`, compiled by Numba when it is first called."""
    text = source(program)
    filename = f"<graphad {program.name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": f"graphad_{program.name}"}
    exec(compile(text, filename, "exec"), namespace)
    function: Callable[..., int] = namespace[program.name]
    return function


def run_python(program: KernelProgram, arrays: Sequence[np.ndarray[Any, Any]]) -> int:
    """Run the function of `source` in Python itself, element by element: slow, and independent of any compiler."""
    # These modules bring in Numba, which nothing else of graphad needs.
    from graphad_kernels import math as elementary
    from graphad_kernels import scalar
    from graphad_kernels.cpu import blas

    emitter = _Source(program)
    text = emitter.function()
    namespace: dict[str, Any] = {"np": np, "at": int, "gemm": blas.gemm}
    namespace |= {name: BODIES[name].function for name in emitter.bodies}
    namespace |= {name: getattr(scalar, name) for name in emitter.expressions.helpers}
    namespace |= {name: elementary.FUNCTIONS[key] for name, key in emitter.expressions.math.items()}
    exec(text, namespace)
    with np.errstate(all="ignore"):
        return int(namespace[program.name](*map(bits_of, arrays)))


def bits_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``array`` as the source takes it: flat, 16-bit floats as their bits."""
    flat = array.reshape(-1)
    return flat.view(np.uint16) if flat.dtype.itemsize == 2 and flat.dtype.kind in "fV" else flat


class _Source:
    """State of one emission: the lines, and the Python name of every buffer, value and loop variable."""

    def __init__(self, program: KernelProgram) -> None:
        self.program = program
        self.expressions = Expressions()
        self.buffers = {b.name: b for b in program.buffers}
        self.dtypes: dict[str, DType] = {}
        self.fixed: dict[str, int] = {}  # variables of loops that run once
        self.taken: dict[str, object] = {}  # Python name -> what it stands for
        self.given: dict[object, str] = {}
        self.gemms = False
        self.bodies: dict[str, None] = {}
        self.lines: list[str] = []

    # ---- the frame

    def text(self) -> str:
        """The whole module."""
        function = self.function()
        p = self.program
        listed = [
            textwrap.fill(
                f"{title}: {', '.join(f'{b.name}: {b.dtype.name}[{b.size}]' for b in p.buffers if b.role == role)}",
                width=100,
                subsequent_indent="    ",
            )
            for title, role in (("Inputs", "input"), ("Outputs", "output"))
        ]
        head = [
            f'"""{p.name}: fills its outputs and returns 0, or 1 + the number of the first guard that does not hold.',
            "",
            "All arrays are flat.",
            *listed,
            '"""',
            "",
            "import numpy as np",
            "from numba import njit",
            "",
        ]
        if self.gemms:
            head.append("from graphad_kernels.cpu.blas import gemm")
        if self.expressions.math:
            head.append("from graphad_kernels.numba_math import compiled")
        if self.bodies:
            head.append("from graphad_kernels.objects import jitted")
        if self.expressions.helpers:
            head.append(f"from graphad_kernels.scalar import {', '.join(sorted(self.expressions.helpers))}")
        head += ["", "at = np.uintp  # positions are unsigned: array[at(i)] needs no branch for negative indices"]
        head += [f'{name} = compiled("{op}", "{d}")' for name, (op, d) in sorted(self.expressions.math.items())]
        head += [f'{name} = jitted("{name}")' for name in self.bodies]
        decorator = '@njit(fastmath={"contract"}, error_model="numpy", boundscheck=False, nogil=True)'
        return "\n".join([*head, "", "", decorator, function])

    def function(self) -> str:
        """The function alone, without decorator and imports."""
        self.lines = []
        parameters = self.parameters()
        for b in self.program.buffers:
            if b.role == "temporary":
                self.line(1, f"{self.name(b.name, 'buffer')} = np.empty({b.size}, {array_type(b.dtype)})")
        for step in self.program.steps:
            self.step(step)
        self.line(1, "return 0")
        return "\n".join([f"def {self.program.name}({', '.join(parameters)}):", *self.lines, ""])

    def parameters(self) -> list[str]:
        """Names of inputs and outputs."""
        return [self.name(b.name, "buffer") for b in self.program.buffers if b.role != "temporary"]

    def name(self, name: str, meaning: object) -> str:
        """The Python name of ``name``: itself, unless that already stands for something of another meaning."""
        key = (name, meaning)
        found = self.given.get(key)
        if found is None:
            found = name
            while found in _RESERVED or found == self.program.name or self.taken.get(found, key) != key:
                found += "_"
            self.taken[found] = key
            self.given[key] = found
        return found

    def line(self, depth: int, text: str, loc: Loc = None) -> None:
        """Append a line, the user's line behind it."""
        where = format_loc(loc)
        self.lines.append(f"{'    ' * depth}{text}" + (f"  # {where}" if where else ""))

    # ---- names and operands

    def define(self, name: str, dtype: DType) -> str:
        self.dtypes[name] = dtype
        return self.name(name, dtype)

    def operand(self, value: Operand) -> str:
        if isinstance(value, str):
            return self.name(value, self.dtypes[value])
        return constant(value.item(), value.dtype)

    def index(self, index: Index, dynamic: str | None = None) -> str:
        offset = index.offset + sum(by * self.fixed[var] for var, by in index.terms if var in self.fixed)
        terms = [(self.name(var, "index"), by) for var, by in index.terms if by and var not in self.fixed]
        if dynamic is not None:
            terms.append((self.operand(dynamic), 1))
        return format_sum(terms, offset, " * ")

    def element(self, buffer: str, index: Index, dynamic: str | None) -> str:
        text = self.index(index, dynamic)
        return f"{self.name(buffer, 'buffer')}[{text if text.isdigit() else f'at({text})'}]"

    # ---- steps

    def step(self, step: Step) -> None:
        match step:
            case LoopNest(body=body):
                self.statements(body, 1)
            case Gemm():
                self.gemm(step)
            case KernelCall(kernel=kernel, reads=reads, writes=writes, sizes=sizes, loc=loc):
                self.bodies[kernel] = None
                args = [*[self.name(b, "buffer") for b in (*reads, *writes)], *map(str, sizes)]
                self.line(1, f"{kernel}({', '.join(args)})", loc)
            case Copy(target=target, source=of, loc=loc):
                self.line(1, f"{self.name(target, 'buffer')}[:] = {self.name(of, 'buffer')}", loc)
            case GuardStep(ordinal=ordinal, buffer=buffer, expected=expected, loc=loc):
                seen = f"{self.name(buffer, 'buffer')}[0]"
                self.line(1, f"if {seen} != {constant(expected.item(), expected.dtype)}:", loc)
                self.line(2, f"return {ordinal + 1}", loc)

    def gemm(self, g: Gemm) -> None:
        self.gemms = True
        self.line(1, f"# {format_gemm(g)}")
        depth = 1
        member = self.name("member", "index")
        if g.batch != 1:
            self.line(1, f"for {member} in range({g.batch}):", g.loc)
            depth = 2

        def matrix(m: Matrix, each: int) -> str:
            start = format_sum([(member, each if g.batch != 1 else 0)], m.offset, " * ")
            return f"{self.name(m.buffer, 'buffer')}, {start}, {m.row_stride}"

        a, b, c = matrix(g.a, g.a_step), matrix(g.b, g.b_step), matrix(g.c, g.c_step)
        alpha, beta = constant(g.alpha, g.dtype), constant(g.beta, g.dtype)
        left, right = f"({a}, {g.a.transposed})", f"({b}, {g.b.transposed})"
        self.line(depth, f"gemm({g.m}, {g.n}, {g.k}, {alpha}, {left}, {right}, {beta}, ({c}))", g.loc)

    # ---- statements

    def statements(self, body: Iterable[Statement], depth: int) -> None:
        for s in body:
            match s:
                case Let():
                    self.let(s, depth)
                case Load(name=name, buffer=buffer, index=index, dynamic=dynamic, loc=loc):
                    dtype = self.buffers[buffer].dtype
                    text = self.expressions.loaded(self.element(buffer, index, dynamic), dtype)
                    self.line(depth, f"{self.define(name, dtype)} = {text}", loc)
                case Store(buffer=buffer, index=index, value=value, dynamic=dynamic, mask=mask, loc=loc):
                    if mask is not None:
                        self.line(depth, f"if {self.operand(mask)}:", loc)
                    text = self.expressions.stored(self.operand(value), self.buffers[buffer].dtype)
                    target = self.element(buffer, index, dynamic)
                    self.line(depth + (mask is not None), f"{target} = {text}", loc)
                case Position(name=name, dtype=dtype, index=index, loc=loc):
                    text = self.expressions.cast(f"np.int64({self.index(index)})", i64, dtype)
                    self.line(depth, f"{self.define(name, dtype)} = {text}", loc)
                case Loop():
                    self.loop(s, depth)

    def let(self, s: Let, depth: int) -> None:
        args = [self.operand(a) for a in s.args]
        first, last = s.args[-1] if s.op == "select" else s.args[0], s.args[-1]
        of = self.dtypes[first] if isinstance(first, str) else first.dtype
        text = self.expressions.operator(s.op, s.dtype, args, of, last if not isinstance(last, str) else None)
        self.line(depth, f"{self.define(s.name, s.dtype)} = {text}", s.loc)

    def loop(self, loop: Loop, depth: int) -> None:
        starts = [self.operand(c.init) for c in loop.carries]
        running = [self.running(c, loop.extent) for c in loop.carries]
        for c, name, start in zip(loop.carries, running, starts, strict=True):
            wide = loop.extent > PLAIN_SUM and _widened(c)
            self.line(depth, f"{name} = np.float64({start})" if wide else f"{name} = {start}", loop.loc)
        if loop.extent == 1:
            self.fixed[loop.var] = 0
            self.body(loop, running, depth)
            del self.fixed[loop.var]
        elif loop.extent > 1:
            span = f"range({loop.extent - 1}, -1, -1)" if loop.reverse else f"range({loop.extent})"
            self.line(depth, f"for {self.name(loop.var, 'index')} in {span}:", loop.loc)
            self.body(loop, running, depth + 1)
        for c, name in zip(loop.carries, running, strict=True):
            if loop.extent > PLAIN_SUM and _widened(c):
                self.line(depth, f"{self.name(c.name, c.dtype)} = np.float32({name})", loop.loc)

    def running(self, c: Carry, extent: int) -> str:
        """The variable that holds a carry while its loop runs."""
        name = self.define(c.name, c.dtype)
        return self.name(f"{c.name}_wide", f64) if extent > PLAIN_SUM and _widened(c) else name

    def body(self, loop: Loop, running: Sequence[str], depth: int) -> None:
        before = len(self.lines)
        self.statements(loop.body, depth)
        following: dict[str, str] = {}
        for c, name in zip(loop.carries, running, strict=True):
            update = self.operand(c.update)
            if c.combine == "last":
                following[name] = update
            else:
                self.line(depth, f"{name} = {self.combined(c, update, name)}", loop.loc)
        if following:
            self.line(depth, f"{', '.join(following)} = {', '.join(following.values())}", loop.loc)
        if len(self.lines) == before:
            self.line(depth, "pass")

    def combined(self, c: Carry, update: str, running: str) -> str:
        """The next value of a carry that is reordered."""
        if c.combine in ("max", "min"):
            return self.expressions.extreme(c.combine + "imum", c.dtype, update, running)
        sign = {"sum": "+", "prod": "*", "and": "&", "or": "|"}[c.combine]
        text = f"{running} {sign} {update}"
        if c.dtype.is_integer:
            return f"{scalar_type(c.dtype)}({text})"
        return self.expressions.rounded(text, c.dtype)


def _widened(c: Carry) -> bool:
    return c.combine == "sum" and c.dtype is f32
