"""Calls of routines: operands in buffers of their own, in the dtypes and the order that the table asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphad_kernels.routines import ROUTINES, Row

from graphad.backends.lower.affine import Shape, axes_view
from graphad.backends.lower.definitions import FlatProgram
from graphad.backends.lower.region_values import Call, LibraryCall, ResultValue
from graphad.backends.lower.scalars import ACCUMULATORS
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc
from graphad.ir.lowering import AffineDim, Routine
from graphad.ir.types import DTYPES, Aval, DType, aval, b1, literal, u8


class RoutineLowering:
    """Appends calls of routines to ``flat``; ``cast`` converts values, ``view`` looks at them in another order."""

    def __init__(
        self,
        flat: FlatProgram,
        cast: Callable[[Atom, DType, Loc], Atom],
        view: Callable[[Atom, tuple[AffineDim, ...], Aval, Loc], Atom],
        loc: Loc,
    ) -> None:
        self.flat, self.cast, self.view, self.loc = flat, cast, view, loc

    def results_alone(
        self, lowering: Routine, operands: Sequence[Atom], outs: Sequence[Aval], kept: Sequence[int]
    ) -> list[Atom]:
        """The results of one call whose numbers are ``kept``; nothing reads the others."""
        assert lowering.alone is not None
        routine = Routine(lowering.alone, lowering.sizes, lowering.last_axis)
        found = self.results(routine, operands, [outs[k] for k in kept])
        return [found[kept.index(k)] if k in kept else self.nothing(out) for k, out in enumerate(outs)]

    def results(self, lowering: Routine, operands: Sequence[Atom], outs: Sequence[Aval]) -> list[Atom]:
        """The results of one call."""
        if not any([out.size for out in outs]):
            return [self.nothing(out) for out in outs]
        row, axis = ROUTINES[lowering.name], lowering.last_axis
        dtype = _computed_in(self.flat.value(operands[0], self.loc), self.flat, row)
        inputs = [self.input(x, dtype, kind, axis) for x, kind in zip(operands, row.buffers, strict=False)]
        kinds = [dtype if kind == "T" else DTYPES[kind] for kind in row.buffers]
        written = row.reads + row.results
        extents = zip(row.extents(*lowering.sizes)[written:], kinds[written:], strict=True)
        workspace = tuple([aval((n,), d) for n, d in extents])
        what = LibraryCall(lowering.name, dtype, tuple(inputs), workspace, lowering.sizes)
        call = Call(what, tuple(dict.fromkeys(inputs)), [])
        for k, (out, kind) in enumerate(zip(outs, kinds[row.reads : written], strict=True)):
            moved = aval(_with_last(out.shape, axis), kind)
            call.values.append(self.flat.add(ResultValue(moved, self.loc, call, k)))
        return [self.output(v, out, axis) for v, out in zip(call.values, outs, strict=True)]

    def nothing(self, out: Aval) -> Atom:
        """What stands for a result without elements, or one that nothing reads."""
        return self.view(literal(0, out.dtype), (), out, self.loc)

    def input(self, atom: Atom, dtype: DType, kind: str, axis: int | None) -> int:
        """An operand as it is handed over."""
        value = self.flat.value(self.cast(atom, dtype, self.loc) if kind == "T" else atom, self.loc)
        a = self.flat.values[value].aval
        if axis is None or axis == a.ndim - 1:
            return value
        order = _with_last(range(a.ndim), axis)
        dims = axes_view([order.index(k) for k in range(a.ndim)])
        return self.flat.value(self.view(value, dims, aval(_with_last(a.shape, axis), a.dtype), self.loc), self.loc)

    def output(self, value: int, out: Aval, axis: int | None) -> Atom:
        """A result as the equation has it."""
        found: Atom = value
        if axis is not None and axis != out.ndim - 1:
            order = _with_last(range(out.ndim), axis)
            found = self.view(value, axes_view(order), aval(out.shape, self.flat.values[value].aval.dtype), self.loc)
        return self.cast(found, out.dtype, self.loc)


def _computed_in(value: int, flat: FlatProgram, row: Row) -> DType:
    """The dtype that the routine is called for: a wider one, where it has none for that of the operand."""
    dtype = flat.values[value].aval.dtype
    return dtype if dtype.name in row.dtypes else u8 if dtype is b1 else ACCUMULATORS[dtype]


def _with_last(items: Shape | range, axis: int | None) -> Shape:
    """``items``, of which number ``axis`` comes last."""
    return tuple(items) if axis is None else (*[x for k, x in enumerate(items) if k != axis], items[axis])
