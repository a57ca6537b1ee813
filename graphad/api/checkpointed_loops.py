"""Loops of a known number of turns that store few states for reverse mode (`checkpoints`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphad.api.checkpoints import (
    BLOCK,
    Reverse,
    Reversed,
    Schedule,
    Segment,
    at,
    blocks_of,
    chosen,
    empty,
    floats,
    number,
    of_all,
    put,
    put_block,
    reach,
    schedule,
)  # fmt: skip
from graphad.api.control_flow import scan, traced_scan
from graphad.api.custom import custom_vjp
from graphad.api.loop_bodies import guard
from graphad.api.stages import run_on
from graphad.ir.graph import Graph
from graphad.primitives.comparison import select
from graphad.primitives.crossing import Params
from graphad.primitives.layout import reshape
from graphad.primitives.shape import concatenate
from graphad.trace.float0 import is_float0
from graphad.trace.pytree import unflatten
from graphad.trace.semantics import as_operand, cast
from graphad.transforms.loop_adjoint import loop_adjoint


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
        return number(0 if self.params.reverse else self.plan.blocks * BLOCK)

    # ---- forward: the first sweep

    def _forward(self, consts: list[Any], carry: list[Any], xs: list[Any]) -> tuple[Any, Any]:
        blocks, slots, sweeps = self.plan

        def block(state: Any, _: Any) -> Any:
            carry, stored, b, k, following = state
            is_first = b == following
            k = k + is_first
            following = select(is_first, reach(slots, sweeps) - reach(slots - 1 - k, sweeps), following)
            stored = [put(s, chosen(is_first, c, at(s, k)), k) for s, c in zip(stored, carry, strict=True)]
            carry, ys = self.turns(consts, carry, blocks_of(xs, self.first_slice(b), BLOCK), BLOCK)
            return (carry, stored, b + 1, k, following), ys

        stored = [empty(c, slots) for c in carry]
        numbers = [number(n) for n in (0, -1, 0)]
        (carry, stored, *_), ys = scan(block, (carry, stored, *numbers), None, blocks, self.params.reverse)
        ys = [reshape(y, shape=(blocks * BLOCK, *y.shape[2:])) for y in ys]
        if not self.rest:
            return (carry, ys), (consts, xs, stored, [])
        end, last = self.turns(consts, carry, blocks_of(xs, self.last_slices, self.rest), self.rest)
        ordered = (last, ys) if self.params.reverse else (ys, last)
        return (end, [concatenate(*parts, axis=0) for parts in zip(*ordered, strict=True)]), (consts, xs, stored, carry)

    # ---- backward

    def _backward(self, residuals: Any, cts: Any) -> tuple[list[Any], list[Any], list[Any]]:
        consts, xs, stored, before_last = residuals
        ct_carry, ct_ys = ([c for c in cs if not is_float0(c)] for cs in cts)
        found = Reversed(stored, ct_carry, *[[empty(x) for x in floats(given)] for given in (consts, xs)])
        reverse = _ReverseOfScan(self, consts, xs, ct_ys)
        if self.rest:
            found = reverse.turns(found, before_last, self.last_slices, self.rest)
        whole = Segment(number(0), number(self.plan.blocks), number(0), self.plan.slots)
        found = reverse.parts(found, whole, self.plan.sweeps, reverse.count(whole, self.plan.sweeps))
        first = [at(s, number(0)) for s in stored]
        return of_all(consts, found.consts), of_all(first, found.carry), of_all(xs, found.xs)


class _ReverseOfScan(Reverse):
    """The reverse of a loop: its constants, slices, and cotangents of what it stacks."""

    def __init__(self, loop: Checkpointed, consts: list[Any], xs: list[Any], ct_ys: list[Any]) -> None:
        self.loop, self.consts, self.xs, self.ct_ys = loop, consts, xs, ct_ys

    def advance(self, b: Any, carry: list[Any]) -> list[Any]:
        return self.loop.turns(self.consts, carry, blocks_of(self.xs, self.loop.first_slice(b), BLOCK), BLOCK)[0]

    def block(self, found: Reversed, carry: list[Any], b: Any) -> Reversed:
        return self.turns(found, carry, self.loop.first_slice(b), BLOCK)

    def turns(self, found: Reversed, carry: list[Any], start: Any, n: int) -> Reversed:
        """Reverse ``n`` turns in a row, which begin with ``carry`` and have their slices from ``start`` on."""
        adjoint = loop_adjoint(self.loop.region, self.loop.params._replace(length=n))
        operands = [*self.consts, *carry, *blocks_of(self.xs, start, n)]
        cts = [*found.carry, *blocks_of(self.ct_ys, start, n)]
        made = iter(run_on(adjoint, [*operands, *cts, *found.consts]))
        return Reversed(
            found.stored,
            consts=[next(made) for _ in found.consts],
            carry=[next(made) for _ in found.carry],
            xs=[put_block(x, next(made), start) for x in found.xs],
        )
