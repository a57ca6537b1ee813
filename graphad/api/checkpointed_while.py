"""``while`` loops that store few states for reverse mode: as many as was decided before their number of turns is known.

The states of an *online* schedule are stored as the loop runs [1]_. It begins as a schedule of one sweep, which stores
the state before each block. Where the slots are used up, ``C(s + r - 1, r)`` blocks have run, just as many as the first
part of a schedule of one sweep more has: that goes on, with the first state, this one, and all other slots free. So
there are no more sweeps than in the best schedule that knows the number of turns.

Walk of one example: a loop of nine blocks with three slots. States 0, 1 and 2 are stored; at block 3 the slots are used
up. State 3 takes the place of 1, and 5 that of 2, as in a schedule of two sweeps, which reaches to block 6. State 6
takes the place of 3. In reverse the part from 6 to 9 has two slots and two sweeps more, that from 0 to 6 is the example
of `checkpoints`.

Blocks are reversed as those of a loop of a known length are, but for the last one, which may be shorter; it stores what
its turns compute as a ``counted`` loop does. Above `MOST_SWEEPS` sweeps, nothing is stored but the first state: then
parts as long as so many sweeps reach are reversed one after the other, each begun from the start of the loop.

.. [1] P. Stumm, A. Walther, New algorithms for optimal online checkpointing, SIAM Journal on Scientific Computing
   32(2), 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from graphad.api.checkpoints import (
    BLOCK,
    Reverse,
    Reversed,
    Segment,
    at,
    chosen,
    empty,
    floats,
    number,
    of_all,
    put,
    reach,
)  # fmt: skip
from graphad.api.control_flow import fori_loop, while_loop
from graphad.api.custom import custom_vjp
from graphad.api.stages import run_on
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Graph
from graphad.ir.ref import Ref
from graphad.ir.types import EXTENT, Aval, aval, i64, literal
from graphad.primitives.arithmetic import add, maximum, minimum, quo
from graphad.primitives.comparison import and_, lt, select
from graphad.primitives.control import without_effects
from graphad.primitives.layout import broadcast
from graphad.primitives.while_loop import Params, counted, while_
from graphad.trace.array import Array
from graphad.trace.float0 import is_float0
from graphad.trace.semantics import as_operand
from graphad.transforms.loop_adjoint import while_adjoint

#: Of a schedule that begins again from the first state.
MOST_SWEEPS: Final = 4
#: A number of blocks that no loop reaches.
_NEVER: Final = 1 << 62


def turns_reached(slots: int) -> int:
    """How many turns are reversed without beginning again.

    >>> turns_reached(100)
    35370200
    """
    return reach(slots, MOST_SWEEPS) * BLOCK


def while_with_checkpoints(regions: Sequence[Graph], params: Params, slots: int, operands: Sequence[Any]) -> list[Any]:
    """The results of a ``while`` equation, with ``slots`` stored states, two at least."""
    test, body = regions
    p, given = params, [as_operand(x) for x in operands]
    parts = given[: p.n_test_consts], given[p.n_test_consts : p.first_carry], given[p.first_carry :]
    return CheckpointedWhile(test, body, p, slots).call(*parts)


class CheckpointedWhile:
    """A loop that stores few states.

    Parameters
    ----------
    test, body, params
        Of the ``while`` equation.
    slots
        The number of states.
    """

    def __init__(self, test: Graph, body: Graph, params: Params, slots: int) -> None:
        self.test, self.body, self.params, self.slots = test, body, params, slots
        self.answer: Aval = test.out_avals[0]
        self.call = custom_vjp(self.while_with_checkpoint)
        self.call.defvjp(self._forward, self._backward)

    def while_with_checkpoint(self, tests: list[Any], consts: list[Any], carry: list[Any]) -> list[Any]:
        return run_on(self._loop, [*tests, *consts, *carry])

    @property
    def _loop(self) -> Graph:
        builder = Builder()
        atoms = _inputs(builder, self._operands)
        numbers = builder.emit(while_, tuple(atoms), tuple(self.params), (self.test, self.body))
        return builder.close(numbers, name=self.body.name)

    @property
    def _operands(self) -> list[Aval]:
        return [*self.test.in_avals[: self.params.n_test_consts], *self.body.in_avals]

    def block(self, test: Graph, body: Graph) -> Graph:
        """`BLOCK` turns at most: the operands of the loop -> its results."""
        p, answer = self.params, self.answer
        of_test, of_body, builder = Builder(), Builder(), Builder()
        given = _inputs(of_test, test.in_avals[: p.n_test_consts])
        count = of_test.input_ref(aval(answer.shape, i64))
        goes_on = of_test.inline(test, [*given, *_inputs(of_test, test.in_avals[p.n_test_consts :])])
        both = and_(Ref(of_test, goes_on[0]), lt(count, _filled(of_test, answer.shape, BLOCK)))
        given = _inputs(of_body, body.in_avals[: p.n_body_consts])
        count = of_body.input_ref(aval(answer.shape, i64))
        after = of_body.inline(body, [*given, *_inputs(of_body, body.in_avals[p.n_body_consts :])])
        outs = [add(count, _filled(of_body, answer.shape, 1)).atom, *after]
        regions = (of_test.close([both.atom], name=test.name), of_body.close(outs, name=body.name))
        atoms = _inputs(builder, self._operands)
        atoms.insert(p.first_carry, _filled(builder, answer.shape, 0).atom)
        numbers = builder.emit(while_, tuple(atoms), tuple(p), regions)
        return builder.close(numbers[1:], name=body.name)

    # ---- forward

    def _forward(self, tests: list[Any], consts: list[Any], carry: list[Any]) -> tuple[Any, Any]:
        block = self.block(self.test, self.body)

        def goes_on(state: Any) -> Any:
            return run_on(self.test, [*tests, *state[0]])[0].any()

        def run(state: Any) -> Any:
            carry, _, turns, b, stored, place = state
            stored, place = self._stored(b, carry, stored, place)
            *after, more = run_on(block, [*tests, *consts, *carry])
            return after, carry, turns + more, b + 1, stored, place

        turns = Array(np.zeros(self.answer.shape, np.int64))
        stored = [empty(c, self.slots) for c in carry]
        state = (carry, carry, turns, number(0), stored, (number(-1), number(1), number(0)))
        carry, before_last, turns, blocks, stored, (_, sweeps, _) = while_loop(goes_on, run, state)
        return [*carry, turns], (tests, consts, stored, before_last, turns, blocks, sweeps)

    def _stored(self, b: Any, carry: list[Any], stored: list[Any], place: Any) -> tuple[list[Any], Any]:
        """The states, with that before block ``b`` if it is the ``following`` one, which a part begins with.

        The place is the number of the last part, that of sweeps, and the block at which the following part begins.
        """
        k, sweeps, following = place
        is_first = b == following
        is_used_up = is_first & (k == self.slots - 1)
        sweeps = sweeps + is_used_up
        k = select(is_used_up, number(1), k + is_first)
        following = select(is_first, self._start_of(k + 1, sweeps), following)
        stored = [put(s, chosen(is_first, c, at(s, k)), k) for s, c in zip(stored, carry, strict=True)]
        return stored, (k, sweeps, following)

    def _start_of(self, k: Any, sweeps: Any) -> Any:
        """Where part ``k`` of the whole loop begins."""
        found = number(_NEVER)
        for r in range(1, MOST_SWEEPS + 1):
            found = select(sweeps == r, reach(self.slots, r) - reach(self.slots - k, r), found)
        return found

    # ---- backward

    def _backward(self, residuals: Any, cts: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        tests, consts, stored, before_last, turns, blocks, sweeps = residuals
        reverse = _ReverseOfWhile(self, tests, consts, turns, sweeps)
        found = Reversed(stored, [c for c in cts if not is_float0(c)], [empty(x) for x in floats(consts)], [])
        whole = maximum(blocks - 1, number(0))
        found = reverse.whole(reverse.last(found, before_last, whole), whole)
        of_tests = of_all(tests, [empty(x) for x in floats(tests)])
        return of_tests, of_all(consts, found.consts), of_all(before_last, found.carry)


def _inputs(builder: Builder, avals: Sequence[Aval]) -> list[Atom]:
    return [builder.input(a) for a in avals]


def _filled(builder: Builder, shape: tuple[int, ...], n: int) -> Ref:
    x = Ref(builder, literal(n, i64))
    return broadcast(x, shape=shape, dims=()) if shape else x


class _ReverseOfWhile(Reverse):
    """The reverse of a loop that has run as many ``turns``, and stored what so many ``sweeps`` need."""

    def __init__(self, loop: CheckpointedWhile, tests: list[Any], consts: list[Any], turns: Any, sweeps: Any) -> None:
        self.loop, self.tests, self.consts, self.turns, self.sweeps = loop, tests, consts, turns, sweeps
        self.silent = loop.block(without_effects(loop.test), without_effects(loop.body))

    def advance(self, b: Any, carry: list[Any]) -> list[Any]:
        return run_on(self.silent, [*self.tests, *self.consts, *carry])[:-1]

    def block(self, found: Reversed, carry: list[Any], b: Any) -> Reversed:
        return self._reversed(found, self._adjoint(BLOCK), self._operands(found, carry, b))

    def last(self, found: Reversed, carry: list[Any], b: Any) -> Reversed:
        """Reverse the last block, the turns from the start of block ``b`` on."""
        adjoint = self._adjoint(EXTENT)
        builder = Builder()
        atoms = _inputs(builder, [aval((), i64), *adjoint.in_avals])
        graph = builder.close(builder.emit(counted, tuple(atoms), (), (adjoint,)), name=adjoint.name)
        operands = self._operands(found, carry, b)
        return self._reversed(found, graph, [operands[0].max(), *operands])

    def _adjoint(self, length: int) -> Graph:
        return while_adjoint(self.loop.body, self.loop.params.n_body_consts, self.loop.answer, length)

    def _operands(self, found: Reversed, carry: list[Any], b: Any) -> list[Any]:
        return [self.turns - b * BLOCK, *self.consts, *carry, *found.carry, *found.consts]

    def _reversed(self, found: Reversed, graph: Graph, operands: list[Any]) -> Reversed:
        made = run_on(graph, operands)
        n = len(found.consts)
        return found._replace(consts=made[:n], carry=made[n:])

    # ---- parts

    def whole(self, found: Reversed, blocks: Any) -> Reversed:
        """Reverse the blocks but the last; from the first state again and again, where there are too many."""
        again = self.sweeps > MOST_SWEEPS
        most = reach(self.loop.slots - 1, MOST_SWEEPS)
        width = select(again, number(most), blocks)
        n_parts = select(again, quo(blocks + (most - 1), number(most)), minimum(blocks, number(1)))
        slot = number(0) + again

        def part(done: Any, found: Reversed) -> Reversed:
            begins = (n_parts - 1 - done) * width
            carry = fori_loop(number(0), begins, self.advance, [at(s, number(0)) for s in found.stored])
            stored = [put(s, c, slot) for s, c in zip(found.stored, carry, strict=True)]
            segment = Segment(begins, minimum(begins + width, blocks), slot, self.loop.slots - slot)
            return self.segment(found._replace(stored=stored), segment, MOST_SWEEPS)

        return fori_loop(number(0), n_parts, part, found)

    def segment(self, found: Reversed, segment: Segment, sweeps: int) -> Reversed:
        """Reverse a segment; what the loop itself has stored is there."""
        if not sweeps:
            return super().segment(found, segment, 0)
        count = self.count(segment, sweeps)
        stored = self.sweep(found.stored, segment, sweeps, select(self.sweeps == sweeps, number(1), count))
        return self.parts(found._replace(stored=stored), segment, sweeps, count)

    def start_of(self, k: Any, segment: Segment, sweeps: int) -> Any:
        """Where part ``k`` of a segment begins: of more sweeps than there are, each has one part."""
        one_part = segment.start + k * (segment.stop - segment.start)
        return select(self.sweeps < sweeps, one_part, super().start_of(k, segment, sweeps))
