"""Collective instructions: barriers, shuffles, votes and reductions of a warp.

Their threads wait for one another (`Block.waits_for`), so that a step sees all of them at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError, Fault
from graphad.backends.cuda.emulator.instructions.decoder import Decoder, Step, Values
from graphad.backends.cuda.emulator.instructions.opcodes import opcode
from graphad.backends.cuda.emulator.machine.memory import POISON
from graphad.backends.cuda.emulator.machine.threads import WARP, Threads
from graphad.backends.cuda.emulator.ptx_types import TYPES, literal
from graphad.backends.cuda.emulator.syntax import Instruction

Array = np.ndarray[Any, np.dtype[Any]]

SYNCHRONISING = {"bar", "barrier", "shfl", "vote", "match", "redux"}
"""Opcodes that threads wait at."""

_POISON_WORD = np.uint32(POISON * 0x01010101)


def _wait_for_warp(i: Instruction, d: Decoder, operand: str) -> int:
    """Let the block wait for the lanes that an operand names."""
    if not i.has("sync"):
        raise EmulatorError("is supported with .sync")
    d.block.waits_for = "warp"
    d.block.mask = d.source(operand, TYPES["u32"])
    return d.block.mask


@opcode("bar", "barrier")
def barrier(i: Instruction, d: Decoder) -> Step:
    """Barriers of a block, which may reduce a predicate, and of a warp."""
    if i.has("warp"):
        _wait_for_warp(i, d, i.operands[0])
        return lambda values, threads: threads.launch.order.warp_barrier(threads)
    i.unread -= {"cta", "aligned"}
    reduction = i.one_of("and", "or", "popc") if i.has("red") else ""
    if not reduction and not i.has("sync"):
        raise EmulatorError("is supported as .sync, .red and .warp.sync")
    operands = list(i.operands)
    target = d.target(operands.pop(0), i.type()) if reduction else None
    condition = operands.pop() if reduction else ""
    numbers = [literal(operand, TYPES["u32"]) for operand in operands]
    if any(number is None for number in numbers) or (reduction and len(numbers) > 1):
        raise EmulatorError("is supported with the barrier and the number of its threads as literals")
    d.block.waits_for = "block"
    d.block.barrier = (int(numbers[0]) if numbers else 0, int(numbers[1]) if len(numbers) > 1 else None)
    source = d.source(condition.removeprefix("!"), TYPES["pred"]) if reduction else -1

    def step(values: Values, threads: Threads) -> None:
        launch = threads.launch
        launch.order.barrier(threads)
        blocks, row = np.unique(threads.block, return_inverse=True)
        launch.counters.barriers += len(blocks)
        if target is None:
            return
        holds = np.broadcast_to(values[source], (threads.count,)) ^ condition.startswith("!")
        counts = np.bincount(row, weights=holds).astype(np.uint32)[row]
        everyone = np.bincount(row)[row]
        values[target][...] = {"popc": counts, "or": counts > 0, "and": counts == everyone}[reduction]

    return step


def _source_lanes(mode: str, lane: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """Lane that each thread reads from, and whether it is in range; out of range, a thread reads itself."""
    clamp, segment = (c & 31).astype(np.int64), ((c >> np.uint32(8)) & 31).astype(np.int64)
    amount = (b & 31).astype(np.int64)
    last = (lane & segment) | (clamp & ~segment)
    first = lane & segment
    if mode == "up":
        chosen = lane - amount
        inside = chosen >= last
    elif mode == "down":
        chosen = lane + amount
        inside = chosen <= last
    else:
        chosen = lane ^ amount if mode == "bfly" else first | (amount & ~segment)
        inside = chosen <= last
    return np.where(inside, chosen, lane), inside


@opcode("shfl")
def shuffle(i: Instruction, d: Decoder) -> Step:
    """Shuffles; a value read from a lane that does not take part is poison."""
    mode = i.one_of("up", "down", "bfly", "idx")
    i.type()
    target, a, b, c, mask = i.operands
    word = TYPES["b32"]
    _wait_for_warp(i, d, mask)
    source, *slots = [d.source(operand, word) for operand in (a, b, c)]
    names = [name.strip() for name in target.split("|")]
    out = d.target(names[0], word)
    found = d.target(names[1], TYPES["pred"]) if len(names) > 1 and names[1] != "_" else None

    def step(values: Values, threads: Threads) -> None:
        given = np.broadcast_to(values[source], (threads.count,))
        lanes, inside = _source_lanes(mode, threads.lane, *[np.asarray(values[slot]) for slot in slots])
        row, table = threads.by_lane()
        index = table[row, lanes]
        values[out][...] = np.where(index < 0, _POISON_WORD, given[index])
        if found is not None:
            values[found][...] = inside

    return step


def _ballot(holds: Array, threads: Threads) -> tuple[Array, Array]:
    """For each thread, masks of the lanes of its warp whose condition holds, and of those that take part."""
    row, table = threads.by_lane()
    present = table >= 0
    bits = np.uint32(1) << np.arange(WARP, dtype=np.uint32)
    true = np.where(present, holds[table], False)
    ballots = np.where(true, bits, np.uint32(0)).sum(axis=1, dtype=np.uint32)
    there = np.where(present, bits, np.uint32(0)).sum(axis=1, dtype=np.uint32)
    return ballots[row], there[row]


@opcode("vote")
def vote(i: Instruction, d: Decoder) -> Step:
    """Votes over the predicates of the lanes in the mask: all, any, uniform, or the ballot."""
    kind = i.one_of("all", "any", "uni", "ballot")
    type_ = i.type()
    target, condition, operand = i.operands
    mask = _wait_for_warp(i, d, operand)
    source = d.source(condition.removeprefix("!"), TYPES["pred"])
    out = d.target(target, type_)

    def step(values: Values, threads: Threads) -> None:
        holds = np.broadcast_to(values[source], (threads.count,)) ^ condition.startswith("!")
        ballot, there = _ballot(holds, threads)
        ballot, there = ballot & values[mask], there & values[mask]
        if kind == "ballot":
            values[out][...] = ballot
        elif kind == "any":
            values[out][...] = ballot != 0
        elif kind == "all":
            values[out][...] = ballot == there
        else:
            values[out][...] = (ballot == there) | (ballot == 0)

    return step


@opcode("activemask")
def active_mask(i: Instruction, d: Decoder) -> Step:
    """The mask of lanes that execute this together."""
    out = d.target(i.operands[0], i.type())

    def step(values: Values, threads: Threads) -> None:
        values[out][...] = _ballot(np.ones(threads.count, bool), threads)[1]

    return step


def _members(values: Values, mask: int, threads: Threads) -> tuple[Array, Array]:
    """For each thread, the indices of the threads in every lane of its warp, and which of them are in its mask."""
    row, table = threads.by_lane()
    index = table[row]
    named = np.broadcast_to(values[mask], (threads.count,))[:, None] >> np.arange(WARP, dtype=np.uint32) & 1
    return index, (named == 1) & (index >= 0)


@opcode("match")
def match(i: Instruction, d: Decoder) -> Step:
    """Which lanes have the same value: as a mask for each (any), or all or none (all)."""
    kind = i.one_of("any", "all")
    type_ = TYPES[f"b{i.type().bits}"]
    target, a, operand = i.operands
    mask = _wait_for_warp(i, d, operand)
    source = d.source(a, type_)
    names = [name.strip() for name in target.split("|")]
    out = d.target(names[0], TYPES["b32"])
    holds = d.target(names[1], TYPES["pred"]) if len(names) > 1 else None

    def step(values: Values, threads: Threads) -> None:
        given = np.broadcast_to(values[source], (threads.count,))
        index, member = _members(values, mask, threads)
        equal = member & (given[index] == given[:, None])
        bits = np.uint32(1) << np.arange(WARP, dtype=np.uint32)
        same = np.where(equal, bits, np.uint32(0)).sum(axis=1, dtype=np.uint32)
        if kind == "all":
            agreed = (equal == member).all(axis=1)
            same = np.where(agreed, same, np.uint32(0))
            if holds is not None:
                values[holds][...] = agreed
        values[out][...] = same

    return step


@opcode("redux")
def reduce_warp(i: Instruction, d: Decoder) -> Step:
    """A reduction over the lanes in the mask."""
    kind = i.one_of("add", "min", "max", "and", "or", "xor")
    type_ = i.type()
    if not type_.is_integer or not kind:
        raise EmulatorError("is supported for integers")
    target, a, operand = i.operands
    mask = _wait_for_warp(i, d, operand)
    source, out = d.source(a, type_), d.target(target, type_)
    limits = np.iinfo(type_.dtype)
    neutral = {"add": 0, "or": 0, "xor": 0, "and": -1 if limits.min else limits.max}
    neutral |= {"min": limits.max, "max": limits.min}
    ufuncs = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or}
    ufunc = ufuncs.get(kind, np.bitwise_xor)

    def step(values: Values, threads: Threads) -> None:
        given = np.broadcast_to(values[source], (threads.count,))
        index, member = _members(values, mask, threads)
        values[out][...] = ufunc.reduce(np.where(member, given[index], type_.dtype.type(neutral[kind])), axis=1)

    return step


def check_membership(mask: Array, threads: Threads) -> None:
    """Check that each thread is in its own mask."""
    member = (np.broadcast_to(mask, (threads.count,)) >> threads.lane.astype(np.uint32)) & 1
    if not member.all():
        lane = int(np.argmin(member))
        raise Fault(f"the mask {int(np.broadcast_to(mask, (threads.count,))[lane]):#x} does not name the thread", lane)
