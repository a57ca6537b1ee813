"""Execution of basic blocks by the threads that are at them, until all threads have exited.

Threads of many blocks run together. While all are at the same basic block, its steps work on whole arrays; where they
diverge, those that are furthest behind in the program go first, so that they reconverge. Threads wait at barriers and
at collectives of their warp until no other thread can proceed without them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError, Fault, locate
from graphad.backends.cuda.emulator.instructions.decoder import Block, Values
from graphad.backends.cuda.emulator.instructions.warps import check_membership
from graphad.backends.cuda.emulator.machine.state import LaunchState
from graphad.backends.cuda.emulator.machine.threads import WARP, Threads
from graphad.backends.cuda.emulator.program import EXIT, Program
from graphad.backends.cuda.emulator.storage import Frame
from graphad.backends.cuda.emulator.syntax import Instruction

Array = np.ndarray[Any, np.dtype[Any]]

THREADS_AT_ONCE = 1 << 14
BYTES_AT_ONCE = 1 << 27
MOST_BLOCKS_EXECUTED = 5_000_000


def execute(program: Program, launch: LaunchState, template: Values) -> None:
    """Run all blocks of a launch."""
    per_thread = sum(dtype.itemsize for dtype in program.storage.dtypes) + launch.local_bytes
    per_block = per_thread * launch.threads_per_block + launch.shared_bytes
    together = max(1, min(THREADS_AT_ONCE // launch.threads_per_block, BYTES_AT_ONCE // max(1, per_block)))
    with np.errstate(all="ignore"):
        for first in range(0, launch.blocks, together):
            threads = launch.start(first, min(together, launch.blocks - first))
            _Interpreter(program, launch, Frame(program.storage, template, threads)).run()


class _Interpreter:
    """The threads of a launch, and where they are in the program."""

    def __init__(self, program: Program, launch: LaunchState, frame: Frame) -> None:
        self.program = program
        self.launch = launch
        self.frame = frame
        self.patience = MOST_BLOCKS_EXECUTED

    def run(self) -> None:
        position: Any = self.program.entry
        while True:
            position = self.converged(position)
            if not isinstance(position, np.ndarray):
                return
            position = self.diverged(position)
            if position == EXIT:
                return

    def converged(self, number: int) -> Any:
        """Run while all threads are at one basic block; returns where they are when they diverge, else `EXIT`."""
        frame, blocks = self.frame, self.program.blocks
        while number != EXIT:
            block = blocks[number]
            if block.waits_for:
                self.check_arrival(block, frame.threads, frame.values, number)
            position = self.step(block, frame.values, frame.threads)
            if isinstance(position, np.ndarray):
                if not (position == position[0]).all():
                    return position
                position = int(position[0])
            number = position
        return EXIT

    def diverged(self, position: Array) -> int:
        """Run while threads are at several basic blocks; returns the one where they reconverge."""
        frame, program = self.frame, self.program
        while True:
            alive = position != EXIT
            if not alive.all():
                if not alive.any():
                    return EXIT
                frame.keep(np.flatnonzero(alive))
                position = position[alive]
            first = int(position[0])
            if (position == first).all():
                return first
            number, chosen = self.choose(position)
            block = program.blocks[number]
            needs = program.storage.needs[number]
            values, arrays = frame.part(needs, chosen)
            threads = frame.threads.take(chosen)
            if block.waits_for == "warp":
                self.check_mask(block, values, threads)
            position[chosen] = self.step(block, values, threads)
            for written in needs.writes:
                frame.arrays[written][chosen] = arrays[written]

    def choose(self, position: Array) -> tuple[int, Array]:
        """The basic block to execute next, and its threads: the first in program order at which none has to wait."""
        waiting = self.program.waits[position]
        if not waiting.all():
            number = int(position[~waiting].min())
            return number, np.flatnonzero(position == number)
        numbers = np.unique(position).tolist()
        for kind, arrived in (("warp", self.arrived_in_warp), ("block", self.arrived_in_block)):
            for number in numbers:
                if self.program.blocks[number].waits_for == kind:
                    chosen = arrived(number, position)
                    if len(chosen):
                        return number, chosen
        raise self.stuck(position, numbers)

    def arrived_in_warp(self, number: int, position: Array) -> Array:
        """Threads at a collective of the warp, if all threads in its mask have arrived."""
        threads = self.frame.threads
        here = np.flatnonzero(position == number)
        mask = self.frame.values[self.program.blocks[number].mask]
        row, table = threads.by_lane()
        elsewhere = (table >= 0) & (position[table] != number)
        bits = np.where(elsewhere, np.uint32(1) << np.arange(WARP, dtype=np.uint32), np.uint32(0))
        missing = bits.sum(axis=1, dtype=np.uint32)[row[here]]
        named = mask[here] if mask.ndim else mask
        return here[missing & named == 0]

    def arrived_in_block(self, number: int, position: Array) -> Array:
        """Threads at a barrier that as many have reached as it waits for."""
        block = self.program.blocks[number]
        here = np.flatnonzero(position == number)
        own = self.frame.threads.block[here]
        arrived = np.bincount(own - self.launch.first_block)[own - self.launch.first_block]
        return here[arrived == (block.barrier[1] or self.launch.threads_per_block)]

    def check_arrival(self, block: Block, threads: Threads, values: Values, number: int) -> None:
        """All live threads are here: check that these are enough."""
        if block.waits_for == "warp":
            self.check_mask(block, values, threads)
        elif threads.count != self.launch.threads_per_block * len(np.unique(threads.block)) or block.barrier[1]:
            position = np.full(threads.count, number)
            if len(self.arrived_in_block(number, position)) != threads.count:
                raise self.stuck(position, [number])

    def check_mask(self, block: Block, values: Values, threads: Threads) -> None:
        """Check that all threads that take part are in the mask."""
        try:
            check_membership(values[block.mask], threads)
        except Fault as fault:
            raise self.located(fault, block.instructions[0], threads) from None

    def step(self, block: Block, values: Values, threads: Threads) -> Any:
        """Execute a basic block; returns where its threads go."""
        self.launch.counters.instructions += block.length * threads.count
        self.patience -= 1
        if self.patience < 0:
            raise EmulatorError(
                f"kernel {self.program.name}: more than {MOST_BLOCKS_EXECUTED} steps, and no end. If it waits for "
                "another block: the emulator does not promise that blocks run at the same time."
            )
        index = -1
        try:
            for index, step in enumerate(block.steps):  # noqa: B007 (the index is for the error)
                step(values, threads)
            index = len(block.steps)
            return block.successor(values, threads)
        except Fault as fault:
            i = block.instructions[index] if index < len(block.steps) else block.end
            raise self.located(fault, i or block.instructions[-1], threads) from None

    def located(self, fault: Fault, i: Instruction, threads: Threads) -> EmulatorError:
        thread = f"{threads.name(fault.lane)}, " if fault.lane is not None else ""
        return locate(fault.what, self.program.name, i.line, i.text, i.user_line, thread)

    def stuck(self, position: Array, numbers: list[int]) -> EmulatorError:
        """The error for threads that wait for others that never come."""
        threads, blocks = self.frame.threads, self.program.blocks
        first = int(np.flatnonzero(position == numbers[0])[0])
        same = threads.block == threads.block[first]
        waiting = [
            f"{int(np.count_nonzero(same & (position == number)))} at PTX line {blocks[number].instructions[0].line}"
            for number in numbers
        ]
        ended = self.launch.threads_per_block - int(np.count_nonzero(same))
        waiting += [f"{ended} have ended"] if ended else []
        kind = "barrier" if blocks[numbers[0]].waits_for == "block" else "instruction of the warp"
        what = f"divergence: not all threads of the block reach this {kind} ({', '.join(waiting)})"
        return self.located(Fault(what, first), blocks[numbers[0]].instructions[0], threads)
