"""The statements that compute one element of a value of a plan."""

from __future__ import annotations

from graphad.backends.loops.ir import Operand
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
from graphad.backends.lower.plan import Plan
from graphad.backends.lower.scopes import Scopes, index_of
from graphad.backends.lower.storage import Storage
from graphad.ir.graph import Atom
from graphad.ir.types import Literal, b1, i64, literal


class Expressions(Scopes):
    """Computes elements of the values of a plan."""

    def __init__(self, plan: Plan, storage: Storage) -> None:
        super().__init__()
        self._values = plan.flat.values
        self._decisions = plan.decisions
        self._storage = storage

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
                return self.position(definition.aval.dtype, at[axis], definition.loc)
            case GatherValue():
                return self._gather(definition, at)
            case _:
                raise AssertionError(f"{definition} is not computed where it is read")

    def _load_element(self, value: int, at: Coords) -> Operand:
        buffer, strides = self._storage.where(value)
        # Not hoisted further than its coordinates: a buffer may be reused in every iteration.
        return self.load(buffer, index_of(linear(at, strides)), None, self.depth(*at), self._values[value].loc)

    # ---- indices

    def _gather(self, definition: GatherValue, at: Coords) -> Operand:
        source, loc = definition.source, definition.loc
        affine, dynamic, valid = self.address(definition, source.offset, source.strides, at)
        depth = max(self.depth(affine), self.depth_of[dynamic])
        element = self.load(self._storage.where(source.value)[0], index_of(affine), dynamic, depth, loc)
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
