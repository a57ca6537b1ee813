"""How much work loops are: what decides whether threads are worth it, and how large a block is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from graphad_kernels.routines import ROUTINES

from graphad.backends.loops.ir import (
    Gemm,
    Let,
    Load,
    Loop,
    LoopNest,
    Repeat,
    RoutineCall,
    Statement,
    Step,
    Store,
    While,
)
from graphad.backends.lower.scalars import cost_of

#: Loops that run together are worth several threads from so much work on: that of some 40 us.
WORTH: Final = 1 << 19
#: A loop of less work does not join others.
LEAST: Final = WORTH // 32
#: The work of a block, at least: some 5 us.
BLOCK: Final = 1 << 16
#: How many blocks there are at most: each costs a call, and its sums an addition.
MOST: Final = 256
#: Fewer turns of a vector loop are no block: as many lanes as one may have.
LANES: Final = 16
#: Additions a nanosecond, about, in lanes.
RATE: Final = 15

#: What a load or store costs, in additions, as long as it is near.
_ACCESS: Final = 2
#: A loop that ends by a test is taken to have so many turns.
_TURNS: Final = 8


def work(statements: Iterable[Statement]) -> int:
    """The work of statements, in additions."""
    total = 0
    for s in statements:
        match s:
            case Let(op=op):
                total += cost_of(op)
            case Load() | Store():
                total += _ACCESS
            case Loop(body=body, carries=carries, extent=extent):
                total += extent * (work(body) + len(carries))
            case While(body=body):
                total += work(body) * (1 if s.is_branch else _TURNS)
            case _:
                pass
    return total


def work_of(step: Step) -> int:
    """The work of a step of a block, in additions."""
    match step:
        case LoopNest(body=body):
            return work(body)
        case Gemm():  # BLAS does four products in the time of an addition
            return max(step.m * step.n * step.k * step.batch // (1 if step.has_vector else 4), 1)
        case RoutineCall(routine=name, sizes=sizes):  # few operations are in lanes
            return max(4 * ROUTINES[name].cost(*sizes), 1)
        case _:
            return 1


def nanoseconds(step: Repeat) -> int:
    """What one thread takes for parallel turns, about."""
    return step.extent * sum([work_of(s) for s in step.body]) // RATE


def turns_of_block(extent: int, each: int, least: int = 1) -> int:
    """How many turns make a block: a multiple of ``least``, of a loop with ``extent`` turns of so much work each.

    Where a few blocks more or less leave no rest, which would be written out once more, there are so many.

    >>> turns_of_block(100_000, 128, 16)
    400
    """
    turns = max(-(-BLOCK // max(each, 1)), -(-extent // MOST))
    unit = least if turns < 64 else max(least, 64)  # whole lines of cache
    turns = min(-(-turns // unit) * unit, extent)
    count = -(-extent // turns)
    near = sorted(range(max(count * 5 // 8, min(count, 2)), count * 3 // 2 + 1), key=lambda n: abs(n - count))
    return next((extent // n for n in near if not extent % n and not extent // n % least), turns)
