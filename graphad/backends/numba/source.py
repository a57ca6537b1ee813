"""Numba source of a loop program: a module that a person can read, run alone and change.

It computes what the LLVM text of `cpu.emit` computes, in plain loops over flat arrays, and is its oracle.
The source needs ``graphad_kernels`` only. `compile_program` is the one place where graphad brings in Numba.
"""

from __future__ import annotations

import keyword
import linecache
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from graphad_kernels.routines import ROUTINES

from graphad.backends.loops.ir import (
    Copy,
    Counted,
    Gemm,
    GuardStep,
    HostCall,
    Index,
    KernelProgram,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Step,
)
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step
from graphad.backends.numba.nest import arrays_text
from graphad.backends.numba.scalar import FUNCTIONS, HELPERS, Expressions, array_type, constant
from graphad.backends.numba.turns import TurnsSource

_RESERVED: Final = frozenset(
    {"np", "njit", "at", "n", "functions", "status", "gemm", "gram", "compiled", "jitted", "abs", "min", "max", "range"}
    | {*keyword.kwlist, *HELPERS, *FUNCTIONS, *ROUTINES}
)

_COMPILED: Final = '@njit(error_model="numpy", boundscheck=False, nogil=True)'


def source(program: KernelProgram) -> str:
    """The text of a Python module that defines ``program`` as a compiled function over flat arrays.

    The function takes the inputs, then the outputs, which it fills; it returns 0, or ``ordinal + 1`` of the guard that
    did not hold. 16-bit floats are handed over as ``np.uint16`` arrays of their bits.

    Compiled code cannot call Python's functions without the GIL. A program with callbacks is therefore several compiled
    functions, and one of Python that calls them and the callbacks in turn: it takes these as its last argument, each a
    function of flat arrays that returns flat arrays.
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


def bits_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``array`` as the source takes it: flat, 16-bit floats as their bits."""
    flat = array.reshape(-1)
    return flat.view(np.uint16) if flat.dtype.itemsize == 2 and flat.dtype.kind in "fV" else flat


class _Source(TurnsSource):
    """The steps of one program as one function, and the module around it."""

    def __init__(self, program: KernelProgram) -> None:
        super().__init__({b.name: b for b in program.buffers}, _RESERVED | {program.name}, Expressions())
        self.program = program
        self.products: set[str] = set()
        self.routines: dict[str, None] = {}

    # ---- the frame

    def text(self) -> str:
        """The whole module."""
        name = self.program.name
        calls = [s for s in every_step(self.program.steps) if isinstance(s, HostCall)]
        if not calls:
            functions = [_COMPILED, self.function(self.parameters())]
        elif all([s in self.program.steps for s in calls]):
            functions = self.around_calls()
        else:  # loops that call the host are Python's
            functions = [self.function([*self.parameters(), "functions"])]
        head = [
            f'"""{name}: fills its outputs and returns 0, or 1 + the number of the first guard that does not hold.',
            "",
            "All arrays are flat.",
            *arrays_text(self.program.buffers),
            *[f"functions[{s.slot}]: {s.name}, of flat arrays, returns a list of {len(s.writes)}" for s in calls],
            '"""',
            "",
            "import numpy as np",
            "from numba import njit",
            "",
        ]
        if self.products:
            head.append(f"from graphad_kernels.cpu.blas import {', '.join(sorted(self.products))}")
        if self.expressions.math:
            head.append("from graphad_kernels.numba_math import compiled")
        if self.routines:
            head.append("from graphad_kernels.objects import jitted")
        if self.expressions.helpers:
            head.append(f"from graphad_kernels.scalar import {', '.join(sorted(self.expressions.helpers))}")
        head += ["", "at = np.uintp  # positions are unsigned: array[at(i)] needs no branch for negative indices"]
        head += [f'{name} = compiled("{op}", "{d}")' for name, (op, d) in sorted(self.expressions.math.items())]
        head += [f'{name} = jitted("{name}")' for name in self.routines]
        return "\n".join([*head, "", "", *functions])

    def function(self, parameters: Sequence[str]) -> str:
        """The function alone, without decorator and imports."""
        self.lines = []
        self.temporaries()
        for step in self.program.steps:
            self.step(step, 1)
        self.line(1, "return 0")
        return "\n".join([f"def {self.program.name}({', '.join(parameters)}):", *self.lines, ""])

    def around_calls(self) -> list[str]:
        """The steps between callbacks as functions of their own, and the one that calls all in turn."""
        texts: list[str] = []
        self.lines = []
        parameters = [*self.parameters(), "functions"]
        self.temporaries()
        frame = self.lines
        for is_call, steps in groupby(self.program.steps, lambda s: isinstance(s, HostCall)):
            part = list(steps)
            if not is_call:
                name = f"{self.program.name}_part{len(texts) // 2}"
                touched = dict.fromkeys(b for s in part for b in sorted(buffers_read(s) | buffers_written(s)))
                arguments = ", ".join([self.name(b, "buffer") for b in touched])
                self.lines = []
                for step in part:
                    self.step(step, 1)
                self.line(1, "return 0")
                texts += [_COMPILED, "\n".join([f"def {name}({arguments}):", *self.lines, "", ""])]
                self.lines = frame
                if any([isinstance(s, GuardStep) for s in part]):
                    self.line(1, f"status = {name}({arguments})")
                    self.line(1, "if status:")
                    self.line(2, "return status")
                else:
                    self.line(1, f"{name}({arguments})")
            for call in part if is_call else ():
                self.step(call, 1)
        self.line(1, "return 0")
        return [*texts, "\n".join([f"def {self.program.name}({', '.join(parameters)}):", *self.lines, ""])]

    def temporaries(self) -> None:
        """Make the arrays for intermediate results."""
        for b in self.program.buffers:
            if b.role == "temporary" and not b.per_turn:
                self.line(1, f"{self.name(b.name, 'buffer')} = {self.empty(str(b.size), array_type(b.dtype))}")

    def parameters(self) -> list[str]:
        """Names of inputs and outputs."""
        return [self.name(b.name, "buffer") for b in self.program.buffers if b.role in ("input", "output")]

    def element(self, buffer: str, index: Index, dynamic: str | None) -> str:
        text = self.index(index, dynamic)
        return f"{self.name(buffer, 'buffer')}[{text if text.isdigit() else f'at({text})'}]"

    # ---- steps

    def step(self, step: Step, depth: int) -> None:
        match step:
            case LoopNest(body=body):
                self.statements(body, depth)
            case Gemm():
                assert not step.is_fused, "products of a CPU have no epilogue"
                function = "gram" if step.symmetric else "gemm"
                self.products.add(function)
                self.gemm(step, function, depth=depth)
            case Repeat() | RepeatWhile() | Counted():
                self.turns(step, depth)
            case RoutineCall(routine=routine, reads=reads, writes=writes, sizes=sizes, loc=loc):
                self.routines[routine] = None
                args = [*[self.name(b, "buffer") for b in (*reads, *writes)], *map(str, sizes)]
                self.line(depth, f"{routine}({', '.join(args)})", loc)
            case Copy(target=target, source=of, loc=loc):
                self.line(depth, f"{self.name(target, 'buffer')}[:] = {self.name(of, 'buffer')}", loc)
            case HostCall(slot=slot, reads=reads, writes=writes, loc=loc):
                call = f"functions[{slot}]({', '.join([self.name(b, 'buffer') for b in reads])})"
                targets = "".join([f"{self.name(b, 'buffer')}[:], " for b in writes])
                self.line(depth, f"{targets.rstrip()} = {call}" if writes else call, loc)
            case GuardStep(ordinal=ordinal, buffer=buffer, expected=expected, loc=loc):
                seen = f"{self.name(buffer, 'buffer')}[0]"
                self.line(1, f"if {seen} != {constant(expected.item(), expected.dtype)}:", loc)
                self.line(2, f"return {ordinal + 1}", loc)

    def touched(self, step: Step) -> set[str]:
        return buffers_read(step) | buffers_written(step)

    def empty(self, size: str, dtype: str) -> str:
        return f"np.empty({size}, {dtype})"
