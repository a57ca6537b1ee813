"""A builder of statements: each call appends one, under a fresh name where it makes a value."""

from __future__ import annotations

from collections.abc import Sequence

from graphad.backends.cuda.program.ir import Atomic, Axis, Barrier, DeviceStatement, Scan, Spread
from graphad.backends.loops.ir import Carry, Index, Let, Load, Loop, Operand, Position, Statement, Store
from graphad.backends.loops.rewrites import Names
from graphad.ir.loc import Loc
from graphad.ir.types import DType, literal


class Body:
    """The body of a loop or kernel under construction; ``statements`` is what it has so far."""

    def __init__(self, names: Names, loc: Loc) -> None:
        self.names = names
        self.loc = loc
        self.statements: list[DeviceStatement] = []

    def inner(self) -> Body:
        """An empty body for a loop in this one."""
        return Body(self.names, self.loc)

    def plain(self) -> tuple[Statement, ...]:
        """The statements, none of which is for a device alone."""
        assert not any(isinstance(s, (Spread, Scan, Barrier)) for s in self.statements), "a body for any machine"
        return tuple([s for s in self.statements if isinstance(s, (Let, Position, Load, Store, Loop))])

    # ---- scalars and memory

    def let(self, dtype: DType, op: str, *args: Operand) -> str:
        """The name of ``op(args)``."""
        name = self.names.fresh("t")
        self.statements.append(Let(name, dtype, op, args, self.loc))
        return name

    def cast(self, value: str, dtype: DType, to: DType) -> str:
        """``value`` of ``dtype`` as one of dtype ``to``."""
        return value if dtype is to else self.let(to, "cast", value)

    def position(self, dtype: DType, index: Index) -> str:
        """The name of a loop coordinate as a number."""
        name = self.names.fresh("t")
        self.statements.append(Position(name, dtype, index, self.loc))
        return name

    def load(self, buffer: str, index: Index, dynamic: str | None = None) -> str:
        """The name of an element."""
        name = self.names.fresh("t")
        self.statements.append(Load(name, buffer, index, dynamic, self.loc))
        return name

    def store(
        self, buffer: str, index: Index, value: Operand, dynamic: str | None = None, mask: str | None = None
    ) -> None:
        """Store an element."""
        self.statements.append(Store(buffer, index, value, dynamic, mask, self.loc))

    def count(self, buffer: str, dtype: DType, dynamic: str, mask: str | None) -> None:
        """Add 1 to an element that other threads may add to as well."""
        self.statements.append(Atomic(buffer, Index(), literal(1, dtype), dynamic, mask, self.loc, "sum"))

    # ---- loops

    def loop(self, var: str, extent: int, body: Body, carries: Sequence[Carry] = ()) -> None:
        """A loop that each thread runs on its own."""
        self.statements.append(Loop(var, extent, body.plain(), tuple(carries), loc=self.loc))

    def spread(self, axes: Sequence[Axis], body: Body) -> None:
        """A loop shared out among the threads of the group."""
        self.statements.append(Spread(tuple(axes), tuple(body.statements), loc=self.loc))

    def scan(self, dtype: DType, value: str) -> str:
        """The name of the sum of ``value`` before this iteration; after the loop, of the sum of all."""
        before, upto = self.names.fresh("before"), self.names.fresh("upto")
        self.statements.append(Scan(before, upto, dtype, "sum", literal(0, dtype), value, loc=self.loc))
        return before

    def barrier(self) -> None:
        """Wait for the other threads of the group."""
        self.statements.append(Barrier(self.loc))
