"""``Plan -> steps``: loops around the statements of `expressions`, and the steps between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Copy,
    Gemm,
    GuardStep,
    HostCall,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    Operand,
    Store,
)
from graphad.backends.loops.ir import Step as LoopStep
from graphad.backends.lower.affine import ZERO, Coords, linear
from graphad.backends.lower.calls import CallSteps
from graphad.backends.lower.coalesce import coalesce
from graphad.backends.lower.definitions import (
    GemmValue,
    MapValue,
    MatrixOperand,
    PiecesValue,
    ReduceValue,
    ScanValue,
    ScatterValue,
)
from graphad.backends.lower.expressions import Expressions
from graphad.backends.lower.nests import Anchor, Node, Step
from graphad.backends.lower.plan import (
    CallItem,
    CopyItem,
    GemmItem,
    GuardItem,
    HostItem,
    Plan,
    piece_coords,
)
from graphad.backends.lower.scalars import SCAN_STEPS, identity_of, template
from graphad.backends.lower.scopes import Scope, index_of
from graphad.backends.lower.storage import Storage, slot_name
from graphad.ir.loc import Loc

_VARIABLES: Final = "ijklmn"


@dataclass(frozen=True, slots=True)
class Generated:
    """Buffers and steps of a program."""

    buffers: tuple[Buffer, ...]
    steps: tuple[LoopStep, ...]


def generate(plan: Plan) -> Generated:
    """Write the program that is planned."""
    storage = Storage(plan)
    steps = _Generator(plan, storage).steps()
    order = ("input", "output", "temporary", "window")
    return Generated(tuple(sorted(storage.buffers, key=lambda b: order.index(b.role))), steps)


def _variable(depth: int) -> str:
    """The loop variable at a depth, from 0; in alphabetical order."""
    return _VARIABLES[depth] if depth < len(_VARIABLES) else f"n{depth:02}"


class _Generator:
    def __init__(self, plan: Plan, storage: Storage) -> None:
        self.plan = plan
        self.values = plan.flat.values
        self.storage = storage
        self.expressions = Expressions(plan, storage)
        self.calls = CallSteps(plan, storage, generate)
        self.variables: dict[Node, str] = {}

    # ---- steps

    def steps(self) -> tuple[LoopStep, ...]:
        """All steps in order; consecutive loops are separate nests wherever no register crosses."""
        items, needs = self.plan.tree.root.items, self.plan.tree.needs
        first_needed = [len(items)] * (
            len(items) + 1
        )  # by this item or a later one: the first whose registers they read
        for k in range(len(items) - 1, -1, -1):
            first_needed[k] = min(first_needed[k + 1], needs.get(k, k))
        steps: list[LoopStep] = []
        run: list[Node | Anchor] = []

        def close_run() -> None:
            if run:
                steps.append(self.nest(run))
                run.clear()

        for k, item in enumerate(items):
            if isinstance(item, Step):
                close_run()
                steps += self.step(item)
                continue
            scalars = type(item) is Anchor and bool(run) and type(run[-1]) is Anchor
            if first_needed[k] >= k and not scalars:
                close_run()
            run.append(item)
        close_run()
        return tuple(steps)

    def step(self, item: Step) -> Sequence[LoopStep]:
        match item.what:
            case GemmItem(value=value, gemm=gemm):
                return (self.gemm(value, gemm, item.loc),)
            case HostItem(slot=slot, call=call):
                reads, writes = (tuple([self.storage.where(v)[0] for v in vs]) for vs in (call.inputs, call.results))
                return (HostCall(slot, call.function.rule_name, reads, writes, item.loc),)
            case CopyItem(slot=slot, value=value):
                return (Copy(slot_name(slot), self.storage.where(value)[0], item.loc),)
            case CallItem(call=call):
                return self.calls.steps(call, item.loc)
            case GuardItem(ordinal=ordinal, slot=slot, guard=guard):
                return (GuardStep(ordinal, slot_name(slot), guard.expected, item.loc),)
            case _:
                raise AssertionError(f"unknown step {item.what!r}")

    def gemm(self, value: int, gemm: GemmValue, loc: Loc) -> Gemm:
        target = Matrix(self.storage.where(value)[0], 0, gemm.n)
        factors, result = self.values[gemm.left.value].aval.dtype, gemm.aval.dtype
        bias, offset = (self.storage.where(gemm.bias.value)[0], gemm.bias.offset) if gemm.bias else (None, 0)
        return Gemm(
            factors, gemm.m, gemm.n, gemm.k,
            self.matrix(gemm.left), self.matrix(gemm.right), target,
            batch=gemm.batch, a_step=gemm.left.step, b_step=gemm.right.step, c_step=gemm.m * gemm.n, loc=loc,
            result=None if result is factors else result, bias=bias, bias_offset=offset, relu=gemm.relu,
            symmetric=gemm.symmetric,
        )  # fmt: skip

    def matrix(self, operand: MatrixOperand) -> Matrix:
        return Matrix(self.storage.where(operand.value)[0], operand.offset, operand.row_stride, operand.transposed)

    # ---- loops

    def nest(self, items: list[Node | Anchor]) -> LoopNest:
        scope = self.expressions.open_nest()
        self.items(items)
        return LoopNest(tuple(scope.statements), _first_loc(items))

    def items(self, items: list[Any]) -> None:
        for item in items:
            if type(item) is Node:
                self.loop(item)
            else:
                self.anchor(item)

    def loop(self, node: Node) -> None:
        x = self.expressions
        depth = len(x.scopes)
        variable = self.variables[node] = _variable(depth - 1)
        x.depth_of[variable] = depth
        x.scopes.append(Scope())
        self.items(node.items)
        scope = x.close_scope()
        body, loc = tuple(scope.statements), _first_loc(node.items)
        loop = Loop(variable, node.extent, body, tuple(scope.carries), node.vector, node.reverse, loc)
        if body or scope.carries:
            x.emit(coalesce(loop))
        for carry in scope.carries:
            x.depth_of[carry.name] = depth - 1
        for anchor, name in scope.done:
            self.settle(anchor, name)

    # ---- anchors

    def scalar(self, anchor: Anchor, definition: MapValue) -> None:
        """What `anchor` does for a map of scalars, of which straight-line programs consist."""
        x = self.expressions
        operands = [x.read(a, ()) for a in definition.inputs]
        operand = x.known[anchor.value, ()] = x.expand(definition.template, operands, definition.loc)
        if anchor.stored:
            x.emit(Store(self.storage.where(anchor.value)[0], index_of(ZERO), operand, loc=anchor.loc))

    def anchor(self, anchor: Anchor) -> None:
        """The statements of one anchor in the innermost of its loops."""
        definition = self.values[anchor.value]
        if type(definition) is MapValue and not anchor.extents:
            self.scalar(anchor, definition)
            return
        here, read = self.coords(anchor), self.expressions.read
        match definition:
            case MapValue():  # the most by far
                self.settle(anchor, self.expressions.define(anchor.value, here))
            case ReduceValue(operand=operand, combine=combine):
                self.reduction(anchor, combine, read(operand, here))
            case ScanValue(inputs=inputs, combine=combine):
                self.scan(anchor, combine, [read(operand, here) for operand in inputs], here)
            case PiecesValue():
                self.piece(anchor, definition, here)
            case ScatterValue():
                self.scatter(anchor, definition, here)
            case _:
                self.settle(anchor, self.expressions.define(anchor.value, here))

    def coords(self, anchor: Anchor) -> Coords:
        """The coordinates of the anchor's iteration space, in loop variables."""
        if not anchor.extents:
            return ()
        node_of, variables = anchor.node_of, self.variables
        return tuple([(0, ((variables[node_of[a]], 1),)) if a in node_of else ZERO for a in range(len(anchor.extents))])

    def settle(self, anchor: Anchor, operand: Operand) -> None:
        """Enter the anchor's element for its readers, and store it if some of them load it."""
        space = self.coords(anchor)
        coords = tuple([ZERO if a is None else space[a] for a in anchor.axes])
        self.expressions.know((anchor.value, coords), operand, self.expressions.depth(*coords))
        if anchor.stored:
            name, strides = self.storage.where(anchor.value)
            self.expressions.emit(Store(name, index_of(linear(coords, strides)), operand, loc=anchor.loc))

    def reduction(self, anchor: Anchor, combine: Any, operand: Operand) -> None:
        """Carries from the innermost of the anchor's reducing loops to the outermost, each combining the one inside."""
        if not anchor.tail:
            self.settle(anchor, operand)
            return
        dtype, scopes = self.values[anchor.value].aval.dtype, self.expressions.scopes
        start = identity_of(combine, dtype)
        for depth in range(len(scopes) - 1, len(scopes) - 1 - len(anchor.tail), -1):
            name = self.expressions.name("s", depth)
            scopes[depth].carries.append(Carry(name, dtype, combine, start, operand))
            operand = name
        assert isinstance(operand, str), "a carry has a name"
        scopes[-len(anchor.tail)].done.append((anchor, operand))

    def scan(self, anchor: Anchor, combine: str, operands: list[Operand], here: Coords) -> None:
        x = self.expressions
        total = operands[-1]  # an axis of one element: its combination with the identity
        if anchor.tail:
            dtype, depth = self.values[anchor.value].aval.dtype, len(x.scopes) - 1
            running = x.name("s", depth)
            step = template(SCAN_STEPS[combine], (dtype,) * (1 + len(operands)), dtype)
            total = x.expand(step, [running, *operands], anchor.loc)
            x.scopes[-1].carries.append(Carry(running, dtype, "last", identity_of(combine, dtype), total))
        buffer, strides = self.storage.where(anchor.value)
        x.emit(Store(buffer, index_of(linear(here, strides)), total, loc=anchor.loc))

    def piece(self, anchor: Anchor, definition: PiecesValue, here: Coords) -> None:
        buffer, strides = self.storage.where(anchor.value)
        if anchor.part < 0:
            assert definition.fill is not None, "only a filled layout has this anchor"
            operand, address = self.expressions.read(definition.fill, ()), linear(here, strides)
        else:
            piece = definition.pieces[anchor.part]
            source = tuple([(c[0] + at[0], c[1]) for c, at in zip(here, piece_coords(piece), strict=True)])
            operand = self.expressions.read(piece.operand, source)
            offset, terms = linear(here, tuple([s * n for s, n in zip(strides, piece.steps, strict=True)]))
            address = (offset + sum(s * o for s, o in zip(strides, piece.offsets, strict=True)), terms)
        self.expressions.emit(Store(buffer, index_of(address), operand, loc=anchor.loc))

    def scatter(self, anchor: Anchor, definition: ScatterValue, here: Coords) -> None:
        x = self.expressions
        (buffer, _), dtype = self.storage.where(anchor.value), definition.aval.dtype
        affine, dynamic, valid = x.address(definition, 0, definition.strides, here)
        update, index = x.read(definition.updates, here), index_of(affine)
        if definition.combine != "set":
            # Always loaded anew: another iteration may have changed the element.
            depth = len(x.scopes) - 1
            old, new = x.name("t", depth), x.name("t", depth)
            op = {"min": "minimum", "max": "maximum"}.get(definition.combine, definition.combine)
            x.emit(Load(old, buffer, index, dynamic, anchor.loc))
            x.emit(Let(new, dtype, op, (old, update), anchor.loc))
            update = new
        x.emit(Store(buffer, index, update, dynamic, None if definition.clip else valid, anchor.loc))
        if anchor.value in self.plan.in_place.before:
            x.forget(buffer)


def _first_loc(items: list[Any]) -> Loc:
    """The location of the first anchor."""
    for item in items:
        loc = item.loc if type(item) is Anchor else _first_loc(item.items)
        if loc is not None:
            return loc
    return None
