"""The statements of loop programs as lines of Python for Numba: what the CPU's source and the device's share."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Gemm,
    Index,
    Let,
    Load,
    Loop,
    Matrix,
    Operand,
    Position,
    Store,
    While,
)
from graphad.backends.loops.text import format_gemm, format_sum
from graphad.backends.numba.scalar import Expressions, constant, scalar_type
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import EXTENT, DType, f32, f64, i64

#: float32 sums over more iterations than this are accumulated in float64, as the source shows.
PLAIN_SUM: Final = 64


def arrays_text(buffers: Sequence[Buffer]) -> list[str]:
    """Lines of a docstring that list inputs and outputs."""
    titles, lines = {"input": "Inputs", "output": "Outputs"}, list[str]()
    for role, title in titles.items():
        text = f"{title}: {', '.join([f'{b.name}: {b.dtype.name}[{b.size}]' for b in buffers if b.role == role])}"
        lines += textwrap.wrap(text, width=100, subsequent_indent="    ")
    return lines


class NestSource:
    """Lines of one function, and the Python name of every buffer, value and loop variable in it.

    Parameters
    ----------
    buffers
        Those that the statements mention.
    reserved
        Names that are taken.
    expressions
        Writes the scalar operators.
    """

    def __init__(self, buffers: Mapping[str, Buffer], reserved: Iterable[str], expressions: Expressions) -> None:
        self.buffers = buffers
        self.reserved = frozenset(reserved)
        self.expressions = expressions
        self.dtypes: dict[str, DType] = {}
        self.fixed: dict[str, int] = {}  # variables of loops that run once
        self.taken: dict[str, object] = {}  # Python name -> what it stands for
        self.given: dict[object, str] = {}
        self.lines: list[str] = []

    def name(self, name: str, meaning: object) -> str:
        """The Python name of ``name``: itself, unless that is taken."""
        key = (name, meaning)
        found = self.given.get(key)
        if found is None:
            found = name
            while found in self.reserved or self.taken.get(found, key) != key:
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
        """The element of an array."""
        return f"{self.name(buffer, 'buffer')}[{self.index(index, dynamic)}]"

    # ---- matrix products

    def gemm(self, g: Gemm, function: str = "gemm", *more: str, text: str | None = None, depth: int = 1) -> None:
        """Calls of a function for matrix products, with ``more`` arguments behind the product's, below its text."""
        self.line(depth, f"# {text or format_gemm(g)}")
        member = self.name("member", "index")
        if g.batch != 1:
            self.line(depth, f"for {member} in range({g.batch}):", g.loc)
            depth += 1

        def matrix(m: Matrix, each: int) -> str:
            start = format_sum([(member, each if g.batch != 1 else 0)], m.offset, " * ")
            return f"{self.name(m.buffer, 'buffer')}, {start}, {m.row_stride}"

        a, b, c = matrix(g.a, g.a_step), matrix(g.b, g.b_step), matrix(g.c, g.c_step)
        factors, sizes = [f"({a}, {g.a.transposed})", f"({b}, {g.b.transposed})"], [str(g.m), str(g.n), str(g.k)]
        if g.symmetric:
            factors, sizes = factors[:1], sizes[1:]
        args = [*sizes, *factors, f"({c})", *more]
        self.line(depth, f"{function}({', '.join(args)})", g.loc)

    # ---- statements

    def statements(self, body: Iterable[Any], depth: int) -> None:
        for s in body:
            match s:
                case Let():
                    self.let(s, depth)
                case Load(name=name, buffer=buffer, index=index, dynamic=dynamic, loc=loc):
                    dtype = self.buffers[buffer].dtype
                    text = self.expressions.loaded(self.element(buffer, index, dynamic), dtype)
                    self.line(depth, f"{self.define(name, dtype)} = {text}", loc)
                case Store():
                    self.store(s, depth)
                case Position(name=name, dtype=dtype, index=index, loc=loc):
                    text = self.expressions.cast(f"np.int64({self.index(index)})", i64, dtype)
                    self.line(depth, f"{self.define(name, dtype)} = {text}", loc)
                case Loop():
                    self.loop(s, depth)
                case While():
                    self.while_loop(s, depth)
                case _:
                    raise AssertionError(f"unknown statement {s!r}")

    def store(self, s: Store, depth: int) -> None:
        if s.mask is not None:
            self.line(depth, f"if {self.operand(s.mask)}:", s.loc)
            depth += 1
        text = self.expressions.stored(self.operand(s.value), self.buffers[s.buffer].dtype)
        self.line(depth, f"{self.element(s.buffer, s.index, s.dynamic)} = {text}", s.loc)

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
            wide = loop.extent > PLAIN_SUM and is_widened(c)
            self.line(depth, f"{name} = np.float64({start})" if wide else f"{name} = {start}", loop.loc)
        if loop.extent == 1:
            self.fixed[loop.var] = 0
            self.body(loop.body, loop.carries, running, depth, loop.loc)
            del self.fixed[loop.var]
        elif loop.extent > 1:
            n = "n" if loop.extent == EXTENT else loop.extent
            span = f"range({n} - 1, -1, -1)" if loop.reverse else f"range({n})"
            self.line(depth, f"for {self.name(loop.var, 'index')} in {span}:", loop.loc)
            self.body(loop.body, loop.carries, running, depth + 1, loop.loc)
        for c, name in zip(loop.carries, running, strict=True):
            if loop.extent > PLAIN_SUM and is_widened(c):
                self.line(depth, f"{self.name(c.name, c.dtype)} = np.float32({name})", loop.loc)

    def while_loop(self, loop: While, depth: int) -> None:
        starts = [self.operand(c.init) for c in loop.carries]
        running = [self.define(c.name, c.dtype) for c in loop.carries]
        for name, start in zip(running, starts, strict=True):
            self.line(depth, f"{name} = {start}", loop.loc)
        condition = running[[c.name for c in loop.carries].index(loop.condition)]
        self.line(depth, f"{'if' if loop.is_branch else 'while'} {condition}:", loop.loc)
        self.body(loop.body, loop.carries, running, depth + 1, loop.loc)

    def running(self, c: Carry, extent: int) -> str:
        """The variable that holds a carry while its loop runs."""
        name = self.define(c.name, c.dtype)
        return self.name(f"{c.name}_wide", f64) if extent > PLAIN_SUM and is_widened(c) else name

    def body(
        self, statements: Sequence[Any], carries: Sequence[Carry], running: Sequence[str], depth: int, loc: Loc
    ) -> None:
        """One iteration of a loop; ``running`` names the variables of its carries."""
        before = len(self.lines)
        self.statements(statements, depth)
        following: dict[str, str] = {}
        for c, name in zip(carries, running, strict=True):
            if c.combine == "last":
                following[name] = self.operand(c.update)
            else:
                self.line(depth, f"{name} = {self.following(c, name)}", loc)
        if following:
            self.line(depth, f"{', '.join(following)} = {', '.join(following.values())}", loc)
        if len(self.lines) == before:
            self.line(depth, "pass")

    def following(self, c: Carry, running: str) -> str:
        """The next value of a carry that is reordered; ``running`` is the variable that holds it."""
        values = [self.operand(value) for value in c.reads]
        if c.factor is None:
            return self.combined(c, values[0], running)
        if running == self.name(c.name, c.dtype):
            return self.expressions.helper("fma", *values, running)
        return f"{running} + {' * '.join([f'np.float64({value})' for value in values])}"  # exact products

    def combined(self, c: Carry, update: str, running: str) -> str:
        """A carry combined with one more value."""
        if c.combine in ("max", "min"):
            return self.expressions.extreme(c.combine + "imum", c.dtype, update, running)
        sign = {"sum": "+", "prod": "*", "and": "&", "or": "|"}[c.combine]
        text = f"{running} {sign} {update}"
        if c.dtype.is_integer:
            return f"{scalar_type(c.dtype)}({text})"
        return self.expressions.rounded(text, c.dtype)


def is_widened(c: Carry) -> bool:
    """Whether a long loop keeps this carry in float64."""
    return c.combine == "sum" and c.dtype is f32
