"""The threads that execute an instruction, with their numbers, blocks and warps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from graphad.backends.cuda.emulator.machine.state import LaunchState

Array = np.ndarray[Any, np.dtype[Any]]

WARP = 32


class Threads:
    """A set of threads that are at the same instruction, in ascending order.

    ``number`` counts the threads of the whole launch, ``position`` those of the blocks that run together; ``block`` and
    ``warp`` count those of the launch, and ``lane`` the threads of a warp.
    """

    __slots__ = ("block", "launch", "number", "position", "warp", "within")

    def __init__(self, launch: LaunchState, number: Array, position: Array) -> None:
        self.launch = launch
        self.number = number
        self.position = position
        self.block, self.within = np.divmod(number, launch.threads_per_block)
        self.warp = self.block * launch.warps_per_block + self.within // WARP

    @property
    def count(self) -> int:
        return len(self.number)

    @property
    def lane(self) -> Array:
        return self.within % WARP

    def take(self, chosen: Array) -> Threads:
        """Some of the threads."""
        part = Threads.__new__(Threads)
        part.launch = self.launch
        for name in ("number", "position", "block", "within", "warp"):
            setattr(part, name, getattr(self, name)[chosen])
        return part

    def by_lane(self) -> tuple[Array, Array]:
        """Row of each thread's warp, and for each row the index of the thread in every lane, -1 where there is none."""
        changes = np.empty(self.count, np.int64)
        changes[0] = 0
        np.not_equal(self.warp[1:], self.warp[:-1], out=changes[1:])
        row = np.cumsum(changes)
        table = np.full((int(row[-1]) + 1, WARP), -1)
        table[row, self.lane] = np.arange(self.count)
        return row, table

    def name(self, index: int) -> str:
        """Block and thread for error messages."""
        block = _coordinates(int(self.block[index]), self.launch.grid)
        thread = _coordinates(int(self.within[index]), self.launch.block)
        return f"block {block}, thread {thread}"


def _coordinates(number: int, extent: tuple[int, int, int]) -> tuple[int, int, int]:
    return number % extent[0], number // extent[0] % extent[1], number // (extent[0] * extent[1])


def _axis(which: Callable[[Threads], Array], extent: Callable[[Threads], tuple[int, int, int]], axis: int) -> Any:
    def read(threads: Threads) -> Array:
        sizes = extent(threads)
        if axis == 2:
            return which(threads) // (sizes[0] * sizes[1])
        return (which(threads) // sizes[0] if axis else which(threads)) % sizes[axis]

    return read


def _extent(extent: Callable[[Threads], tuple[int, int, int]], axis: int) -> Any:
    return lambda threads: extent(threads)[axis]


def _registers() -> dict[str, Callable[[Threads], Any]]:
    def grid(threads: Threads) -> tuple[int, int, int]:
        return threads.launch.grid

    def block(threads: Threads) -> tuple[int, int, int]:
        return threads.launch.block

    registers: dict[str, Callable[[Threads], Any]] = {}
    for axis, letter in enumerate("xyz"):
        registers[f"%tid.{letter}"] = _axis(lambda threads: threads.within, block, axis)
        registers[f"%ctaid.{letter}"] = _axis(lambda threads: threads.block, grid, axis)
        registers[f"%ntid.{letter}"] = _extent(block, axis)
        registers[f"%nctaid.{letter}"] = _extent(grid, axis)
    return registers


SPECIAL: dict[str, Callable[[Threads], Any]] = {
    **_registers(),
    "%laneid": lambda threads: threads.lane,
    "%warpid": lambda threads: threads.within // WARP,
    "%nwarpid": lambda threads: threads.launch.warps_per_block,
    "%lanemask_eq": lambda threads: np.uint64(1) << threads.lane.astype(np.uint64),
    "%lanemask_lt": lambda threads: (np.uint64(1) << threads.lane.astype(np.uint64)) - np.uint64(1),
    "%lanemask_le": lambda threads: (np.uint64(2) << threads.lane.astype(np.uint64)) - np.uint64(1),
    "%lanemask_gt": lambda threads: ~((np.uint64(2) << threads.lane.astype(np.uint64)) - np.uint64(1)),
    "%lanemask_ge": lambda threads: ~((np.uint64(1) << threads.lane.astype(np.uint64)) - np.uint64(1)),
    "%dynamic_smem_size": lambda threads: threads.launch.dynamic_shared_bytes,
    "%total_smem_size": lambda threads: threads.launch.shared_bytes,
    "%smid": lambda threads: 0,
    "%nsmid": lambda threads: 1,
    "%gridid": lambda threads: 0,
    "WARP_SZ": lambda threads: WARP,
}
"""Special registers that are constant during a launch, by name."""
