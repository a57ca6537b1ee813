"""The thresholds of the scheduler, in one place, so that tests can make small programs take every branch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds, in iterations or threads.

    Attributes
    ----------
    spread
        Inner loops of at least so many iterations are spread over threads.
    plenty
        Points of a grid that fill a device with one thread each: neighbouring columns are then summed by a thread each.
    warp, block
        A warp works on rows of up to ``warp`` iterations, a block of 128 threads up to ``block``, one of 256 beyond.
    enough
        Threads below which a kernel leaves most of a device idle ...
    long
        ... which is worth another kernel if each point has more iterations than this.
    chunks, chunk
        A reduction is cut into at most ``chunks`` parts, of at least ``chunk`` iterations.
    columns, column
        Sums over columns of at least so many elements in all are cut into chunks as well, of at least ``column`` rows:
        a thread sums one column of a chunk, so that accesses are coalesced.
    shared
        Bytes of shared memory that one group may use.
    rows
        Consecutive nests over the same rows become one kernel if there are at least so many.
    small
        Consecutive nests of at most so many iterations become one kernel of one block; 0: never.
    tile
        Transposed reads go through square tiles of so many rows.
    crowd
        Threads of a bundle of unlike kernels at most; 0: no bundles. A device of 100 multiprocessors or more runs so
        many at once even if each has 96 registers.
    """

    spread: int = 16
    plenty: int = 4096
    warp: int = 1024
    block: int = 4096
    enough: int = 16384
    long: int = 8192
    chunks: int = 512
    chunk: int = 2048
    columns: int = 1 << 19
    column: int = 64
    shared: int = 16384
    rows: int = 64
    small: int = 2048
    tile: int = 32
    crowd: int = 1 << 16


LIMITS = Limits()
