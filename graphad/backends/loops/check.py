"""Verifier of loop programs: names, dtypes, bounds, and the rules of vector loops.

Bounds of affine indices are checked by interval arithmetic; those of ``dynamic`` ones are guaranteed by the lowering.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NoReturn

from graphad_kernels.routines import ROUTINES

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
    index_range,
    is_fusible,
    is_half,
    stride_of,
)
from graphad.backends.loops.steps import buffers_read, buffers_written
from graphad.backends.loops.text import format_index, format_program
from graphad.backends.loops.visit import walk
from graphad.errors import VerifyError, at
from graphad.ir.loc import format_loc
from graphad.ir.lowering import COMPARISONS, ELEMENTARY, PAIRS, SCALAR_OPS
from graphad.ir.types import DType, b1, f32, i64, u32

#: Kinds of dtype that each operator is defined on (b bool, i and u integers, f floats).
KINDS: Final[dict[str, str]] = {
    **dict.fromkeys(("add", "sub", "mul", "neg", "abs", "rem"), "iuf"),
    **dict.fromkeys(("fma", "div", "sqrt", "floor", "ceil", "round", "trunc", "copysign"), "f"),
    **dict.fromkeys(("shl", "lshr", "ashr", "quo", "popcount", "clz"), "iu"),
    **dict.fromkeys(("and", "or", "xor", "not"), "biu"),
    **dict.fromkeys(("maximum", "minimum"), "biuf"),
    **dict.fromkeys(COMPARISONS, "biuf"),
    **dict.fromkeys(ELEMENTARY, "f"),
}
_CARRY_KINDS: Final[dict[str, str]] = {
    "sum": "iuf",
    "prod": "iuf",
    "max": "biuf",
    "min": "biuf",
    "and": "biu",
    "or": "biu",
    "last": "biuf",
}


def check_program(program: KernelProgram) -> None:
    """Raise `VerifyError`, with the program printed and the guilty line marked, unless ``program`` keeps the rules."""
    _Checker(program).run()


class _Checker:
    """One walk over a program; ``self.names`` holds the values in scope, ``self.extents`` the loops around."""

    def __init__(self, program: KernelProgram) -> None:
        self.program = program
        self.buffers: dict[str, Buffer] = {b.name: b for b in program.buffers}
        self.names: dict[str, DType] = {}
        self.used: set[str] = set()  # every name of the nest, in scope or not
        self.pairs: set[str] = set()
        self.extents: dict[str, int] = {}
        self.windows: dict[str, str] = {}  # what they look at
        self.vector: Loop | None = None
        self.here: object = None

    def fail(self, message: str) -> NoReturn:
        text = format_program(self.program, mark=self.here, message="here")
        raise VerifyError(at(format_loc(getattr(self.here, "loc", None)), f"{message}\n{text}"))

    def require(self, condition: bool, message: str) -> None:
        if not condition:
            self.fail(message)

    # ---- buffers and steps

    def run(self) -> None:
        roles = [b.role for b in self.program.buffers]
        order = ["input", "output", "temporary", "window"]
        self.require(
            roles == sorted(roles, key=order.index), "buffers are listed inputs, outputs, temporaries, windows"
        )
        self.require(len(self.buffers) == len(roles), "two buffers have one name")
        for buffer in self.program.buffers:
            self.require(buffer.name.isidentifier(), f"buffer name {buffer.name!r} is no identifier")
            self.require(buffer.size >= 0, f"buffer {buffer.name} has a negative size")
        self.require(self.program.name.isidentifier(), f"program name {self.program.name!r} is no identifier")
        self.steps(self.program.steps, set())

    def steps(self, steps: Sequence[Step], written: set[str]) -> None:
        """Steps in order; ``written`` are the buffers that hold something before them."""
        for step in steps:
            self.here = step
            self.step(step, written)
            self.here = step
            fresh = buffers_written(step)
            for name in buffers_read(step):
                known = self.buffers[name].role == "input" or name in written or name in fresh
                self.require(known or not self.buffers[name].size, f"{name} is read before anything is written to it")
            written |= fresh | {self.windows[name] for name in fresh if name in self.windows}

    def step(self, step: Step, written: set[str]) -> None:
        match step:
            case Counted(count=count, body=body):
                number = self.buffer(count)
                self.require(number.dtype is i64 and number.size == 1, f"{count} is not one i64")
                self.steps(body, set(written))
            case Repeat() | RepeatWhile():
                self.repeated(step, written)
            case LoopNest(body=body):
                self.names, self.used, self.pairs = {}, set(), set()
                for statement in body:
                    self.statement(statement)
            case Gemm():
                self.gemm(step)
            case RoutineCall():
                self.call(step)
            case Copy(target=target, source=source):
                to, of = self.target(target), self.buffer(source)
                self.require((to.size, to.dtype) == (of.size, of.dtype), "copy between buffers of different type")
            case HostCall(reads=reads, writes=writes):
                for name in reads:
                    self.buffer(name)
                for name in writes:
                    self.target(name)
                self.require(len({*reads, *writes}) == len({*reads}) + len(writes), "results of a callback overlap")
            case GuardStep(buffer=name, expected=expected):
                buffer = self.buffer(name)
                self.require(buffer.size > 0, f"guard on the empty buffer {name}")
                self.require(buffer.dtype is expected.dtype, f"guard expects {expected.dtype} of {buffer.dtype}")
                self.require(not buffer.dtype.is_float, "a guard's predicate is bool or integer")

    def repeated(self, step: Repeat | RepeatWhile, written: set[str]) -> None:
        """Steps that run several times: each window lies within its buffer, and what is swapped is alike."""
        known = {a for a, _ in step.swaps}
        if isinstance(step, Repeat):
            self.require(step.extent >= 0, "steps repeated less than no times")
            for w in step.windows:
                seen, of = self.buffer(w.name), self.buffer(w.buffer)
                self.require(seen.role == "window", f"{w.name} is no window")
                self.require(seen.dtype is of.dtype, f"{w.name} sees {of.dtype} as {seen.dtype}")
                ends = [w.offset + w.stride * t for t in (0, max(step.extent - 1, 0))]
                within = min(ends) >= 0 and max(ends) + seen.size <= of.size
                self.require(within or not step.extent, f"the window {w.name} leaves {w.buffer}")
                known.add(w.name)
                self.windows[w.name] = w.buffer
        else:
            condition = self.buffer(step.condition)
            self.require(condition.dtype is b1 and condition.size == 1, f"{step.condition} is not one bool")
        for a, b in step.swaps:
            one, other = self.target(a), self.target(b)
            self.require((one.size, one.dtype) == (other.size, other.dtype), f"{a} and {b} are not alike")
            self.require(one.role == other.role == "temporary", f"{a} and {b} are no temporaries")
        if isinstance(step, Repeat) and step.parallel:
            self.parallel(step, written | known)
        else:
            self.steps(step.body, written | known)

    def parallel(self, step: Repeat, written: set[str]) -> None:
        """Steps whose turns may run at once: none ends the program, and private memory is nobody else's."""
        kinds = (LoopNest, Gemm, RoutineCall, Copy)
        self.require(all([isinstance(s, kinds) for s in step.body]), "a parallel turn has steps of other kinds")
        self.require(not step.swaps and not step.reverse, "parallel turns have an order")
        for name in step.private:
            self.require(self.buffer(name).role == "temporary", f"{name} is private, and no temporary")
        self.extents[step.var] = step.extent
        self.steps(step.body, written - {*step.private})
        del self.extents[step.var]

    def buffer(self, name: str) -> Buffer:
        found = self.buffers.get(name)
        return found if found is not None else self.fail(f"there is no buffer {name}")

    def target(self, name: str) -> Buffer:
        found = self.buffer(name)
        self.require(found.role != "input", f"{name} is an input and must not be written")
        return found

    def gemm(self, g: Gemm) -> None:
        self.require(g.dtype.is_float, f"gemm computes in floats, not {g.dtype}")
        for fault in faults_of_dtypes(g, {name: b.dtype for name, b in self.buffers.items()}):
            self.fail(fault)
        self.require(min(g.m, g.n, g.k, g.batch) >= 0, "gemm of negative size")
        self.require(not g.c.transposed, "the result of a gemm is not transposed")
        self.require(g.c.buffer not in (g.a.buffer, g.b.buffer, g.bias), "the result of a gemm overlaps an operand")
        self.target(g.c.buffer)
        for matrix, rows, columns, each in (
            (g.a, g.m, g.k, g.a_step),
            (g.b, g.k, g.n, g.b_step),
            (g.c, g.m, g.n, g.c_step),
        ):
            self.matrix(g, matrix, *((columns, rows) if matrix.transposed else (rows, columns)), each)
        if g.symmetric:
            other = replace(g.b, transposed=not g.b.transposed)
            self.require(g.a == other and g.a_step == g.b_step, "the factors of a symmetric product are transposes")
            self.require(not g.is_fused, "a symmetric product has no epilogue")
        if g.bias is not None:
            within = 0 <= g.bias_offset <= self.buffer(g.bias).size - g.n
            self.require(within, f"gemm leaves {g.bias}: a bias from element {g.bias_offset} on")

    def call(self, c: RoutineCall) -> None:
        row = ROUTINES.get(c.routine)
        if row is None:
            self.fail(f"there is no routine {c.routine}")
        names = (*c.reads, *c.writes)
        self.require(len(c.reads) == row.reads and len(names) == len(row.buffers), "wrong number of buffers")
        self.require(c.dtype.name in row.dtypes, f"{c.routine} is not for {c.dtype}")
        pairs = [(c.reads[i], c.writes[k - row.reads]) for i, k in row.overwrites]
        shared = [r for r, w in pairs if r == w and c.reads.count(r) == 1]
        others = len({*c.reads}) + len(c.writes) - len(shared)
        self.require(len({*c.reads, *c.writes}) == others, "a routine writes what it uses")
        for name in c.writes:
            self.target(name)
        for name, kind, least in zip(names, row.buffers, row.extents(*c.sizes), strict=True):
            buffer, wanted = self.buffer(name), c.dtype.name if kind == "T" else kind
            self.require(buffer.dtype.name == wanted, f"{name} is {buffer.dtype}, not {wanted}")
            self.require(buffer.size >= least, f"{c.routine} leaves {name}: it needs {least} of {buffer.size} elements")

    def matrix(self, g: Gemm, m: Matrix, rows: int, columns: int, each: int) -> None:
        buffer = self.buffer(m.buffer)
        if not rows or not columns or not g.batch:
            return
        self.require(m.row_stride >= columns or rows == 1, f"rows of {m.buffer} overlap")
        last = m.offset + each * (g.batch - 1) + m.row_stride * (rows - 1) + columns - 1
        self.require(min(m.offset, each) >= 0 and last < buffer.size, f"gemm leaves {m.buffer}: last element {last}")

    # ---- statements

    def statement(self, s: Statement) -> None:
        self.here = s
        match s:
            case Let():
                self.let(s)
            case Position(name=name, dtype=dtype, index=index):
                self.range_of(index)
                self.require(dtype.kind in "iuf", f"a position is a number, not {dtype}")
                self.define(name, dtype)
            case Load(name=name, buffer=buffer, index=index, dynamic=dynamic):
                self.access(self.buffer(buffer), index, dynamic)
                self.define(name, self.buffer(buffer).dtype)
            case Store(buffer=buffer, index=index, value=value, dynamic=dynamic, mask=mask):
                to = self.target(buffer)
                self.access(to, index, dynamic)
                self.require(self.dtype(value) is to.dtype, f"{self.dtype(value)} stored to {to.dtype} buffer {buffer}")
                self.require(mask is None or self.dtype(mask) is b1, f"mask {mask} is not bool")
            case Loop():
                self.loop(s)
            case While():
                self.while_loop(s)

    def define(self, name: str, dtype: DType) -> None:
        self.require(name.isidentifier(), f"value name {name!r} is no identifier")
        self.require(name not in self.used, f"{name} is defined twice in this nest")
        self.used.add(name)
        self.names[name] = dtype

    def dtype(self, value: Operand) -> DType:
        if not isinstance(value, str):
            return value.dtype
        self.require(value in self.names, f"{value} is not defined here")
        self.require(value not in self.pairs, f"{value} is a pair: take pair0 or pair1 of it")
        return self.names[value]

    def access(self, buffer: Buffer, index: Index, dynamic: str | None) -> None:
        if buffer.private:
            self.require(self.vector is not None, f"{buffer.name} is private to lanes, and used outside of them")
        low, high = self.range_of(index)
        if dynamic is not None:
            self.require(self.dtype(dynamic) is i64, f"dynamic index {dynamic} is not i64")
        elif all(self.extents.values()):  # a loop without iterations accesses nothing
            within = low >= 0 and high < buffer.size
            text = f"{buffer.name}[{format_index(index)}] reaches {low}..{high} of {buffer.size} elements"
            self.require(within, text)

    def range_of(self, index: Index) -> tuple[int, int]:
        for var, _ in index.terms:
            self.require(var in self.extents, f"{var} is no loop variable here")
        return index_range(index, self.extents)

    def let(self, s: Let) -> None:
        self.require(s.op in SCALAR_OPS, f"{s.op} is not an operator")
        self.require(len(s.args) == SCALAR_OPS[s.op], f"{s.op} takes {SCALAR_OPS[s.op]} operands")
        if s.op in PAIRS:
            self.require(isinstance(s.args[0], str) and s.args[0] in self.pairs, f"{s.args[0]} is not a pair")
            self.require(s.dtype is u32, f"{s.op} gives u32")
        else:
            self.types(s, [self.dtype(a) for a in s.args])
        self.define(s.name, s.dtype)
        if s.op == "threefry2x32":
            self.pairs.add(s.name)

    def types(self, s: Let, args: list[DType]) -> None:
        """Operand and result dtypes of an operator of one result."""
        shown = f"{s.op} of ({', '.join(d.name for d in args)}) to {s.dtype}"
        match s.op:
            case "cast":
                return
            case "bitcast":
                good = args[0].bits == s.dtype.bits and b1 not in (args[0], s.dtype)
            case "select":
                good = args == [b1, s.dtype, s.dtype]
            case "threefry2x32":
                good = {*args, s.dtype} == {u32}
            case op if op in COMPARISONS:
                good = s.dtype is b1 and args[0] is args[1] and args[0].kind in KINDS[op]
            case op:
                good = all(a is s.dtype for a in args) and s.dtype.kind in KINDS[op]
                good = good and (op != "fma" or is_fusible(s.dtype))
        self.require(good, f"wrong types: {shown}")

    # ---- loops

    def loop(self, loop: Loop) -> None:
        self.require(loop.extent >= 0, "a loop of negative extent")
        self.require(loop.var.isidentifier(), f"loop variable {loop.var!r} is no identifier")
        self.require(loop.var not in self.extents and loop.var not in self.used, f"{loop.var} is defined twice")
        if loop.vector:
            self.vector_rules(loop)
        outer = self.vector
        self.vector = loop if loop.vector else outer
        self.extents[loop.var] = loop.extent
        self.carried(loop.carries, loop.body, loop)
        del self.extents[loop.var]
        self.vector = outer

    def while_loop(self, loop: While) -> None:
        carries = {c.name: c for c in loop.carries}
        self.require(all(c.combine == "last" for c in loop.carries), "a while loop combines nothing")
        self.require(loop.condition in carries, f"{loop.condition} is no carry of its loop")
        self.require(carries[loop.condition].dtype is b1, f"{loop.condition} is not bool")
        if self.vector is not None:
            self.require(not any(isinstance(s, Store) for s in walk(loop.body)), "lanes store in a while loop")
        self.carried(loop.carries, loop.body, loop)

    def carried(self, carries: tuple[Carry, ...], body: tuple[Statement, ...], loop: Statement) -> None:
        """The carries of a loop, and the body in which they are known."""
        for c in carries:
            self.require(self.dtype(c.init) is c.dtype, f"{c.name} starts as {self.dtype(c.init)}, not {c.dtype}")
            self.require(c.dtype.kind in _CARRY_KINDS[c.combine], f"no {c.combine} of {c.dtype}")
            fused = c.combine == "sum" and is_fusible(c.dtype)
            self.require(c.factor is None or fused, f"no {c.combine} of products of {c.dtype}")
        outside = dict(self.names)
        for c in carries:
            self.define(c.name, c.dtype)
            if c.combine != "last":  # its running value depends on the order of the iterations
                del self.names[c.name]
        for statement in body:
            self.statement(statement)
        self.here = loop
        for c in carries:
            for value in c.reads:
                self.require(self.dtype(value) is c.dtype, f"{c.name} goes on as {self.dtype(value)}, not {c.dtype}")
        self.names = outside | {c.name: c.dtype for c in carries}

    def vector_rules(self, loop: Loop) -> None:
        self.require(self.vector is None, "a vector loop within a vector loop")
        self.require(all(c.combine != "last" for c in loop.carries), "a vector loop with a last carry")
        if loop.extent <= 1:
            return
        accesses = [s for s in walk(loop.body) if isinstance(s, (Load, Store))]
        accesses = [s for s in accesses if not self.buffer(s.buffer).private]
        for s in accesses:
            moves = s.dynamic is not None or stride_of(s.index, loop.var) != 0
            self.require(moves or isinstance(s, Load), f"every lane stores to the same element of {s.buffer}")
        for name in {s.buffer for s in accesses if isinstance(s, Store)}:
            strides = {stride_of(s.index, loop.var) for s in accesses if s.buffer == name and s.dynamic is None}
            self.require(len(strides) <= 1, f"iterations of a vector loop depend on each other through {name}")


def faults_of_dtypes(g: Gemm, dtypes: Mapping[str, DType]) -> Iterable[str]:
    """What is wrong with the dtypes of a product, given those of buffers."""
    if g.c_dtype not in ((g.dtype, f32) if is_half(g.dtype) else (g.dtype,)):
        yield f"a product of {g.dtype} is not stored as {g.c_dtype}"
    for name, dtype in ((g.a.buffer, g.dtype), (g.b.buffer, g.dtype), (g.c.buffer, g.c_dtype), (g.bias, g.c_dtype)):
        if name is not None and dtypes.get(name) is not dtype:
            yield f"{name} is {dtypes.get(name, 'no buffer')} in a gemm of {g.dtype}"
