"""A flat program: one definition per value, without regions, every operation in one of a few forms.

Made by `flatten`, planned by `anchors` and `nests`, turned into statements by `generate`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphad.backends.loops.ir import is_half
from graphad.backends.lower.affine import Shape, row_major
from graphad.backends.lower.scalars import Template
from graphad.backends.traits import Traits
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc
from graphad.ir.lowering import AffineDim, Piece
from graphad.ir.types import Aval, Literal, f32


@dataclass(slots=True, eq=False)
class Definition:
    """What a value is. Operands are numbers of earlier values, or literals."""

    aval: Aval
    loc: Loc

    @property
    def operands(self) -> tuple[Atom, ...]:
        return ()


@dataclass(slots=True, eq=False)
class InputValue(Definition):
    """Input number ``index`` of the program."""

    index: int


@dataclass(slots=True, eq=False)
class ConstantValue(Definition):
    """A literal at every element."""

    literal: Literal


@dataclass(slots=True, eq=False)
class IotaValue(Definition):
    """The coordinate along ``axis``."""

    axis: int


@dataclass(slots=True, eq=False)
class MapValue(Definition):
    """A scalar expression of the operands' elements at the same place. Results of one equation share ``family``."""

    template: Template
    inputs: tuple[Atom, ...]
    family: int | None = None

    @property
    def operands(self) -> tuple[Atom, ...]:
        return self.inputs


@dataclass(slots=True, eq=False)
class ViewValue(Definition):
    """Another reading of ``operand``: for each of its axes, where in it the element lies."""

    operand: int
    dims: tuple[AffineDim, ...]

    @property
    def operands(self) -> tuple[Atom, ...]:
        return (self.operand,)


@dataclass(slots=True, eq=False)
class ReshapeValue(Definition):
    """The memory of ``operand`` under another shape, where that is no view."""

    operand: int

    @property
    def operands(self) -> tuple[Atom, ...]:
        return (self.operand,)


@dataclass(slots=True, eq=False)
class ReduceValue(Definition):
    """``operand`` combined over ``axes``."""

    operand: int
    combine: str
    axes: tuple[int, ...]

    @property
    def operands(self) -> tuple[Atom, ...]:
        return (self.operand,)


@dataclass(slots=True, eq=False)
class ScanValue(Definition):
    """Along ``axis``, each element from the one before and those of ``inputs`` there: see `scalars.SCAN_STEPS`."""

    inputs: tuple[int, ...]
    combine: str
    axis: int
    reverse: bool

    @property
    def operands(self) -> tuple[Atom, ...]:
        return self.inputs


@dataclass(slots=True, eq=False)
class CutPiece:
    """A piece of a `PiecesValue`: elements ``first + c`` of ``operand`` lie at ``offset + step * c``."""

    operand: int
    extents: Shape
    first: Shape
    offsets: Shape
    steps: Shape


def cut_piece(piece: Piece, operand: int, extents: Shape, shape: Shape) -> CutPiece | None:
    """The part of a piece that lies within ``shape``, or None if nothing of it does."""
    first: list[int] = []
    counts: list[int] = []
    for n, offset, step, size in zip(extents, piece.offsets, piece.steps, shape, strict=True):
        low = max(-(offset // step), 0)  # the first element at or after 0
        high = min(n, (size - 1 - offset) // step + 1)
        if high <= low:
            return None
        first.append(low)
        counts.append(high - low)
    offsets = tuple([o + s * lo for o, s, lo in zip(piece.offsets, piece.steps, first, strict=True)])
    return CutPiece(operand, tuple(counts), tuple(first), offsets, piece.steps)


@dataclass(slots=True, eq=False)
class PiecesValue(Definition):
    """A layout of pieces (concatenation, padding); the rest is ``fill`` (None where they cover everything)."""

    pieces: tuple[CutPiece, ...]
    fill: Atom | None

    @property
    def operands(self) -> tuple[Atom, ...]:
        inputs: tuple[Atom, ...] = tuple([p.operand for p in self.pieces])
        return inputs if self.fill is None else (*inputs, self.fill)


@dataclass(slots=True, eq=False)
class Block:
    """Part of the buffer of ``value``, by ``offset`` and one stride per axis, in elements."""

    value: int
    offset: int
    strides: Shape


@dataclass(slots=True, eq=False)
class MatrixOperand:
    """A matrix, or ``step`` elements apart a batch of them, in the buffer of ``value``."""

    value: int
    offset: int
    row_stride: int
    transposed: bool
    step: int


@dataclass(slots=True, eq=False)
class Bias:
    """An element for each column, one after the other in the buffer of ``value`` from ``offset`` on."""

    value: int
    offset: int


@dataclass(slots=True, eq=False)
class GemmValue(Definition):
    """``batch`` matrix products of (m, k) and (k, n), of factors of one dtype.

    A ``bias`` is added to each row, and ``relu`` taken of the sum, before it is rounded to the dtype of the result.
    ``symmetric``: the right factor is the transpose of the left one, and one triangle of the result is enough work.
    """

    left: MatrixOperand
    right: MatrixOperand
    batch: int
    m: int
    n: int
    k: int
    bias: Bias | None = None
    relu: bool = False
    symmetric: bool = False

    @property
    def operands(self) -> tuple[Atom, ...]:
        factors = self.left.value, self.right.value
        return factors if self.bias is None else (*factors, self.bias.value)


@dataclass(slots=True, eq=False)
class IndexedAxis:
    """One axis of an operand that is read or written at indices.

    Its coordinate is the element of ``indices`` at ``dims``, where it lies within ``0 .. limit``.
    """

    stride: int
    limit: int
    indices: int
    dims: tuple[AffineDim, ...]


@dataclass(slots=True, eq=False)
class GatherValue(Definition):
    """Elements of ``source`` at indices; outside of it the nearest one, or ``fill`` if there is one.

    ``source.strides`` are those of the axes of the result; the indexed axes have their own.
    """

    source: Block
    axes: tuple[IndexedAxis, ...]
    fill: Literal | None

    @property
    def operands(self) -> tuple[Atom, ...]:
        return (self.source.value, *[a.indices for a in self.axes])


@dataclass(slots=True, eq=False)
class ScatterValue(Definition):
    """``target``, changed in place: element after element of ``updates`` combined in at indices.

    ``strides`` are those of the axes of the updates, the last ``window`` of which go side by side. Outside of the
    target an update is dropped, or with ``clip`` goes to the nearest element.
    """

    target: int
    updates: int
    strides: Shape
    window: int
    axes: tuple[IndexedAxis, ...]
    combine: str
    clip: bool

    @property
    def operands(self) -> tuple[Atom, ...]:
        return (self.target, self.updates, *[a.indices for a in self.axes])


@dataclass(slots=True, eq=False)
class HostCallValue(Definition):
    """A call of a function of the host, by itself without elements; ``results`` are the values that it gives."""

    function: Any
    inputs: tuple[int, ...]
    effect: bool
    results: tuple[int, ...] = ()

    @property
    def operands(self) -> tuple[Atom, ...]:
        return self.inputs


@dataclass(slots=True, eq=False)
class HostResultValue(Definition):
    """One of the results of ``call``."""

    call: int

    @property
    def operands(self) -> tuple[Atom, ...]:
        return (self.call,)


@dataclass(slots=True, eq=False)
class BarrierItem:
    """All of ``values`` are in memory before anything behind it runs."""

    values: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Guard:
    """The program goes on only where ``predicate`` is ``expected``."""

    predicate: Atom
    expected: Literal
    loc: Loc


@dataclass(slots=True, eq=False)
class Print:
    """Values that the host prints through ``fmt`` once the program has run, once for each element of the batch axes."""

    fmt: str
    batch_axes: int
    operands: tuple[Atom, ...]
    loc: Loc


@dataclass(slots=True, eq=False)
class FlatProgram:
    """All definitions in order, outputs and prints.

    Attributes
    ----------
    traits
        Of the machine that it is for.
    effects
        Guards, calls of the host that do something (by their values), and barriers, in order.
    prints
        What is printed once the program has run; ``prints_are_calls`` if prints are among the calls instead.
    """

    traits: Traits
    values: list[Definition] = field(default_factory=list)
    uses: list[int] = field(default_factory=list)  # the number of uses of each value as an operand
    outputs: list[Atom] = field(default_factory=list)
    effects: list[Guard | BarrierItem | int] = field(default_factory=list)
    prints: list[Print] = field(default_factory=list)
    prints_are_calls: bool = False

    @property
    def guards(self) -> list[Guard]:
        """The guards among the effects."""
        return [e for e in self.effects if type(e) is Guard]

    def value(self, atom: Atom, loc: Loc) -> int:
        """``atom`` as a value; a literal becomes a constant."""
        return atom if type(atom) is int else self.add(ConstantValue(atom.aval, loc, atom))  # type: ignore[union-attr]

    def add(self, definition: Definition) -> int:
        """Append; the number of the new value."""
        uses = self.uses
        for a in definition.inputs if type(definition) is MapValue else definition.operands:  # most are maps
            if type(a) is int:
                uses[a] += 1
        self.values.append(definition)
        uses.append(0)
        return len(self.values) - 1

    def is_widening(self, definition: MapValue) -> bool:
        """Whether a value is another one of 16 bits, converted to f32."""
        operand = definition.inputs[0] if definition.inputs else None
        if definition.aval.dtype is not f32 or type(operand) is not int:
            return False
        ops = [i.op for i in definition.template.instructions]
        return ops == ["cast"] and is_half(self.values[operand].aval.dtype)

    def block(self, value: int) -> Block:
        """Where the elements of ``value`` lie once what it views is in a buffer."""
        views: list[ViewValue] = []
        definition = self.values[value]
        while type(definition) is ViewValue:
            views.append(definition)
            value = definition.operand
            definition = self.values[value]
        offset, strides = 0, row_major(definition.aval.shape)
        for view in reversed(views):
            seen = [0] * view.aval.ndim
            for dim, stride in zip(view.dims, strides, strict=True):
                offset += stride * dim.offset
                for axis, step in dim.terms:
                    seen[axis] += stride * step
            strides = tuple(seen)
        return Block(value, offset, strides)
