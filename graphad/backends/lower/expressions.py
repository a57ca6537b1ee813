"""The statements that compute one element, with common subexpressions eliminated and loop-invariant code hoisted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphad.backends.loops.ir import Carry, Index, Let, Load, Operand, Position, Statement
from graphad.backends.lower.affine import Coordinate, Coords, Shape, compose, linear
from graphad.backends.lower.anchors import gather_operands
from graphad.backends.lower.definitions import (
    ConstantValue,
    Definition,
    GatherValue,
    InputValue,
    IotaValue,
    MapValue,
    ReshapeValue,
    ScatterValue,
    ViewValue,
)
from graphad.backends.lower.nests import Anchor
from graphad.backends.lower.plan import Plan
from graphad.backends.lower.scalars import Template
from graphad.backends.lower.storage import Storage
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc
from graphad.ir.types import DType, Literal, b1, i64, literal

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
    done: list[tuple[Anchor, str]] = field(default_factory=list)


class Expressions:
    """Computes elements in the scopes of one nest at a time.

    Attributes
    ----------
    scopes
        From the nest's own to that of the innermost loop.
    known
        The values that have a name in scope.
    depth_of
        The depth of the scope of each name and loop variable.
    """

    def __init__(self, plan: Plan, storage: Storage) -> None:
        self._values = plan.flat.values
        self._decisions = plan.decisions
        self._storage = storage
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

    # ---- elements

    def read(self, atom: Atom, coords: Coords) -> Operand:
        """The element of ``atom`` at ``coords``: known, loaded, or computed here."""
        if type(atom) is not int:
            return atom  # type: ignore[return-value]
        known = self.known
        found = known.get((atom, coords))
        if found is not None:
            return found
        stack: list[tuple[int, Coords]] = [(atom, coords)]
        while stack:
            key = stack[-1]
            if key in known:
                stack.pop()
                continue
            value, at = key
            definition = self._values[value]
            in_memory = self._in_memory(value, definition)
            missing = [] if in_memory else [i for i in _inputs(definition, at) if i not in known]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            result = self._load_element(value, at) if in_memory else self._compute(definition, at)
            self.know(key, result, self.depth_of[result] if type(result) is str else 0)
        return known[(atom, coords)]

    def define(self, value: int, at: Coords) -> Operand:
        """Compute the element of a map-like anchor."""
        definition = self._values[value]
        if type(definition) is MapValue:  # by far the most, so by the shortest way
            operands = [self.read(a, at) for a in definition.inputs]
            return self.expand(definition.template, operands, definition.loc)
        for v, c in _inputs(definition, at):
            self.read(v, c)
        return self._compute(definition, at)

    def _in_memory(self, value: int, definition: Definition) -> bool:
        """Whether an element without a name in scope is loaded rather than computed."""
        kind = type(definition)
        return bool(self._decisions.anchored[value]) or kind is InputValue or kind is ReshapeValue or (
            value in self._decisions.same_buffer
        )  # fmt: skip

    def _compute(self, definition: Definition, at: Coords) -> Operand:
        """The element of a definition whose operands are known."""
        known = self.known
        match definition:
            case MapValue(template=template, inputs=inputs):
                operands: list[Operand] = [known[(a, at)] if type(a) is int else a for a in inputs]  # type: ignore[misc]
                return self.expand(template, operands, definition.loc)
            case ViewValue(operand=operand, dims=dims):
                return known[(operand, compose(dims, at))]
            case ConstantValue(literal=constant):
                return constant
            case IotaValue(axis=axis):
                return self._position(definition.aval.dtype, at[axis], definition.loc)
            case GatherValue():
                return self._gather(definition, at)
            case _:
                raise AssertionError(f"{definition} is not computed where it is read")

    def _load_element(self, value: int, at: Coords) -> Operand:
        buffer, strides = self._storage.where(value)
        # Not hoisted further than its coordinates: a buffer may be reused in every iteration.
        return self._load(buffer, index_of(linear(at, strides)), None, self.depth(*at), self._values[value].loc)

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

    def _position(self, dtype: DType, at: Coordinate, loc: Loc) -> Operand:
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

    def _load(self, buffer: str, index: Index, dynamic: str | None, depth: int, loc: Loc) -> Operand:
        """An element of a buffer, loaded in the scope at ``depth`` unless it is known."""
        key = ("load", buffer, index, dynamic)
        found = self.known.get(key)
        if found is None:
            found = self.name("t", depth)
            self.scopes[depth].statements.append(Load(found, buffer, index, dynamic, loc))
            self.know(key, found, depth)
        return found

    # ---- indices

    def _gather(self, definition: GatherValue, at: Coords) -> Operand:
        source, loc = definition.source, definition.loc
        affine, dynamic, valid = self.address(definition, source.offset, source.strides, at)
        depth = max(self.depth(affine), self.depth_of[dynamic])
        element = self._load(self._storage.where(source.value)[0], index_of(affine), dynamic, depth, loc)
        if definition.fill is None:
            return element
        return self.let("select", definition.aval.dtype, (valid, element, definition.fill), loc)

    def address(
        self, definition: GatherValue | ScatterValue, offset: int, strides: Shape, at: Coords
    ) -> tuple[Coordinate, str, str]:
        """The address of an element at indices: affine part, name of the dynamic part, name of the bounds check."""
        indices = [self.read(v, c) for v, c in gather_operands(definition, at)]
        loc, zero = definition.loc, literal(0, i64)
        dynamic: Operand = zero
        valid: Operand = literal(True, b1)
        for axis, index in zip(definition.axes, indices, strict=True):
            limit = literal(axis.limit, i64)
            wide = self.let("cast", i64, (index,), loc)
            above, below = self.let("ge", b1, (wide, zero), loc), self.let("le", b1, (wide, limit), loc)
            inside = self.let("and", b1, (above, below), loc)
            kept = self.let("minimum", i64, (self.let("maximum", i64, (wide, zero), loc), limit), loc)
            moved = kept if axis.stride == 1 else self.let("mul", i64, (kept, literal(axis.stride, i64)), loc)
            valid = inside if type(valid) is Literal else self.let("and", b1, (valid, inside), loc)
            dynamic = moved if type(dynamic) is Literal else self.let("add", i64, (dynamic, moved), loc)
        start, terms = linear(at, strides)
        assert isinstance(dynamic, str), "at least one axis is indexed"
        assert isinstance(valid, str), "at least one axis is indexed"
        return (offset + start, terms), dynamic, valid


def _inputs(definition: Definition, at: Coords) -> list[tuple[int, Coords]]:
    """The operands, with coordinates, that an inlined definition needs for its element at ``at``."""
    match definition:
        case MapValue(inputs=inputs):
            return [(a, at) for a in inputs if type(a) is int]
        case ViewValue(operand=operand, dims=dims):
            return [(operand, compose(dims, at))]
        case GatherValue():
            return gather_operands(definition, at)
        case _:
            return []


def index_of(at: Coordinate) -> Index:
    """A coordinate as an `Index` of loop programs."""
    return Index(at[0], at[1])
