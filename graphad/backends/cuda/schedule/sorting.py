"""Sorting: which algorithm a call takes, the keys that all of them compare, and the network for short rows.

All algorithms sort pairs of a key and a position. Keys are unsigned integers in the order of the elements
(`ordered_key`): equal elements, and all nan, have equal keys, and keep the order of their positions. That makes the
sort stable, and its result unique.

Short rows go through Batcher's bitonic network (Batcher 1968), in the form in which all comparisons have one direction.
It is a loop nest, so that it is fused with the producer of the keys and the consumer of the order (`vertical_fusion`),
in shared memory. Rows are padded to a power of two with the greatest key. Longer ones are sorted digit by digit
(`radix`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import ml_dtypes
from graphad_kernels.routines import ROUTINES

from graphad.backends.cuda.schedule.body import Body
from graphad.backends.loops.ir import (
    Buffer,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Operand,
    RoutineCall,
    Step,
    Store,
    is_half,
)
from graphad.backends.loops.rewrites import Names
from graphad.backends.loops.steps import buffers_written
from graphad.backends.loops.visit import walk
from graphad.errors import LoweringError, at
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import DType, Literal, b1, f32, i32, i64, literal, u32, u64

#: The longest rows that are sorted by the network.
SHORT: Final = 256


@dataclass(frozen=True, slots=True)
class Sort:
    """``order``: the positions of the elements of each row of ``keys``, the least element first.

    Attributes
    ----------
    keys, order
        Buffers of ``rows * n`` elements.
    dtype
        Of the elements of ``keys``.
    bits
        How many bits of the elements can differ.
    known
        Whether elements are known to be integers from 0 on, below ``2**bits``.
    unused
        How many of the lowest of these bits carry no information: they equal the sign.
    """

    keys: str
    order: str
    dtype: DType
    rows: int
    n: int
    bits: int
    known: bool
    unused: int = 0
    loc: Loc = None

    @property
    def key_dtype(self) -> DType:
        """Dtype of the keys."""
        return u32 if self.bits <= 32 else u64

    @property
    def greatest(self) -> Literal:
        """The greatest key."""
        return literal((1 << self.key_dtype.bits) - 1, self.key_dtype)


def sort_of(call: RoutineCall) -> Sort:
    """The sort that a call of a routine stands for: those that have kernels are sorts.

    There may be a third size, which the routine itself ignores: the bits of elements that are known not to be negative.
    """
    if not ROUTINES[call.routine].on_gpus:
        message = f"there is no CUDA form of the routine {call.routine!r}; run this function with device='cpu'."
        raise LoweringError(at(format_loc(call.loc), message))
    rows, n, *known = call.sizes
    bits = max(known[0], 1) if known else call.dtype.bits
    return Sort(call.reads[0], call.writes[0], call.dtype, rows, n, bits, bool(known), loc=call.loc)


def unused_bits(keys: str, program: KernelProgram) -> int:
    """How many of the lowest bits are 0 in all that ``program`` stores in ``keys``, as in widened 16-bit floats."""
    dtypes = {b.name: b.dtype for b in program.buffers}
    stored = [_zero_bits(step, keys, dtypes) for step in program.steps if keys in buffers_written(step)]
    return min(stored, default=0)


def _zero_bits(step: Step, keys: str, dtypes: Mapping[str, DType]) -> int:
    """`unused_bits` of what one step stores."""
    if not isinstance(step, LoopNest):
        return 0
    statements = list(walk(step.body))
    made = {s.name: s for s in statements if isinstance(s, (Let, Load))}
    least = _mantissa(f32)
    for s in statements:
        if isinstance(s, Store) and s.buffer == keys:
            widened = made.get(s.value) if isinstance(s.value, str) else None
            if not isinstance(widened, Let) or widened.op != "cast" or widened.dtype is not f32:
                return 0
            of = made.get(widened.args[0]) if isinstance(widened.args[0], str) else None
            dtype = dtypes[of.buffer] if isinstance(of, Load) else of.dtype if isinstance(of, Let) else f32
            least = min(least, _mantissa(f32) - _mantissa(dtype)) if is_half(dtype) else 0
    return least


def _mantissa(dtype: DType) -> int:
    return int(ml_dtypes.finfo(dtype.numpy).nmant)


def ordered_key(body: Body, value: str, sort: Sort) -> str:
    """``value``, an element, as an unsigned integer in the same order, equal where elements are equal.

    The bits of floats, as integers, are in the order of the magnitudes; those of negative ones are flipped. 0 equals
    -0, and so do denormals where comparisons flush them.
    """
    dtype, kind = sort.dtype, sort.key_dtype
    if not dtype.is_float:
        word = body.cast(value, dtype, kind)
        if dtype.kind == "u" or sort.known:
            return word
        return body.let(kind, "add", word, literal(1 << (dtype.bits - 1), kind))
    top = literal(1 << (dtype.bits - 1), kind)
    word = body.let(kind, "bitcast", value)
    negative = body.let(b1, "ge", word, top)
    turned = body.let(kind, "select", negative, body.let(kind, "not", word), body.let(kind, "or", word, top))
    is_zero = body.let(b1, "eq", value, literal(0.0, dtype))
    number = body.let(kind, "select", is_zero, top, turned)
    return body.let(kind, "select", body.let(b1, "ne", value, value), sort.greatest, number)


class Pairs(NamedTuple):
    """Buffers with a key and a position for each element."""

    keys: str
    order: str


class Element:
    """The element ``number`` of a row, loaded in ``body``: from a ``source``, or (None) from what is to be sorted.

    With ``ragged``, ``number`` may be out of bounds: then the last element is loaded. ``inside`` names the test; it is
    None where ``number`` is always in bounds.
    """

    def __init__(
        self, body: Body, sort: Sort, row: str, number: Index, source: Pairs | None = None, *, ragged: bool
    ) -> None:
        self.body, self.sort, self.number, self.source = body, sort, number, source
        self.at, self.dynamic, self.inside = Index(0, ((row, sort.n), *number.terms)), None, None
        if ragged:
            wanted = body.position(i64, number)
            self.inside = body.let(b1, "lt", wanted, literal(sort.n, i64))
            self.at, self.dynamic = (
                Index(0, ((row, sort.n),)),
                body.let(i64, "minimum", wanted, literal(sort.n - 1, i64)),
            )

    def key(self) -> str:
        """The name of its key."""
        if self.source is not None:
            return self.body.load(self.source.keys, self.at, self.dynamic)
        return ordered_key(self.body, self.body.load(self.sort.keys, self.at, self.dynamic), self.sort)

    def position(self) -> str:
        """The name of its position in the row that is sorted."""
        if self.source is not None:
            return self.body.load(self.source.order, self.at, self.dynamic)
        return self.body.position(i32, self.number)

    def or_last(self, key: str) -> str:
        """Its key; out of bounds, the greatest key."""
        if self.inside is None:
            return key
        return self.body.let(self.sort.key_dtype, "select", self.inside, key, self.sort.greatest)


# ---- short rows


def sorting_network(sort: Sort, names: Names, buffers: dict[str, Buffer]) -> LoopNest:
    """The network for every row; its temporaries are added to ``buffers``."""
    return _Network(sort, names, buffers).nest()


class _Network:
    """One sort over rows widened to ``width``; keys move with their positions, in buffers of their own."""

    def __init__(self, sort: Sort, names: Names, buffers: dict[str, Buffer]) -> None:
        self.sort, self.names = sort, names
        self.width = 1 << (sort.n - 1).bit_length()
        self.row = names.fresh("i")
        self.key_buffer, self.order = names.fresh("key"), sort.order
        buffers[self.key_buffer] = Buffer(self.key_buffer, sort.key_dtype, sort.rows * self.width, "temporary")
        if self.width != sort.n:
            self.order = names.fresh("order")
            buffers[self.order] = Buffer(self.order, i32, sort.rows * self.width, "temporary")

    def nest(self) -> LoopNest:
        row = Body(self.names, self.sort.loc)
        self._start(row)
        block = 2
        while block <= self.width:
            self._stage(row, block, mirrored=True)
            step = block // 2
            while step > 1:
                self._stage(row, step, mirrored=False)
                step //= 2
            block *= 2
        if self.order != self.sort.order:
            self._copy(row)
        return LoopNest((Loop(self.row, self.sort.rows, row.plain(), loc=self.sort.loc),), self.sort.loc)

    def _start(self, row: Body) -> None:
        """Every element in its own place, followed by the padding."""
        sort, var, body = self.sort, self.names.fresh("k"), row.inner()
        element = Element(body, sort, self.row, Index(0, ((var, 1),)), ragged=self.width != sort.n)
        place = Index(0, ((self.row, self.width), (var, 1)))
        self._put(body, place, element.or_last(element.key()), element.position())
        row.loop(var, self.width, body)

    def _put(self, body: Body, place: Index, key: Operand, position: str) -> None:
        body.store(self.key_buffer, place, key)
        body.store(self.order, place, position)

    def _stage(self, row: Body, block: int, *, mirrored: bool) -> None:
        """Compare-exchange each pair of the lower half of every block with one of the upper half."""
        outer, inner, half = self.names.fresh("j"), self.names.fresh("k"), block // 2
        base = ((self.row, self.width), (outer, block))
        low = Index(0, (*base, (inner, 1)))
        high = Index(block - 1, (*base, (inner, -1))) if mirrored else Index(half, low.terms)
        body, kind = row.inner(), self.sort.key_dtype
        x, y = body.load(self.key_buffer, low), body.load(self.key_buffer, high)
        a, b = body.load(self.order, low), body.load(self.order, high)
        tied = body.let(b1, "and", body.let(b1, "eq", x, y), body.let(b1, "lt", b, a))
        swap = body.let(b1, "or", body.let(b1, "lt", y, x), tied)
        first = body.let(kind, "select", swap, y, x), body.let(i32, "select", swap, b, a)
        second = body.let(kind, "select", swap, x, y), body.let(i32, "select", swap, a, b)
        self._put(body, low, *first)
        self._put(body, high, *second)
        blocks = row.inner()
        blocks.loop(inner, half, body)
        row.loop(outer, self.width // block, blocks)

    def _copy(self, row: Body) -> None:
        """Store the positions alone."""
        var, body = self.names.fresh("k"), row.inner()
        position = body.load(self.order, Index(0, ((self.row, self.width), (var, 1))))
        body.store(self.sort.order, Index(0, ((self.row, self.sort.n), (var, 1))), position)
        row.loop(var, self.sort.n, body)
