"""Sorting as loop nests: Batcher's bitonic network (Batcher 1968), in the form in which all comparisons go one way.

It sorts positions, not elements: ``order`` starts as 0, 1, 2, ... and two entries change places where the elements they
point at are out of order. Equal elements keep the order of their positions, which makes the result unique and the sort
stable. Rows are filled up to a power of two with positions behind the end, which come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from graphad.backends.cuda.rewrites import Names, copied
from graphad.backends.loops import (
    Buffer,
    Index,
    KernelCall,
    Let,
    Load,
    Loop,
    LoopNest,
    Operand,
    Position,
    Statement,
    Store,
)
from graphad.errors import LoweringError, at
from graphad.ir.loc import format_loc
from graphad.ir.types import DType, b1, i32, i64, literal

#: Positions that a block sorts by itself.
SEGMENT: Final = 2048


def sorting_steps(call: KernelCall, names: Names, buffers: dict[str, Buffer]) -> list[LoopNest]:
    """The nests that do what the body ``argsort`` does; a new temporary, if one is needed, goes to ``buffers``."""
    if call.kernel != "argsort":
        message = f"there is no CUDA form of the body {call.kernel!r}; run this function with device='cpu'."
        raise LoweringError(at(format_loc(call.loc), message))
    rows, n = call.sizes
    if not rows * n:
        return []
    width = 1 << (n - 1).bit_length()
    order = call.writes[0]
    if width != n:
        order = names.fresh("order")
        buffers[order] = Buffer(order, i32, rows * width, "temporary")
    network = _Network(call, order, width, names)
    return network.nests(call.writes[0])


class _Network:
    """The nests of one sort over ``rows`` rows of ``n`` elements in ``keys``, widened to ``width``.

    Stages that compare within segments of a row are one nest, in which a block works on each segment. The others, of
    which there are few, go over whole rows.
    """

    def __init__(self, call: KernelCall, order: str, width: int, names: Names) -> None:
        self.keys, self.dtype, self.loc = call.reads[0], call.dtype, call.loc
        self.rows, self.n = call.sizes
        self.order, self.width, self.names = order, width, names
        self.segment = min(width, SEGMENT)

    def nests(self, target: str) -> list[LoopNest]:
        """All of them, the last of which copies to ``target`` what rows were widened for."""
        inside = [self._start()]
        block = 2
        while block <= self.segment:
            inside += self._merge(block)
            block *= 2
        nests = [self._over_segments(inside)]
        while block <= self.width:
            nests.append(self._over_rows(self._stage(block, mirrored=True, width=self.width)))
            step = block // 2
            while step > self.segment:
                nests.append(self._over_rows(self._stage(step, mirrored=False, width=self.width)))
                step //= 2
            nests.append(self._over_segments(self._halves(step)))
            block *= 2
        return nests if self.width == self.n else [*nests, self._copy(target)]

    def _merge(self, block: int) -> list[Loop]:
        """The stages that make two sorted halves of each block one."""
        return [self._stage(block, mirrored=True, width=self.segment), *self._halves(block // 2)]

    def _halves(self, step: int) -> list[Loop]:
        stages: list[Loop] = []
        while step > 1:
            stages.append(self._stage(step, mirrored=False, width=self.segment))
            step //= 2
        return stages

    def _start(self) -> Loop:
        """Every position in its own place."""
        place = Index(0, (("i", self.width), ("k", 1), ("s", self.segment)))
        number = Index(0, (("k", 1), ("s", self.segment)))
        body = (Position("t0", i32, number, self.loc), Store(self.order, place, "t0", loc=self.loc))
        return self._loop("k", self.segment, body)

    def _copy(self, target: str) -> LoopNest:
        """The positions before the end."""
        body = (
            Load("t0", self.order, Index(0, (("i", self.width), ("j", 1))), loc=self.loc),
            Store(target, Index(0, (("i", self.n), ("j", 1))), "t0", loc=self.loc),
        )
        return self._over_rows(self._loop("j", self.n, body))

    def _stage(self, block: int, *, mirrored: bool, width: int) -> Loop:
        """Compare each element of the lower half of every block with one of the upper half, and swap if need be."""
        half = block // 2
        base = (("i", self.width), ("j", block))
        within = (("s", self.segment),) if width == self.segment else ()
        low = Index(0, (*base, ("k", 1), *within))
        high = Index(block - 1, (*base, ("k", -1), *within)) if mirrored else Index(half, low.terms)
        body = (
            Load("a", self.order, low, loc=self.loc),
            Load("b", self.order, high, loc=self.loc),
            *self._key("a", "x"),
            *self._key("b", "y"),
            *self._swap(),
            self._let("first", i32, "select", "swap", "b", "a"),
            self._let("second", i32, "select", "swap", "a", "b"),
            Store(self.order, low, "first", loc=self.loc),
            Store(self.order, high, "second", loc=self.loc),
        )
        return Loop("j", width // block, (self._loop("k", half, body),), loc=self.loc)

    def _loop(self, var: str, extent: int, body: Sequence[Statement]) -> Loop:
        """An innermost loop, whose values get names of their own."""
        return Loop(var, extent, copied(body, self.names)[0], loc=self.loc)

    def _over_segments(self, stages: Sequence[Loop]) -> LoopNest:
        segments = Loop("s", self.width // self.segment, tuple(stages), loc=self.loc)
        return LoopNest((Loop("i", self.rows, (segments,), loc=self.loc),), self.loc)

    def _over_rows(self, stage: Loop) -> LoopNest:
        return LoopNest((Loop("i", self.rows, (stage,), loc=self.loc),), self.loc)

    def _key(self, position: str, key: str) -> list[Statement]:
        """The element that a position points at; behind the end, the last one."""
        inside = self._let(f"{key}_in", i32, "minimum", position, literal(self.n - 1, i32))
        wide = self._let(f"{key}_at", i64, "cast", f"{key}_in")
        return [inside, wide, Load(key, self.keys, Index(0, (("i", self.n),)), f"{key}_at", self.loc)]

    def _swap(self) -> list[Statement]:
        """``swap``: whether what ``b`` points at belongs before what ``a`` points at."""
        end = literal(self.n, i32)
        return [
            *self._before("x", "y", "ordered"),
            *self._before("y", "x", "inverted"),
            self._let("later", b1, "lt", "b", "a"),
            self._let("equal", b1, "not", "ordered"),
            self._let("tied", b1, "and", "equal", "later"),
            self._let("wrong", b1, "or", "inverted", "tied"),
            self._let("a_end", b1, "ge", "a", end),
            self._let("b_end", b1, "ge", "b", end),
            self._let("ends", b1, "or", "a_end", "b_end"),
            self._let("swap", b1, "select", "ends", "later", "wrong"),
        ]

    def _before(self, x: str, y: str, name: str) -> list[Statement]:
        """``name``: whether ``x`` is less than ``y``, or is a number where ``y`` is nan."""
        less = self._let(name if not self.dtype.is_float else f"{name}_less", b1, "lt", x, y)
        if not self.dtype.is_float:
            return [less]
        return [
            less,
            self._let(f"{name}_is", b1, "eq", x, x),
            self._let(f"{name}_not", b1, "ne", y, y),
            self._let(f"{name}_nan", b1, "and", f"{name}_is", f"{name}_not"),
            self._let(name, b1, "or", f"{name}_less", f"{name}_nan"),
        ]

    def _let(self, name: str, dtype: DType, op: str, *args: Operand) -> Let:
        return Let(name, dtype, op, args, self.loc)
