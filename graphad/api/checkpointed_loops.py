"""Loops whose reverse mode stores few states: checkpoints by binomial schedules.

Reverse mode of a loop reads what its turns computed, in reverse. To store all of it takes memory in proportion to the
number of turns. Here ``s`` states are stored, and turns are run again from the nearest one; ``r`` sweeps over
``C(s + r - 1, r)`` blocks of turns are enough [1]_. States within a block of turns are stored while it is reversed.

A *segment* of blocks is reversed with ``s`` slots, of which the first holds the state at its start, in ``r`` sweeps.
One puts states into the slots, such that what begins at the ``k``-th can be reversed with the slots from there on in
``r - 1`` sweeps; then these parts are reversed from the last to the first. Of one sweep each part is a block.

Walk of one example: six blocks with three slots are reversed in two sweeps, as ``C(4, 2)`` is six. States 0, 3 and 5
are stored by the first, which is the loop itself. The part from 5 is one block. That from 3 has the slots of 3 and 5: a
sweep stores 4 where 5 was. Last comes the part from 0, with all three slots.

.. [1] A. Griewank, A. Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26(1), 2000.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import comb, factorial
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.api.control_flow import fori_loop, scan, traced_scan, while_loop
from graphad.api.custom import custom_vjp
from graphad.api.loop_bodies import guard
from graphad.api.stages import run_on
from graphad.ir.graph import Graph
from graphad.ir.types import i32, literal
from graphad.primitives.arithmetic import minimum, quo
from graphad.primitives.comparison import select
from graphad.primitives.crossing import Params
from graphad.primitives.dynamic import dynamic_slice, dynamic_update_slice
from graphad.primitives.layout import broadcast, reshape
from graphad.primitives.shape import concatenate
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.bind import type_of
from graphad.trace.float0 import float0, is_float0
from graphad.trace.pytree import unflatten
from graphad.trace.semantics import as_operand, cast
from graphad.transforms.loop_adjoint import loop_adjoint

#: Turns of a block.
BLOCK: Final = 8
#: A program for more sweeps would be long: each is a loop in the one before.
MOST_SWEEPS: Final = 6


class Schedule(NamedTuple):
    """How ``blocks`` blocks are reversed: with ``slots`` states, in ``sweeps`` sweeps."""

    blocks: int
    slots: int
    sweeps: int


def schedule(turns: int, checkpoint: int | str) -> Schedule:
    """The schedule of a loop.

    >>> schedule(1_000_000, 180)
    Schedule(blocks=125000, slots=180, sweeps=3)
    >>> schedule(1_000_000, "sqrt")
    Schedule(blocks=125000, slots=500, sweeps=2)
    """
    blocks = turns // BLOCK
    if checkpoint == "sqrt":
        return Schedule(blocks, least_slots(blocks, 2), 2)
    if type(checkpoint) is not int or checkpoint < 1:
        text = f"{source.where()}lax.scan: checkpoint is a number of states to store, or 'sqrt', not {checkpoint!r}."
        raise ValueError(text)
    for sweeps in range(1, MOST_SWEEPS + 1):
        if _reach(checkpoint, sweeps) >= blocks:
            return Schedule(blocks, min(checkpoint, max(blocks, 1)), sweeps)
    text = f"{source.where()}lax.scan: {turns:,} turns cannot be reversed with checkpoint={checkpoint}. "
    raise ValueError(f"{text}Store {least_slots(blocks, MOST_SWEEPS)} states at least.")


def least_slots(blocks: int, sweeps: int) -> int:
    """The least number of slots with which so many sweeps reverse ``blocks`` blocks."""
    return bisect_left(range(1, blocks), blocks, key=lambda slots: _reach(slots, sweeps)) + 1


def _reach(slots: Any, sweeps: int) -> Any:
    """How many blocks can be reversed, for a number of slots known now or when the program runs."""
    if isinstance(slots, int):
        return comb(slots + sweeps - 1, sweeps)
    product = slots
    for k in range(1, sweeps):
        product = product * (slots + k)
    return quo(product, factorial(sweeps)) if sweeps > 1 else product


def scan_with_checkpoints(
    f: Callable[..., Any], init: Any, xs: Any, length: int | None, reverse: bool, checkpoint: int | str
) -> tuple[Any, Any]:
    """`graphad.lax.scan` with few stored states."""
    t = traced_scan(f, init, xs, length, "scan")
    guard([t.body])
    n = len(t.carry)
    carry = [cast(c, g.aval.dtype) for c, g in zip(t.carry, t.given, strict=True)]
    params = Params(t.length, bool(reverse), len(t.body.captures), n)
    operands = [*t.body.captures, *carry, *t.slices]
    results = loop_with_checkpoints(t.region, params, schedule(t.length, checkpoint), operands)
    return unflatten(t.carry_tree, results[:n]), unflatten(t.y_tree, results[n:])


def loop_with_checkpoints(region: Graph, params: Params, plan: Schedule, operands: Sequence[Any]) -> list[Any]:
    """The results of a ``scan`` equation."""
    operands = [as_operand(x) for x in operands]
    consts, carry, xs = (operands[part] for part in params.parts)
    loop = Checkpointed(region, params, plan)
    run = loop.call if plan.blocks else loop.scan_with_checkpoint
    carry, ys = run(consts, carry, xs)
    return [*carry, *ys]


# ---------------------------------------------------------------------------------------------------------------------
# Lists of arrays, of which floats have cotangents


def _is_float(x: Any) -> bool:
    return type_of(x).aval.dtype.is_float


def _floats(xs: Sequence[Any]) -> list[Any]:
    return [x for x in xs if _is_float(x)]


def _number(n: int) -> Any:
    """A number of blocks or slots."""
    return Array(np.asarray(n, np.int64))


def _put(x: Any, element: Any, k: Any) -> Any:
    """``x`` with another element at ``k`` of its first axis."""
    return _put_block(x, reshape(element, shape=(1, *element.shape)), k)


def _put_block(x: Any, block: Any, start: Any) -> Any:
    return dynamic_update_slice(x, block, start, *_zeros(x), batch=0)


def _at(x: Any, k: Any) -> Any:
    """The element at ``k`` of the first axis."""
    return reshape(_blocks([x], k, 1)[0], shape=x.shape[1:])


def _blocks(xs: list[Any], start: Any, size: int) -> list[Any]:
    """``size`` elements of each array from ``start`` on."""
    return [dynamic_slice(x, start, *_zeros(x), sizes=(size, *x.shape[1:]), batch=0) for x in xs]


def _zeros(x: Any) -> list[Any]:
    """Starts along all axes but the first."""
    return [literal(0, i32)] * (x.ndim - 1)


def _chosen(predicate: Any, x: Any, y: Any) -> Any:
    return select(broadcast(predicate, shape=x.shape, dims=()) if x.ndim else predicate, x, y)


def _empty(x: Any, *leading: int) -> Any:
    """Zeros of the type of ``x``, or of so many of it, stacked."""
    return Array(np.broadcast_to(np.zeros((), x.dtype), (*leading, *x.shape)))


# ---------------------------------------------------------------------------------------------------------------------
# The loop


class _Segment(NamedTuple):
    """Blocks from ``start`` to ``stop``; ``slots`` slots from ``first`` on, which has the state at ``start``."""

    start: Any
    stop: Any
    first: Any
    slots: Any


class _Reversed(NamedTuple):
    """What goes from block to block in reverse: the stored states, and cotangents of floats."""

    stored: list[Any]
    carry: list[Any]
    consts: list[Any]
    xs: list[Any]


class Checkpointed:
    """A loop that stores few states; turns that make no whole block come last.

    Parameters
    ----------
    region, params
        Of the ``scan`` equation.
    plan
        The schedule.
    """

    def __init__(self, region: Graph, params: Params, plan: Schedule) -> None:
        self.region, self.params, self.plan = region, params, plan
        self.rest = params.length - plan.blocks * BLOCK
        self.call = custom_vjp(self.scan_with_checkpoint)
        self.call.defvjp(self._forward, self._backward)

    def scan_with_checkpoint(self, consts: list[Any], carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        return self.turns(consts, carry, xs, self.params.length)

    def turns(self, consts: list[Any], carry: list[Any], slices: list[Any], n: int) -> tuple[list[Any], list[Any]]:
        """Turns in a row."""

        def turn(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
            made = run_on(self.region, [*consts, *carry, *x])
            return made[: len(carry)], made[len(carry) :]

        return scan(turn, carry, slices, n, self.params.reverse)

    def first_slice(self, b: Any) -> Any:
        """Where the slices of block ``b`` begin in arrays over the turns."""
        return (self.params.length - BLOCK) - b * BLOCK if self.params.reverse else b * BLOCK

    @property
    def last_slices(self) -> Any:
        """Where those begin that make no whole block."""
        return _number(0 if self.params.reverse else self.plan.blocks * BLOCK)

    # ---- forward: the first sweep

    def _forward(self, consts: list[Any], carry: list[Any], xs: list[Any]) -> tuple[Any, Any]:
        blocks, slots, sweeps = self.plan

        def block(state: Any, _: Any) -> Any:
            carry, stored, b, k, following = state
            is_first = b == following
            k = k + is_first
            following = select(is_first, _reach(slots, sweeps) - _reach(slots - 1 - k, sweeps), following)
            stored = [_put(s, _chosen(is_first, c, _at(s, k)), k) for s, c in zip(stored, carry, strict=True)]
            carry, ys = self.turns(consts, carry, _blocks(xs, self.first_slice(b), BLOCK), BLOCK)
            return (carry, stored, b + 1, k, following), ys

        stored = [_empty(c, slots) for c in carry]
        numbers = [_number(n) for n in (0, -1, 0)]
        (carry, stored, *_), ys = scan(block, (carry, stored, *numbers), None, blocks, self.params.reverse)
        ys = [reshape(y, shape=(blocks * BLOCK, *y.shape[2:])) for y in ys]
        if not self.rest:
            return (carry, ys), (consts, xs, stored, [])
        end, last = self.turns(consts, carry, _blocks(xs, self.last_slices, self.rest), self.rest)
        ordered = (last, ys) if self.params.reverse else (ys, last)
        return (end, [concatenate(*parts, axis=0) for parts in zip(*ordered, strict=True)]), (consts, xs, stored, carry)

    # ---- backward

    def _backward(self, residuals: Any, cts: Any) -> tuple[list[Any], list[Any], list[Any]]:
        consts, xs, stored, before_last = residuals
        ct_carry, ct_ys = ([c for c in cs if not is_float0(c)] for cs in cts)
        found = _Reversed(stored, ct_carry, *[[_empty(x) for x in _floats(given)] for given in (consts, xs)])
        reverse = _Reverse(self, consts, xs, ct_ys)
        if self.rest:
            found = reverse.turns(found, before_last, self.last_slices, self.rest)
        whole = _Segment(_number(0), _number(self.plan.blocks), _number(0), self.plan.slots)
        found = reverse.parts(found, whole, self.plan.sweeps, reverse.count(whole, self.plan.sweeps))
        first = [_at(s, _number(0)) for s in stored]
        return _of_all(consts, found.consts), _of_all(first, found.carry), _of_all(xs, found.xs)


def _of_all(given: list[Any], cotangents: list[Any]) -> list[Any]:
    """Cotangents of floats, among those of what has none."""
    found = iter(cotangents)
    return [next(found) if _is_float(x) else np.zeros(x.shape, float0) for x in given]


class _Reverse:
    """The reverse of a loop: its constants, slices, and cotangents of what it stacks."""

    def __init__(self, loop: Checkpointed, consts: list[Any], xs: list[Any], ct_ys: list[Any]) -> None:
        self.loop, self.consts, self.xs, self.ct_ys = loop, consts, xs, ct_ys

    def segment(self, found: _Reversed, segment: _Segment, sweeps: int) -> _Reversed:
        """Reverse a segment in so many sweeps."""
        if not sweeps:
            carry = [_at(s, segment.first) for s in found.stored]
            return self.turns(found, carry, self.loop.first_slice(segment.start), BLOCK)
        stored, count = self.sweep(found.stored, segment, sweeps)
        return self.parts(found._replace(stored=stored), segment, sweeps, count)

    def start_of(self, k: Any, segment: _Segment, sweeps: int) -> Any:
        """Where part ``k`` of a segment begins."""
        return segment.start + _reach(segment.slots, sweeps) - _reach(segment.slots - k, sweeps)

    def count(self, segment: _Segment, sweeps: int) -> Any:
        """How many parts a segment has."""
        return while_loop(lambda k: self.start_of(k, segment, sweeps) < segment.stop, lambda k: k + 1, _number(1))

    def sweep(self, stored: list[Any], segment: _Segment, sweeps: int) -> tuple[list[Any], Any]:
        """Store the states at which the parts of a segment begin; and how many parts there are."""
        count = self.count(segment, sweeps)

        def part(k: Any, stored: list[Any]) -> list[Any]:
            carry = [_at(s, segment.first + k - 1) for s in stored]
            begins, ends = (self.start_of(j, segment, sweeps) for j in (k - 1, k))
            carry = fori_loop(begins, ends, self._advance, carry)
            return [_put(s, c, segment.first + k) for s, c in zip(stored, carry, strict=True)]

        return fori_loop(_number(1), count, part, stored), count

    def _advance(self, b: Any, carry: list[Any]) -> list[Any]:
        return self.loop.turns(self.consts, carry, _blocks(self.xs, self.loop.first_slice(b), BLOCK), BLOCK)[0]

    def parts(self, found: _Reversed, segment: _Segment, sweeps: int, count: Any) -> _Reversed:
        """Reverse the parts of a segment, from the last to the first; their first states are stored."""

        def part(done: Any, found: _Reversed) -> _Reversed:
            k = count - 1 - done
            begins = self.start_of(k, segment, sweeps)
            ends = minimum(self.start_of(k + 1, segment, sweeps), segment.stop)
            return self.segment(found, _Segment(begins, ends, segment.first + k, segment.slots - k), sweeps - 1)

        return fori_loop(_number(0), count, part, found)

    def turns(self, found: _Reversed, carry: list[Any], start: Any, n: int) -> _Reversed:
        """Reverse ``n`` turns in a row, which begin with ``carry`` and have their slices from ``start`` on."""
        adjoint = loop_adjoint(self.loop.region, self.loop.params._replace(length=n))
        operands = [*self.consts, *carry, *_blocks(self.xs, start, n)]
        cts = [*found.carry, *_blocks(self.ct_ys, start, n)]
        made = iter(run_on(adjoint, [*operands, *cts, *found.consts]))
        return _Reversed(
            found.stored,
            consts=[next(made) for _ in found.consts],
            carry=[next(made) for _ in found.carry],
            xs=[_put_block(x, next(made), start) for x in found.xs],
        )
