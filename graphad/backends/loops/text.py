"""The text form of loop programs: what ``graphad inspect --stage loops`` prints, and verifier errors quote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Copy,
    Counted,
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
    Repeat,
    RepeatWhile,
    RoutineCall,
    Statement,
    Step,
    Store,
    While,
)
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import EXTENT, format_literal

#: Source lines stand in this column, or behind longer statements.
LOC_COLUMN = 56


def format_program(program: KernelProgram, *, mark: object = None, message: str = "") -> str:
    """The text of a program; the statement or step that *is* ``mark`` gets ``<-- message`` behind it.

    Examples
    --------
    >>> from graphad.ir.types import f32
    >>> x, y = Buffer("x", f32, 3, "input"), Buffer("y", f32, 3, "output")
    >>> body = (Load("t1", "x", Index(0, (("i", 1),))), Store("y", Index(0, (("i", 1),)), "t1"))
    >>> print(format_program(KernelProgram("copy", (x, y), (LoopNest((Loop("i", 3, body, vector=True),)),))))
    program @copy(x: f32[3]) -> (y: f32[3])
      nest
        for i in 3 vector:
          t1 = x[i]
          y[i] = t1
    """
    lines = [_header(program)]
    lines += [
        f"  {'private ' * b.private}temporary {format_buffer(b)}" for b in program.buffers if b.role == "temporary"
    ]
    for step in program.steps:
        for depth, text, loc, thing in _step(step):
            line = "  " * depth + text
            if loc_text := format_loc(loc):
                line = f"{line:<{LOC_COLUMN}} ; {loc_text}"
            lines.append(f"{line}   <-- {message}" if thing is mark and mark is not None else line)
    return "\n".join(lines)


def _header(program: KernelProgram) -> str:
    inputs, outputs = (
        ", ".join(format_buffer(b) for b in program.buffers if b.role == role) for role in ("input", "output")
    )
    return f"program @{program.name}({inputs}) -> ({outputs})"


def format_buffer(buffer: Buffer) -> str:
    """``x: f32[12]``; of a number of elements known when it runs, ``tmp0: f64[2*n]``."""
    size = f"{buffer.per_turn}*n" if buffer.per_turn else buffer.size
    return f"{buffer.name}: {buffer.dtype.name}[{size}]"


_Line = tuple[int, str, Loc, object]  # depth, text, location, the statement or step


def _step(step: Step) -> Iterator[_Line]:
    match step:
        case LoopNest(body=body, loc=loc):
            yield 1, "nest", loc, step
            for statement in body:
                yield from _statement(statement, 2)
        case Gemm():
            yield 1, format_gemm(step), step.loc, step
        case RoutineCall():
            yield 1, format_call(step), step.loc, step
        case Copy(target=target, source=source, loc=loc):
            yield 1, f"copy {target} = {source}", loc, step
        case Repeat() | RepeatWhile() | Counted():
            yield 1, f"{format_turns(step)}:", step.loc, step
            for inner in step.body:
                for depth, text, at, thing in _step(inner):
                    yield depth + 1, text, at, thing
        case GuardStep(ordinal=ordinal, buffer=buffer, expected=expected, loc=loc):
            yield 1, f"guard {ordinal}: {buffer}[0] is {format_literal(expected)}", loc, step
        case HostCall(loc=loc):
            yield 1, format_host_call(step), loc, step


def format_turns(step: Repeat | RepeatWhile | Counted) -> str:
    """``repeat turn0 in 100, win0 = x[3*turn0:], tmp0 <-> tmp1``: what is said before the steps inside."""
    match step:
        case Repeat(var=var, extent=extent, reverse=reverse, windows=windows):
            how = "parallel" if step.parallel else "repeat"
            parts = [f"{how} {var} in {'n' if extent == EXTENT else extent}{' reverse' * reverse}"]
            parts += [f"private {name}" for name in step.private]
            parts += [f"{w.name} = {w.buffer}[{format_sum([(var, w.stride)], w.offset)}:]" for w in windows]
        case RepeatWhile(condition=condition, once=once):
            parts = [f"{'if' if once else 'while'} {condition}[0]"]
        case Counted(count=count):
            return f"with n = {count}[0]"
    return ", ".join([*parts, *[f"{a} <-> {b}" for a, b in step.swaps]])


def _statement(statement: Statement, depth: int) -> Iterator[_Line]:
    if not isinstance(statement, (Loop, While)):
        yield depth, format_simple(statement), statement.loc, statement
        return
    if isinstance(statement, While):
        head = f"{'if' if statement.is_branch else 'while'} {statement.condition}"
    else:
        head = f"for {statement.var} in {'n' if statement.extent == EXTENT else statement.extent}"
        head += " reverse" * statement.reverse + " vector" * statement.vector
    head += "".join([f", {format_carry(c)}" for c in statement.carries])
    yield depth, f"{head}:", statement.loc, statement
    for inner in statement.body:
        yield from _statement(inner, depth + 1)


def format_simple(statement: Let | Position | Load | Store) -> str:
    """One statement that is no loop."""
    match statement:
        case Let(name=name, dtype=dtype, op=op, args=args):
            return f"{name}: {dtype.name} = {op}({', '.join(map(operand, args))})"
        case Position(name=name, dtype=dtype, index=index):
            return f"{name}: {dtype.name} = position({format_index(index)})"
        case Load(name=name, buffer=buffer, index=index, dynamic=dynamic):
            return f"{name} = {buffer}[{format_index(index, dynamic)}]"
        case Store(buffer=buffer, index=index, value=value, dynamic=dynamic, mask=mask):
            condition = f" where {mask}" if mask is not None else ""
            return f"{buffer}[{format_index(index, dynamic)}] = {operand(value)}{condition}"


def format_carry(c: Carry) -> str:
    """``s0: f32 = sum(0.0, t1 * t2)``: what it starts from, and what is combined with it."""
    return f"{c.name}: {c.dtype.name} = {c.combine}({operand(c.init)}, {' * '.join(map(operand, c.reads))})"


def operand(value: Operand) -> str:
    """A name, or the text of a literal."""
    return value if isinstance(value, str) else format_literal(value)


def format_index(index: Index, dynamic: str | None = None) -> str:
    """``3*i + j + 2``, or ``35 - i``.

    >>> format_index(Index(35, (("i", -1), ("j", 3))), "k")
    '3*j + k + 35 - i'
    """
    return format_sum([*index.terms, *([(dynamic, 1)] if dynamic is not None else [])], index.offset)


def format_sum(terms: Iterable[tuple[str, int]], offset: int, times: str = "*") -> str:
    """A sum of multiples of names, those that are subtracted last."""
    parts = [(name if abs(by) == 1 else f"{abs(by)}{times}{name}", by) for name, by in terms if by]
    if offset or not parts:
        parts.append((str(abs(offset)), offset))
    plus = " + ".join(text for text, by in parts if by >= 0)
    return plus + "".join(f" - {text}" if plus else f"-{text}" for text, by in parts if by < 0)


def format_call(step: RoutineCall) -> str:
    """``call argsort f32 (x) -> (y, tmp0, tmp1) for 4, 3``."""
    read, written, sizes = (", ".join(map(str, part)) for part in (step.reads, step.writes, step.sizes))
    return f"call {step.routine} {step.dtype.name} ({read}) -> ({written}) for {sizes}"


def format_host_call(step: HostCall) -> str:
    """``host 0 @bessel (x) -> (y, tmp0)``."""
    return f"host {step.slot} @{step.name} ({', '.join(step.reads)}) -> ({', '.join(step.writes)})"


def format_gemm(step: Gemm) -> str:
    """``gemm c[4,2] = a[4,3] @ b[3,2] + bias[column], then relu``, with offsets and batch where there are any."""

    def matrix(m: Matrix, rows: int, columns: int, each: int) -> str:
        text = m.buffer + (f"+{m.offset}" if m.offset else "") + (f"+{each}*batch" if each and step.batch > 1 else "")
        return f"{text}[{rows},{columns}; row {m.row_stride}]" + (".T" if m.transposed else "")

    a, b = step.a, step.b
    left = matrix(a, *((step.k, step.m) if a.transposed else (step.m, step.k)), step.a_step)
    right = matrix(b, *((step.n, step.k) if b.transposed else (step.k, step.n)), step.b_step)
    c = matrix(step.c, step.m, step.n, step.c_step)
    times = "" if step.batch == 1 else f" for batch in {step.batch}"
    result = "" if step.c_dtype is step.dtype else f" to {step.c_dtype.name}"
    bias = "" if step.bias is None else f" + {step.bias}[{format_index(Index(step.bias_offset, (('column', 1),)))}]"
    after = ", then relu" * step.relu + ", symmetric" * step.symmetric
    return f"gemm {step.dtype.name}{result} {c} = {left} @ {right}{times}{bias}{after}"
