"""Numba source of a loop program: a module that a person can read, run alone and change.

It computes what the LLVM text of `cpu.emit` computes, in plain loops over flat arrays, and is its oracle.
The source needs ``graphad_kernels`` only. `compile_program` is the one place where graphad brings in Numba.
"""

from __future__ import annotations

import keyword
import linecache
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from graphad_kernels.bodies import BODIES

from graphad.backends.loops.ir import (
    Copy,
    Gemm,
    GuardStep,
    Index,
    KernelCall,
    KernelProgram,
    LoopNest,
    Step,
)
from graphad.backends.numba.nest import NestSource, arrays_text
from graphad.backends.numba.scalar import FUNCTIONS, HELPERS, Expressions, array_type, constant

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


def bits_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``array`` as the source takes it: flat, 16-bit floats as their bits."""
    flat = array.reshape(-1)
    return flat.view(np.uint16) if flat.dtype.itemsize == 2 and flat.dtype.kind in "fV" else flat


class _Source(NestSource):
    """The steps of one program as one function, and the module around it."""

    def __init__(self, program: KernelProgram) -> None:
        super().__init__({b.name: b for b in program.buffers}, _RESERVED | {program.name}, Expressions())
        self.program = program
        self.gemms = False
        self.bodies: dict[str, None] = {}

    # ---- the frame

    def text(self) -> str:
        """The whole module."""
        function, name = self.function(), self.program.name
        head = [
            f'"""{name}: fills its outputs and returns 0, or 1 + the number of the first guard that does not hold.',
            "",
            "All arrays are flat.",
            *arrays_text(self.program.buffers),
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
        decorator = '@njit(error_model="numpy", boundscheck=False, nogil=True)'
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

    def element(self, buffer: str, index: Index, dynamic: str | None) -> str:
        text = self.index(index, dynamic)
        return f"{self.name(buffer, 'buffer')}[{text if text.isdigit() else f'at({text})'}]"

    # ---- steps

    def step(self, step: Step) -> None:
        match step:
            case LoopNest(body=body):
                self.statements(body, 1)
            case Gemm():
                self.gemms = True
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
