"""Statements under construction: the scopes of the loops of one nest, and the values that have a name in them.

Common subexpressions are eliminated as statements are made, and what does not depend on a loop is hoisted out of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphad.backends.loops.ir import Carry, Index, Let, Load, Operand, Position, Statement
from graphad.backends.lower.affine import Coordinate
from graphad.backends.lower.scalars import Template
from graphad.ir.loc import Loc
from graphad.ir.types import DType, literal

Key = Any  # of the table of known values: a value at coords, an operator with its operands, a place in a buffer


@dataclass(slots=True, eq=False)
class Scope:
    """The body of one loop under construction, or of the nest (depth 0).

    ``keys`` are a loop's entries in the table of known values (that of a nest ends with it); ``done`` holds the
    reductions that are complete after the loop, with the names of their results.
    """

    statements: list[Statement] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    carries: list[Carry] = field(default_factory=list)
    done: list[tuple[Any, str]] = field(default_factory=list)


class Scopes:
    """Statements in the scopes of one nest at a time.

    Attributes
    ----------
    scopes
        From the nest's own to that of the innermost loop.
    known
        The values that have a name in scope.
    depth_of
        The depth of the scope of each name and loop variable.
    """

    def __init__(self) -> None:
        self._names = 0
        self.scopes: list[Scope] = []
        self.known: dict[Key, Operand] = {}
        self.depth_of: dict[str, int] = {}

    def open_nest(self) -> Scope:
        """Start a nest with an empty table of known values."""
        self.known, self.depth_of, self.scopes = {}, {}, [Scope()]
        return self.scopes[0]

    def close_scope(self) -> Scope:
        """Leave the innermost loop: its values go out of scope."""
        scope = self.scopes.pop()
        for key in scope.keys:
            del self.known[key]
        return scope

    def emit(self, statement: Statement) -> None:
        """Append to the innermost scope."""
        self.scopes[-1].statements.append(statement)

    def name(self, letter: str, depth: int) -> str:
        """A new name, in scope at ``depth``."""
        name = f"{letter}{self._names}"
        self._names += 1
        self.depth_of[name] = depth
        return name

    def know(self, key: Key, operand: Operand, depth: int) -> None:
        """Enter a result into the table, until the scope at ``depth`` is closed."""
        self.known[key] = operand
        if depth:
            self.scopes[depth].keys.append(key)

    def depth(self, *at: Coordinate) -> int:
        """The innermost loop that these coordinates depend on."""
        innermost = 0
        for _, terms in at:
            for variable, _ in terms:
                innermost = max(innermost, self.depth_of[variable])
        return innermost

    # ---- scalar operators

    def expand(self, template: Template, operands: list[Operand], loc: Loc) -> Operand:
        """The statements of a scalar expression."""
        instructions, result, _ = template
        results: list[Operand] = []
        for op, dtype, args in instructions:
            given = tuple([(operands[a] if a >= 0 else results[~a]) if type(a) is int else a for a in args])
            results.append(self.let(op, dtype, given, loc))  # type: ignore[arg-type]
        return (operands[result] if result >= 0 else results[~result]) if type(result) is int else result  # type: ignore[return-value]

    def let(self, op: str, dtype: DType, args: tuple[Operand, ...], loc: Loc) -> Operand:
        """``op(args)``, known already or hoisted to the outermost scope where all of ``args`` are known."""
        key = (op, dtype, args)
        found = self.known.get(key)
        if found is None:
            depth, depth_of = 0, self.depth_of
            if len(self.scopes) > 1:
                depth = max([depth_of[a] for a in args if type(a) is str], default=0)
            found = self.name("t", depth)
            self.scopes[depth].statements.append(Let(found, dtype, op, args, loc))
            self.know(key, found, depth)
        return found

    def position(self, dtype: DType, at: Coordinate, loc: Loc) -> Operand:
        if not at[1]:
            return literal(at[0], dtype)
        key = ("position", dtype, at)
        found = self.known.get(key)
        if found is None:
            depth = self.depth(at)
            found = self.name("t", depth)
            self.scopes[depth].statements.append(Position(found, dtype, index_of(at), loc))
            self.know(key, found, depth)
        return found

    def forget(self, buffer: str) -> None:
        """Load elements of ``buffer`` anew from here on: they have changed."""
        for scope_keys in [scope.keys for scope in self.scopes[1:]]:
            scope_keys[:] = [key for key in scope_keys if key[:2] != ("load", buffer)]
        for key in [key for key in self.known if key[:2] == ("load", buffer)]:
            del self.known[key]

    def load(self, buffer: str, index: Index, dynamic: str | None, depth: int, loc: Loc) -> Operand:
        """An element of a buffer, loaded in the scope at ``depth`` unless it is known."""
        key = ("load", buffer, index, dynamic)
        found = self.known.get(key)
        if found is None:
            found = self.name("t", depth)
            self.scopes[depth].statements.append(Load(found, buffer, index, dynamic, loc))
            self.know(key, found, depth)
        return found


def index_of(at: Coordinate) -> Index:
    """A coordinate as an `Index` of loop programs."""
    return Index(at[0], at[1])
