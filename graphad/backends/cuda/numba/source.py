"""Numba source of a device program: ``@cuda.jit`` kernels that a person can read, run and change.

It computes what the PTX of `ptx.emit` computes, and is its oracle. The module needs
``graphad_kernels`` and numba-cuda, or with one line changed numba-cuda-mlir; `cuda.numba.adapter` compiles its kernels
without a GPU. Walk of one example, the softmax of `graphad.backends.cuda.program.ir`::

    @cuda.jit
    def softmax_0(in0, out0):
        \"\"\"64 points, 32 threads for each point: 16 blocks of 128 threads.\"\"\"
        i = cuda.grid(1) // 32
        thread = cuda.threadIdx.x % 32
        s1 = np.float32(-np.inf)
        for j in range(thread, 48, 32):
            t0 = in0[48 * i + j]  # model.py:6
            s1 = maximum(t0, s1)
        s1 = warp_max(s1)
        ...
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from typing import Final

from graphad.backends.cuda.numba.kernel import DEVICE_FUNCTIONS, DeviceExpressions, KernelSource, dynamic_shared
from graphad.backends.cuda.program.deduplication import Kind, kinds_of
from graphad.backends.cuda.program.ir import Bundle, DeviceProgram, DeviceStep, Kernel, reads, writes
from graphad.backends.cuda.program.text import format_blocks
from graphad.backends.loops.ir import Buffer, Copy, Counted, Gemm, GuardStep, HostCall, Repeat, RepeatWhile
from graphad.backends.loops.steps import every_step
from graphad.backends.loops.text import format_gemm
from graphad.backends.numba.nest import NestSource, arrays_text
from graphad.backends.numba.scalar import FUNCTIONS, HELPERS, array_type, constant
from graphad.backends.numba.turns import TurnsSource
from graphad.ir.loc import format_loc

_RESERVED: Final = frozenset(
    {"np", "cuda", "compiled", "atomic", "functions", "gemm", "stream", "abs", "min", "max", "range", "len"}
    | {*keyword.kwlist, *HELPERS, *FUNCTIONS, *DEVICE_FUNCTIONS}
)


def source(program: DeviceProgram) -> str:
    """The text of a Python module: a kernel for each launch, and a function that launches them in order.

    That function takes the inputs, then the outputs, as flat arrays on the device, and ``stream``; it returns 0, or
    ``ordinal + 1`` of the guard that did not hold. 16-bit floats are handed over as ``np.uint16`` arrays of their bits.
    Callbacks are a further argument, each a function of flat arrays of the host that returns such arrays in a list.
    """
    return _Module(program).text()


class _Module:
    """The parts of one module; ``expressions`` collects what its kernels call."""

    def __init__(self, program: DeviceProgram) -> None:
        self.program = program
        self.expressions = DeviceExpressions()
        self.reserved = {*_RESERVED, program.name, *[k.name for k in (*program.kernels, *program.launches)]}

    def text(self) -> str:
        functions = [f for launch in self.program.launches if launch.blocks for f in self.functions(launch)]
        launches = _Launches(self.program, self.reserved, self.expressions)
        functions.append(launches.function())
        return "\n".join([*self.head(launches.gemms), *[f"\n\n{text}".rstrip("\n") for text in functions], ""])

    def functions(self, launch: Kernel | Bundle) -> list[str]:
        """The text of a kernel; of a bundle, of each kind of part and the kernel that calls them."""
        buffers = {b.name: b for b in self.program.buffers}
        is_bundle = isinstance(launch, Bundle)
        functions: list[str] = []
        for kind in (kinds := kinds_of(launch, buffers)):
            part = KernelSource(
                kind.kernel, buffers, self.reserved, self.expressions, part=is_bundle, varies=kind.varies
            )
            functions.append(part.function())
        return [*functions, _BundleSource(launch, kinds, buffers, self.reserved).function()] if is_bundle else functions

    def head(self, gemms: dict[str, str]) -> list[str]:
        """The docstring and imports of the module."""
        x = self.expressions
        lines = [
            f'"""{self.program.name}, for NVIDIA GPUs. All arrays are flat.',
            "",
            *arrays_text(self.program.buffers),
            '"""',
            "",
            "import numpy as np",
            "from numba import cuda  # for numba-cuda-mlir: from graphad_kernels.cuda import mlir as cuda",
        ]
        imports = [
            *_import("cuda.atomic", ["atomic"] if x.atomics else []),
            *_import("cuda.gemm", ["gemm"] if gemms else []),
            *_import("cuda.group", x.group),
            *_import("cuda.rounding", x.rounding),
            *_import("numba_math", ["compiled"] if x.math else []),
            *_import("scalar", x.helpers),
        ]
        made = [f'{name} = compiled("{op}", "{dtype}")' for name, (op, dtype) in sorted(x.math.items())]
        made += [f'{name} = atomic("{combine}", "{dtype}")' for name, (combine, dtype) in sorted(x.atomics.items())]
        made += [f"{name} = {call}" for name, call in sorted(gemms.items())]
        return [*lines, *([""] * bool(imports)), *imports, *([""] * bool(made)), *made]


def _import(module: str, names: Iterable[str]) -> list[str]:
    wanted = sorted(names)
    line = f"from graphad_kernels.{module} import {', '.join(wanted)}"
    if len(line) > 100:
        line = "\n".join([f"from graphad_kernels.{module} import (", *[f"    {name}," for name in wanted], ")"])
    return [line] if wanted else []


class _BundleSource(NestSource):
    """The kernel that has each block run its part."""

    def __init__(
        self, bundle: Bundle, kinds: Iterable[Kind], buffers: Mapping[str, Buffer], reserved: Iterable[str]
    ) -> None:
        super().__init__(buffers, reserved, DeviceExpressions())
        self.bundle = bundle
        self.kinds = {own.start: kind for kind in kinds for _, own in kind.members}

    def function(self) -> str:
        bundle, block = self.bundle, self.name("block", "index")
        parameters = [self.name(p, "buffer") for p in bundle.parameters]
        self.line(1, f'"""{len(bundle.ranges)} kernels side by side: {format_blocks(bundle)}."""')
        self.line(1, f"{block} = cuda.blockIdx.x")
        for part, own in bundle.ranges:
            first, last = own.start == 0, own.stop == bundle.blocks
            self.line(1, "else:" if last and not first else f"{'el' * (not first)}if {block} < {own.stop}:")
            kind = self.kinds[own.start]
            counts = [f"{block} - {own.start}" if own.start else block]
            counts += [str(part.points // part.lanes)] * kind.varies
            arguments = ", ".join([*counts, *[self.name(p, "buffer") for p in part.parameters]])
            self.line(2, f"{kind.kernel.name}({arguments})", part.loc)
        where = f"  # {format_loc(bundle.loc)}" if format_loc(bundle.loc) else ""
        head = f"def {bundle.name}({', '.join(parameters)}):{where}"
        return "\n".join(["@cuda.jit", head, *self.lines, ""])


class _Launches(TurnsSource):
    """The function that makes all launches."""

    def __init__(self, program: DeviceProgram, reserved: Iterable[str], expressions: DeviceExpressions) -> None:
        super().__init__({b.name: b for b in program.buffers}, reserved, expressions)
        self.program = program
        self.gemms: dict[str, str] = {}  # name -> how it is made

    def function(self) -> str:
        buffers = self.program.buffers
        parameters = [self.name(b.name, "buffer") for b in buffers if b.role in ("input", "output")]
        for b in buffers:
            if b.role == "temporary" and not b.per_turn:
                self.line(1, f"{self.name(b.name, 'buffer')} = {self.empty(str(b.size), array_type(b.dtype))}")
        for step in self.program.steps:
            self.step(step, 1)
        self.line(1, "return 0")
        calls = any([isinstance(s, HostCall) for s in every_step(self.program.steps)])
        parameters += ["functions"] * calls
        signature = f"def {self.program.name}({', '.join([*parameters, 'stream=0'])}):"
        return "\n".join([signature, '    """All launches, in order."""', *self.lines, ""])

    def step(self, step: DeviceStep, depth: int) -> None:
        match step:
            case Kernel() | Bundle():
                if step.blocks:
                    arrays = ", ".join([self.name(p, "buffer") for p in step.parameters])
                    nbytes = dynamic_shared(step)
                    shared = f", {nbytes}" if nbytes else ""
                    self.line(depth, f"{step.name}[{step.blocks}, {step.threads}, stream{shared}]({arrays})", step.loc)
            case Gemm():
                self.product(step, depth)
            case Copy(target=target, source=of, loc=loc):
                if self.buffers[of].size:
                    copied = f"copy_to_device({self.name(of, 'buffer')}, stream=stream)"
                    self.line(depth, f"{self.name(target, 'buffer')}.{copied}", loc)
            case HostCall(slot=slot, loc=loc):
                given = ", ".join([f"{self.name(b, 'buffer')}.copy_to_host(stream=stream)" for b in step.reads])
                found = self.name(f"found{slot}", "results")
                self.line(depth, f"{found} = functions[{slot}]({given})", loc)
                for k, b in enumerate(step.writes):
                    self.line(depth, f"{self.name(b, 'buffer')}.copy_to_device({found}[{k}], stream=stream)", loc)
            case GuardStep(ordinal=ordinal, buffer=buffer, expected=expected, loc=loc):
                seen = f"{self.name(buffer, 'buffer')}[0]"  # waits for the stream
                self.line(depth, f"if {seen} != {constant(expected.item(), expected.dtype)}:", loc)
                self.line(depth + 1, f"return {ordinal + 1}", loc)
            case Repeat() | RepeatWhile() | Counted():
                self.turns(step, depth)

    def touched(self, step: DeviceStep) -> set[str]:
        return reads(step) | writes(step)

    def empty(self, size: str, dtype: str) -> str:
        return f"cuda.device_array({size}, {dtype}, stream=stream)"

    def product(self, g: Gemm, depth: int) -> None:
        """A matrix product, by a function for its dtype and its epilogue."""
        chosen, more = list[str](), ["stream"]
        result = [g.c_dtype.name] if g.c_dtype is not g.dtype else []
        if g.bias is not None:
            chosen.append("bias")
            start = f"[{g.bias_offset}:]" if g.bias_offset else ""
            more.append(self.name(g.bias, "buffer") + start)
        if g.relu:
            chosen.append("relu")
        name = "_".join(["gemm", g.dtype.name, *result, *chosen])
        options = "".join([*[f', result="{r}"' for r in result], *[f", {c}=True" for c in chosen]])
        self.gemms[name] = f'gemm(cuda, "{g.dtype.name}"{options})'
        self.gemm(g, name, *more, text=format_gemm(g), depth=depth)
