"""Fusion decisions: which values of a flat program are roots of fusion, and what each of those reads.

A fusion root, here an *anchor*, gets a place among the loops: results of reductions, scans, scatters and layouts,
values that must lie in a buffer, and maps that several others read and that cost too much to recompute. All other
values are inlined into their readers. An anchor need not be materialized: if all its readers are at the same point of
the same loops, it stays in a register (`nests` decides that).
"""

from __future__ import annotations

from typing import Final

from graphad.backends.lower.affine import ZERO, Coordinate, Coords, Shape, compose, identity, linear, row_major
from graphad.backends.lower.definitions import (
    ConstantValue,
    Definition,
    FlatProgram,
    GatherValue,
    GemmValue,
    HostCallValue,
    HostResultValue,
    InputValue,
    IotaValue,
    MapValue,
    PiecesValue,
    ReduceValue,
    ReshapeValue,
    ScanValue,
    ScatterValue,
    ViewValue,
)
from graphad.backends.lower.region_values import (
    Call,
    ResultValue,
)

#: Maps of at most this cost (in additions, see `scalars`) are recomputed for every reader.
CHEAP: Final = 3.0
_GATHER_COST: Final = 4
_UNBOUNDED: Final = float("inf")
_SEVERAL: Final = -1
_NONE: Final = 0


class Decisions:
    """What `decide` finds: per value, whether it is live, an anchor, and required in a buffer.

    ``same_buffer`` says that a copy is elided: it takes over the buffer of the value that it copies. ``overwrites`` has
    the same for results of loops and branches: what each is in the buffer of.
    """

    __slots__ = ("_budget", "_flat", "_place", "_reader", "anchored", "live", "overwrites", "same_buffer", "stored")

    def __init__(self, flat: FlatProgram) -> None:
        n = len(flat.values)
        self._flat = flat
        self.live, self.anchored, self.stored = bytearray(n), bytearray(n), bytearray(n)
        self.same_buffer: dict[int, int] = {}
        self.overwrites: dict[int, int] = {}
        # Of all readers of a value: the one anchor that it is computed for, at which place in it, and what it may cost.
        self._reader = [_NONE] * n
        self._place = [0] * n
        self._budget = [_UNBOUNDED] * n

    def read(self, value: object, reader: int, place: int, budget: float) -> None:
        """Note that ``value`` is read at ``place`` of what is computed for anchor number ``reader - 1``."""
        if type(value) is not int:
            return
        known = self._reader[value]
        if known == _NONE:
            self._reader[value], self._place[value], self.live[value] = reader, place, 1
        elif known != reader or self._place[value] != place:
            self._reader[value] = _SEVERAL
        if budget < self._budget[value]:
            self._budget[value] = budget

    def store(self, value: int) -> None:
        """Require ``value`` in a buffer."""
        self.stored[value] = self.live[value] = 1

    def buffer_of(self, value: int) -> int:
        """The value whose buffer holds the elements of ``value``."""
        while True:
            value = self.written_by(value)
            definition = self._flat.values[value]
            if type(definition) is ScatterValue:
                value = definition.target
            elif value in self.overwrites:
                value = self.overwrites[value]
            else:
                return value

    def written_by(self, value: int) -> int:
        """The anchor after which the buffer of ``value`` holds it."""
        while True:
            definition = self._flat.values[value]
            if type(definition) is ReshapeValue:
                value = definition.operand
            elif value in self.same_buffer:
                value = self.same_buffer[value]
            else:
                return value

    # ---- one value

    def decide(self, value: int) -> None:
        """Decide about one value, all its readers being decided, and tell its operands."""
        definition = self._flat.values[value]
        reader, budget = self._reader[value], self._budget[value]
        if reader == _SEVERAL:
            budget = min(budget, CHEAP)
        match definition:
            case MapValue():
                self._map(value, definition, definition.template.cost, budget)
            case GatherValue():
                self._gather(value, definition, budget)
            case ViewValue(operand=operand):
                if self.stored[value]:
                    self.anchored[value] = 1
                    self.read(operand, value + 1, 0, _UNBOUNDED)
                else:
                    repeats = definition.aval.size > self._flat.values[operand].aval.size
                    self.read(operand, reader, value + 1, min(budget, CHEAP) if repeats else budget)
            case ReshapeValue(operand=operand):
                self.store(operand)
            case ConstantValue() | IotaValue():
                self.anchored[value] = self.stored[value]
            case ReduceValue() | ScanValue():
                self.anchored[value] = 1
                for operand in definition.operands:
                    self.read(operand, value + 1, 0, _UNBOUNDED)
            case PiecesValue(pieces=pieces, fill=fill):
                self.anchored[value] = self.stored[value] = 1
                for place, piece in enumerate(pieces):
                    self.read(piece.operand, value + 1, place, _UNBOUNDED)
                self.read(fill, value + 1, -1, CHEAP)
            case GemmValue():
                self.anchored[value] = self.stored[value] = 1
                for operand in definition.operands:
                    self.store(operand)  # type: ignore[arg-type]
            case ResultValue(call=call):
                self._call(call)
            case HostResultValue(call=call):
                self.anchored[value] = self.stored[value] = self.live[call] = 1
            case HostCallValue(inputs=inputs, results=results):
                self.anchored[value] = 1
                for operand in inputs:
                    self.store(operand)
                for result in results:  # also those that nobody reads are written somewhere
                    self.anchored[result] = 1
                    self.store(result)
            case ScatterValue(target=target, updates=updates, axes=axes):
                self.anchored[value] = self.stored[value] = 1
                self.store(target)
                self.read(updates, value + 1, 0, _UNBOUNDED)
                for place, axis in enumerate(axes, start=1):
                    self.read(axis.indices, value + 1, place, CHEAP)
            case _:
                pass

    def _call(self, call: Call) -> None:
        for result in call.values:
            self.anchored[result] = 1
            self.store(result)
        for operand in call.reads:
            self.store(operand)

    def _map(self, value: int, definition: MapValue, cost: float, budget: float) -> None:
        if self.stored[value] and self._takes_over(value, definition):
            return
        own = self.stored[value] or definition.family is not None or not definition.aval.shape
        if not own and cost > budget and self._from_smaller(value, CHEAP) < 0:
            if self._flat.traits.free_widening and self._flat.is_widening(definition):
                budget = cost  # an anchor in its place is what it widens
            else:
                own = True
        own = own or (self._reader[value] == _SEVERAL and len(self._stored_for(value, {value}, budget)) > 1)
        if own:
            self.anchored[value] = 1
            for a in definition.inputs:
                self.read(a, value + 1, 0, _UNBOUNDED)
        else:
            reader, place = self._reader[value], self._place[value]
            for a in definition.inputs:
                self.read(a, reader, place, budget - cost)

    def _stored_for(self, value: int, readers: set[int], budget: float) -> set[int]:
        """The values that have to be stored for the sake of ``value`` alone, if it is computed by its readers.

        One buffer with ``value`` itself is less than two with what it is made of. ``readers`` are not stored either.
        """
        definition, found = self._flat.values[value], set[int]()
        assert isinstance(definition, MapValue)
        budget -= definition.template.cost
        for a in definition.inputs:
            made = self._flat.values[a] if type(a) is int else None
            if type(a) is not int or type(made) is not MapValue or made.family is not None:
                continue
            readers.add(a)
            if made.template.cost <= budget:
                found |= self._stored_for(a, readers, budget)
            elif self._from_smaller(a, CHEAP) < 0 and self._flat.uses[a] == definition.inputs.count(a):
                found.add(a)
        return found

    def _from_smaller(self, value: int, budget: float) -> float:
        """The rest of ``budget`` after computing ``value`` from smaller inputs alone; negative if impossible.

        Such a value is cheaper to recompute than to write and read, however much its readers compute.
        """
        definition = self._flat.values[value]
        if budget < 0:
            return budget
        if type(definition) is ViewValue:
            operand = self._flat.values[definition.operand]
            smaller = operand.aval.size < definition.aval.size
            return budget if smaller and type(operand) is InputValue else -1.0
        if type(definition) is not MapValue or self.stored[value] or definition.family is not None:
            return -1.0
        budget -= definition.template.cost
        for a in definition.inputs:
            if type(a) is int:
                budget = self._from_smaller(a, budget)
        return budget

    def _gather(self, value: int, definition: GatherValue, budget: float) -> None:
        self.store(definition.source.value)
        anchored = self.anchored[value] = int(self.stored[value] or budget < _GATHER_COST)
        # Only the first axes of the result are positions: along the others the indices are read again and again.
        for axis in definition.axes:
            reader = value + 1 if anchored else self._reader[value]
            number = axis.dims[-1].offset if axis.dims else 0
            self.read(axis.indices, reader, value + 1 + number, CHEAP)

    def _takes_over(self, value: int, definition: MapValue) -> bool:
        """Whether a copy made for a scatter is elided: nobody else reads the source, so the scatter may write there."""
        (source, *others) = definition.inputs
        if definition.template.instructions or others or type(source) is not int:
            return False
        own = isinstance(self._flat.values[source], (ScatterValue, PiecesValue, GemmValue))
        if not own or self._flat.uses[source] != 1 or self.stored[source]:
            return False
        self.same_buffer[value] = source
        self.store(source)
        return True


def decide(flat: FlatProgram, stored: list[int]) -> Decisions:
    """Decide about all values, from the last to the first; ``stored`` are those required in buffers."""
    decisions = Decisions(flat)
    for value in stored:
        decisions.store(value)
    live = decisions.live
    for value in range(len(flat.values) - 1, -1, -1):
        if live[value]:
            decisions.decide(value)
    return decisions


# ---------------------------------------------------------------------------------------------------------------------
# What an anchor reads


class Read:
    """One access: the anchor or input ``value``, at ``coords`` of its axes (None: not a place within its shape).

    ``address`` is the position in memory, None where it is known only when the program runs.
    """

    __slots__ = ("address", "coords", "value")

    def __init__(self, value: int, coords: Coords | None, address: Coordinate | None) -> None:
        self.value, self.coords, self.address = value, coords, address


def trace(flat: FlatProgram, decisions: Decisions, starts: list[tuple[object, Coords]]) -> list[Read]:
    """The accesses of an expression: from ``starts`` through all inlined values."""
    reads: list[Read] = []
    seen: set[tuple[int, Coords]] = set()
    values, anchored = flat.values, decisions.anchored
    stack = [(a, c) for a, c in starts if type(a) is int]
    while stack:
        key = stack.pop()
        if key in seen:
            continue
        seen.add(key)
        value, coords = key
        definition = values[value]
        if anchored[value] or type(definition) is InputValue:
            address = linear(coords, row_major(definition.aval.shape)) if coords else ZERO
            reads.append(Read(value, coords, address))
            continue
        match definition:
            case MapValue(inputs=inputs):
                if value in decisions.same_buffer:
                    reads.append(Read(decisions.written_by(value), None, None))
                else:
                    stack.extend([(a, coords) for a in inputs if type(a) is int])
            case ViewValue(operand=operand, dims=dims):
                stack.append((operand, compose(dims, coords)))
            case ReshapeValue():
                address = linear(coords, row_major(definition.aval.shape))
                reads.append(Read(decisions.written_by(value), None, address))
            case GatherValue():
                stack.extend(gather_operands(definition, coords))
                reads.append(Read(decisions.written_by(definition.source.value), None, None))
            case _:
                pass
    return reads


def gather_operands(definition: GatherValue | ScatterValue, coords: Coords) -> list[tuple[int, Coords]]:
    """The coordinates that an element is gathered from, or scattered to: where among the indices they are read."""
    return [(axis.indices, compose(axis.dims, coords)) for axis in definition.axes]


def own_reads(definition: Definition) -> list[tuple[object, Coords]]:
    """Where the definition of a map-like anchor starts reading, for the element at its own coordinates."""
    coords = identity(definition.aval.shape)
    match definition:
        case MapValue(inputs=inputs):
            return [(a, coords) for a in inputs]
        case ViewValue(operand=operand, dims=dims):
            return [(operand, compose(dims, coords))]
        case _:
            return []


def lane_axis(shape: Shape, reads: list[Read], stores: Coordinate) -> int | None:
    """The axis to vectorize: the one along which most accesses are contiguous; among equals, the last."""
    axes = [a for a, n in enumerate(shape) if n != 1]
    if len(axes) <= 1:
        return axes[0] if axes else None
    score = dict.fromkeys(axes, 0.0)
    for address in [r.address for r in reads if r.address is not None]:
        for axis, stride in address[1]:
            score[axis] += 1.0 if stride in (1, -1) else -1.0
    for axis, stride in stores[1]:
        score[axis] += 0.9 if stride in (1, -1) else -0.9
    return max(axes, key=lambda a: (score[a], a))
