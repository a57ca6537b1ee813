"""The plan of a program: the loops of every anchor, the order of the steps, the slot of every output."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from graphad.backends.lower.affine import Coords, Shape, identity, reshape_view, row_major
from graphad.backends.lower.anchors import (
    Decisions,
    Read,
    decide,
    gather_operands,
    lane_axis,
    own_reads,
    trace,
)
from graphad.backends.lower.definitions import (
    BarrierItem,
    ConstantValue,
    CutPiece,
    FlatProgram,
    GatherValue,
    GemmValue,
    Guard,
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
from graphad.backends.lower.epilogues import fuse_epilogues
from graphad.backends.lower.in_place import InPlace, update_in_place
from graphad.backends.lower.nests import Anchor, Tree, mark_lanes
from graphad.backends.lower.region_values import (
    Call,
    Part,
    ResultValue,
)
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc
from graphad.ir.types import Aval


@dataclass(slots=True, eq=False)
class CopyItem:
    """Slot ``slot`` is filled from the buffer of ``value``."""

    slot: int
    value: int


@dataclass(slots=True, eq=False)
class GemmItem:
    """The matrix product ``value``."""

    value: int
    gemm: GemmValue


@dataclass(slots=True, eq=False)
class CallItem:
    """A loop, a branch or a routine, which computes several values."""

    call: Call


@dataclass(slots=True, eq=False)
class HostItem:
    """Call number ``slot`` of the host."""

    slot: int
    call: HostCallValue


@dataclass(slots=True, eq=False)
class GuardItem:
    """Guard number ``ordinal``; its predicate lies in slot ``slot``."""

    ordinal: int
    slot: int
    guard: Guard


@dataclass(slots=True, eq=False)
class Plan:
    """Everything that `generate` needs.

    Attributes
    ----------
    slots
        The type of each output of the program: those of the graph, then predicates of guards, then what is printed.
    slot_of
        Values whose buffer is a slot.
    copies
        Slots that must be copied into, from the value given.
    calls
        The calls of the host, by number, with the program that each stands in: this one, or a region.
    in_place
        Which scatters change an array that a loop carries, without a copy.
    order
        All values, in the order in which they are placed.
    """

    flat: FlatProgram
    decisions: Decisions
    tree: Tree = field(default_factory=Tree)
    slots: list[Aval] = field(default_factory=list)
    slot_of: dict[int, int] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)
    guards: list[int] = field(default_factory=list)
    prints: list[tuple[int, ...]] = field(default_factory=list)
    calls: list[tuple[FlatProgram, HostCallValue]] = field(default_factory=list)
    in_place: InPlace = field(default_factory=InPlace)
    order: Sequence[int] = ()


def make_plan(flat: FlatProgram, carried: Mapping[int, int] | None = None) -> Plan:
    """Place all that ``flat`` computes; for the body of a loop, ``carried`` has the input value of each output."""
    returned = [_memory_of(flat, a, None) for a in flat.outputs]
    guarded = [_memory_of(flat, g.predicate, g.loc) for g in flat.guards]
    printed = [[_memory_of(flat, a, p.loc) for a in p.operands] for p in flat.prints]
    wanted = [*returned, *guarded, *(v for values in printed for v in values)]
    wanted += [v for e in flat.effects if not isinstance(e, Guard) for v in _needs_of(e)]
    fuse_epilogues(flat, wanted)
    plan = Plan(flat, decide(flat, [v for v in wanted if type(flat.values[v]) is not InputValue]))
    plan.in_place = update_in_place(flat, plan.decisions, carried or {}, wanted, plan_part)
    plan.order = plan.in_place.order(flat)
    for value, atom in zip(returned, flat.outputs, strict=True):
        _new_slot(plan, value, _aval_of(flat, atom))
    for number in plan.in_place.carries:
        plan.copies.pop(number, None)
    plan.guards = [_slot(plan, value) for value in guarded]
    plan.prints = [
        tuple([_slot(plan, v, _aval_of(flat, a)) for v, a in zip(values, p.operands, strict=True)])
        for values, p in zip(printed, flat.prints, strict=True)
    ]
    _place_all(plan, guarded)
    mark_lanes(plan.tree.root)
    return plan


def plan_part(part: Part, carried: Mapping[int, int]) -> Plan:
    """The plan of a region, of which there is one."""
    if part.plan is None:
        part.plan = make_plan(part.flat, carried)
    return part.plan


# ---------------------------------------------------------------------------------------------------------------------
# Slots


def _aval_of(flat: FlatProgram, atom: Atom) -> Aval:
    return flat.values[atom].aval if type(atom) is int else atom.aval  # type: ignore[union-attr]


def _memory_of(flat: FlatProgram, atom: Atom, loc: Loc) -> int:
    """The value with the elements of ``atom`` in the same order: reshapes are skipped."""
    if type(atom) is not int:
        return flat.add(ConstantValue(atom.aval, loc, atom))  # type: ignore[union-attr]
    while True:
        definition = flat.values[atom]
        if type(definition) is ViewValue:
            source = flat.values[definition.operand].aval
            if (
                source.size != definition.aval.size
                or reshape_view(source.shape, definition.aval.shape) != definition.dims
            ):
                return atom
        elif type(definition) is not ReshapeValue:
            return atom
        atom = definition.operand


def _new_slot(plan: Plan, value: int, aval: Aval) -> int:
    slot = len(plan.slots)
    plan.slots.append(aval)
    buffer = plan.decisions.buffer_of(value)
    if type(plan.flat.values[buffer]) is InputValue or buffer in plan.slot_of:
        plan.copies[slot] = value
    else:
        plan.slot_of[buffer] = slot
    return slot


def _slot(plan: Plan, value: int, aval: Aval | None = None) -> int:
    """A slot that holds ``value``: an existing one of this type, or a new one."""
    found = plan.slot_of.get(plan.decisions.buffer_of(value))
    if found is not None and (aval is None or plan.slots[found] is aval):
        return found
    return _new_slot(plan, value, aval or plan.flat.values[value].aval)


# ---------------------------------------------------------------------------------------------------------------------
# Order


def _place_all(plan: Plan, guarded: list[int]) -> None:
    """Place everything: before a guard, a call that does something, or a barrier only what these need."""
    placed = bytearray(len(plan.flat.values))
    slots = zip(itertools.count(), guarded, plan.guards, strict=False)
    for effect in plan.flat.effects:
        if isinstance(effect, Guard):
            ordinal, value, slot = next(slots)
            _place_needed(plan, (value,), placed)
            _copy_into(plan, slot)
            plan.tree.add_step(GuardItem(ordinal, slot, effect), effect.loc)
        else:
            _place_needed(plan, _needs_of(effect), placed)
        if not isinstance(effect, int):
            plan.tree.shut()
    for value in plan.order:
        if not placed[value]:
            _place(plan, value)
    for slot in list(plan.copies):
        _copy_into(plan, slot)


def _needs_of(effect: BarrierItem | int) -> Sequence[int]:
    """The values of a barrier, or a call."""
    return (effect,) if isinstance(effect, int) else effect.values


def _place_needed(plan: Plan, values: Iterable[int], placed: bytearray) -> None:
    for needed in _needed(plan, values, placed):
        _place(plan, needed)


def _needed(plan: Plan, values: Iterable[int], placed: bytearray) -> Iterable[int]:
    """The unplaced values that ``values`` depend on, in order; marks them."""
    found: list[int] = []
    stack = [*values]
    while stack:
        v = stack.pop()
        if not placed[v]:
            placed[v] = 1
            found.append(v)
            stack.extend([a for a in plan.flat.values[v].operands if type(a) is int])
            stack.extend(plan.in_place.before.get(v, ()))
    if not plan.in_place.before:
        return sorted(found)
    wanted = set(found)
    return [v for v in plan.order if v in wanted]


def _copy_into(plan: Plan, slot: int) -> None:
    value = plan.copies.pop(slot, None)
    if value is not None and plan.slots[slot].size:
        plan.tree.add_step(CopyItem(slot, value), plan.flat.values[value].loc)


# ---------------------------------------------------------------------------------------------------------------------
# Anchors


def _place(plan: Plan, value: int) -> None:
    """Place ``value``, if it is an anchor."""
    if not plan.decisions.anchored[value]:
        return
    definition = plan.flat.values[value]
    if type(definition) is MapValue and not definition.aval.shape and definition.family is None:
        _place_scalar(plan, value, definition)
        return
    if type(definition) is HostCallValue:
        plan.tree.add_step(HostItem(len(plan.calls), definition), definition.loc, definition.results)
        plan.calls.append((plan.flat, definition))
    if type(definition) is HostResultValue or (not definition.aval.size and type(definition) is not ResultValue):
        return
    shape, loc = definition.aval.shape, definition.loc
    match definition:
        case MapValue() | ViewValue() | ConstantValue() | IotaValue():
            anchor = Anchor(value, "map", shape, (), loc)
            anchor.axes = range(len(shape))
            if type(definition) is MapValue and definition.family is not None:
                anchor.touched.add(-definition.family)
            _finish(plan, anchor, own_reads(definition))
        case ReduceValue(operand=operand, axes=axes):
            extents = plan.flat.values[operand].aval.shape
            anchor = Anchor(value, "reduce", extents, axes, loc)
            anchor.axes = [a for a in range(len(extents)) if a not in axes]
            _finish(plan, anchor, [(operand, identity(extents))])
        case ScanValue(inputs=inputs, axis=axis, reverse=reverse):
            anchor = Anchor(value, "scan", shape, (axis,), loc)
            anchor.axes, anchor.reverse = range(len(shape)), reverse
            _finish(plan, anchor, [(operand, identity(shape)) for operand in inputs])
            anchor.stored = True
        case PiecesValue():
            _place_pieces(plan, value, definition)
        case GemmValue():
            plan.tree.add_step(GemmItem(value, definition), loc, (value,))
        case ResultValue(call=call):
            if value not in plan.tree.writers:
                plan.tree.add_step(CallItem(call), loc, call.values)
        case ScatterValue():
            _place_scatter(plan, value, definition)
        case GatherValue(source=source):
            anchor = Anchor(value, "map", shape, (), loc)
            anchor.axes = range(len(shape))
            anchor.reads.append(Read(plan.decisions.written_by(source.value), None, None))
            _finish(plan, anchor, list(gather_operands(definition, identity(shape))))
        case _:
            raise AssertionError(f"{definition} is no anchor")


def _place_scalar(plan: Plan, value: int, definition: MapValue) -> None:
    """Scalar arithmetic has no loops to be fused into: of what it reads, only the order of steps matters."""
    decisions, writers = plan.decisions, plan.tree.writers
    dependencies: list[Anchor] = []
    for a in definition.inputs:
        if type(a) is int:
            if a in writers:
                dependencies += writers[a]
            elif not decisions.anchored[a]:
                for read in trace(plan.flat, decisions, [(a, ())]):
                    dependencies += writers.get(read.value, ())
    plan.tree.place_scalar(value, dependencies, definition.loc, stored=bool(decisions.stored[value]))


def _finish(plan: Plan, anchor: Anchor, starts: list[tuple[object, Coords]], after: list[Anchor] | None = None) -> None:
    """Fill in what the anchor reads and its lanes, and place it."""
    anchor.reads += trace(plan.flat, plan.decisions, starts)
    # Elements that a loop loads in each iteration: sharing them is a reason to share the loop.
    anchor.touched.update([r.value for r in anchor.reads if r.address is None or r.address[1]])
    if plan.decisions.stored[anchor.value]:
        anchor.stored, anchor.local = True, 0
    if anchor.kind == "scatter":
        anchor.lane = anchor.reduced[-1] if anchor.reduced and anchor.reduced[-1] >= anchor.part else None
    elif anchor.kind == "scan":
        kept = [a for a in anchor.kept if row_major(anchor.extents)[a] == 1]
        anchor.lane = kept[0] if kept else None
    elif anchor.kind == "piece":  # all pieces of a layout alike: their stores may meet in one loop
        anchor.lane = anchor.kept[-1] if anchor.kept else None
    elif anchor.kept or anchor.reduced:
        strides = row_major(tuple([1 if a is None else anchor.extents[a] for a in anchor.axes]))
        stores = [(a, s) for a, s in zip(anchor.axes, strides, strict=True) if a is not None and anchor.extents[a] != 1]
        anchor.lane = lane_axis(anchor.extents, anchor.reads, (0, tuple(stores)))
    plan.tree.place(anchor, after or [])


def _place_pieces(plan: Plan, value: int, definition: PiecesValue) -> None:
    after: list[Anchor] = []
    if definition.fill is not None:
        shape = definition.aval.shape
        fill = Anchor(value, "piece", shape, (), definition.loc)
        fill.part, fill.axes = -1, range(len(shape))
        _finish(plan, fill, [(definition.fill, ())])
        after = [fill]
    for part, piece in enumerate(definition.pieces):
        anchor = Anchor(value, "piece", piece.extents, (), definition.loc)
        anchor.part, anchor.axes = part, range(len(piece.extents))
        _finish(plan, anchor, [(piece.operand, piece_coords(piece))], after)
    # Readers come after all pieces, so after the last: they need not look at the others.
    writers = plan.tree.writers
    writers[value] = [max(writers[value], key=lambda writer: writer.root_index)]


def piece_coords(piece: CutPiece) -> Coords:
    """Where in its operand each element of a piece lies."""
    return tuple(
        [
            (first, ((axis, 1),)) if n != 1 else (first, ())
            for axis, (first, n) in enumerate(zip(piece.first, piece.extents, strict=True))
        ]
    )


def _place_scatter(plan: Plan, value: int, definition: ScatterValue) -> None:
    extents: Shape = plan.flat.values[definition.updates].aval.shape
    anchor = Anchor(value, "scatter", extents, range(len(extents)), definition.loc)
    anchor.part = len(extents) - definition.window  # the axes from here on go side by side
    anchor.reads.append(Read(plan.decisions.written_by(definition.target), None, None))
    coords = identity(extents)
    readers = [writer for v in plan.in_place.before.get(value, ()) for writer in plan.tree.writers.get(v, ())]
    _finish(plan, anchor, [(definition.updates, coords), *gather_operands(definition, coords)], readers)
