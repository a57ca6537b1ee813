"""The text form of device programs: what ``graphad inspect --stage device`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphad.backends.cuda.program.ir import (
    Atomic,
    Axis,
    Barrier,
    Bundle,
    DeviceProgram,
    DeviceStatement,
    DeviceStep,
    Kernel,
    Scan,
    Spread,
)
from graphad.backends.loops.ir import (
    Carry,
    Copy,
    Counted,
    Gemm,
    GuardStep,
    HostCall,
    Loop,
    Repeat,
    RepeatWhile,
    While,
)
from graphad.backends.loops.text import (
    LOC_COLUMN,
    format_buffer,
    format_carry,
    format_gemm,
    format_host_call,
    format_index,
    format_simple,
    format_turns,
    operand,
)
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import format_literal

_Line = tuple[int, str, Loc]


def format_device_program(program: DeviceProgram) -> str:
    """The text of a device program.

    Examples
    --------
    >>> from graphad.backends.loops.ir import Buffer, Index, Load, Store
    >>> from graphad.ir.types import f32
    >>> x, y = Buffer("x", f32, 8, "input"), Buffer("y", f32, 8, "output")
    >>> at = Index(0, (("i", 1),))
    >>> kernel = Kernel("copy_0", ("x", "y"), (), (Axis("i", 8),), (Load("t", "x", at), Store("y", at, "t")), lanes=4)
    >>> print(format_device_program(DeviceProgram("copy", (x, y), (kernel,))))
    device program @copy(x: f32[8]) -> (y: f32[8])
      kernel copy_0(x, y): 1 block of 128 threads, 4 points a thread
        for i in 8 at once:
          t = x[i]
          y[i] = t
    """
    inputs, outputs = (
        ", ".join([format_buffer(b) for b in program.buffers if b.role == r]) for r in ("input", "output")
    )
    lines = [f"device program @{program.name}({inputs}) -> ({outputs})"]
    lines += [f"  temporary {format_buffer(b)}" for b in program.buffers if b.role == "temporary"]
    for step in program.steps:
        for depth, text, loc in _step(step):
            line = "  " * depth + text
            if loc_text := format_loc(loc):
                line = f"{line:<{LOC_COLUMN}} ; {loc_text}"
            lines.append(line)
    return "\n".join(lines)


def _step(step: DeviceStep) -> Iterator[_Line]:
    match step:
        case Kernel():
            yield from _kernel(step)
        case Bundle():
            yield from _bundle(step)
        case Gemm():
            yield 1, format_gemm(step), step.loc
        case Copy(target=target, source=source, loc=loc):
            yield 1, f"copy {target} = {source}", loc
        case GuardStep(ordinal=ordinal, buffer=buffer, expected=expected, loc=loc):
            yield 1, f"guard {ordinal}: {buffer}[0] is {format_literal(expected)}", loc
        case HostCall(loc=loc):
            yield 1, format_host_call(step), loc
        case Repeat() | RepeatWhile() | Counted():
            yield 1, f"{format_turns(step)}:", step.loc
            for inner in step.body:
                for depth, text, at in _step(inner):
                    yield depth + 1, text, at


def _bundle(bundle: Bundle) -> Iterator[_Line]:
    kernels = f"{len(bundle.parts)} kernel{'s' * (len(bundle.parts) != 1)}"
    yield 1, f"bundle {bundle.name}: {kernels} in {format_blocks(bundle)}", bundle.loc
    for part in bundle.parts:
        for depth, text, loc in _kernel(part):
            yield depth + 1, text, loc


def format_blocks(launch: Kernel | Bundle) -> str:
    """``4 blocks of 128 threads``."""
    return f"{launch.blocks} block{'s' * (launch.blocks != 1)} of {launch.threads} threads"


def _kernel(kernel: Kernel) -> Iterator[_Line]:
    many = f", {kernel.lanes} points a thread" if kernel.lanes > 1 else ""
    many = f", {kernel.group} threads a point" if kernel.group > 1 else many
    yield 1, f"kernel {kernel.name}({', '.join(kernel.parameters)}): {format_blocks(kernel)}{many}", kernel.loc
    for buffer in kernel.shared:
        yield 2, f"shared {format_buffer(buffer)}", None
    depth = 2
    for axis in kernel.grid:
        yield depth, f"{_over((axis,))} at once:", None
        depth += 1
    yield from _statements(kernel.body, depth)


def _statements(statements: Iterable[DeviceStatement], depth: int) -> Iterator[_Line]:
    for s in statements:
        match s:
            case Loop(var=var, extent=extent, carries=carries, body=body):
                reverse = " reverse" * s.reverse
                yield depth, f"for {var} in {extent}{reverse}{_carries(carries)}:", s.loc
                yield from _statements(body, depth + 1)
            case While(condition=condition, carries=carries, body=body):
                yield depth, f"{'if' if s.is_branch else 'while'} {condition}{_carries(carries)}:", s.loc
                yield from _statements(body, depth + 1)
            case Spread(axes=axes, carries=carries, body=body):
                reverse = " reverse" * s.reverse
                yield depth, f"{_over(axes)}{reverse} shared out{_carries(carries)}:", s.loc
                yield from _statements(body, depth + 1)
            case Scan():
                names = f"{s.inclusive}: {s.dtype.name}, before {s.exclusive}"
                decay = "" if s.decay is None else f", decay {operand(s.decay)}"
                yield depth, f"{names} = scan {s.combine}({operand(s.init)}, {operand(s.value)}{decay})", s.loc
            case Atomic():
                where = "" if s.mask is None else f" where {s.mask}"
                place = f"{s.buffer}[{format_index(s.index, s.dynamic)}]"
                yield depth, f"atomic {place} = {s.combine}({place}, {operand(s.value)}){where}", s.loc
            case Barrier():
                yield depth, "barrier", s.loc
            case _:
                yield depth, format_simple(s), s.loc


def _over(axes: Iterable[Axis]) -> str:
    axes = list(axes)
    return f"for {', '.join([a.var for a in axes])} in {', '.join([str(a.extent) for a in axes])}"


def _carries(carries: Iterable[Carry]) -> str:
    return "".join([f", {format_carry(c)}" for c in carries])
