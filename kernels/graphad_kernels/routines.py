"""The table of routines: what programs call that no loop nest says well. `objects` compiles them.

A routine is a plain Python function that takes buffers, then sizes. It indexes its buffers and asks them for nothing
else, and hands them to LAPACK (`cpu.lapack`): so it runs in Python on arrays, in Numba on arrays, and as machine code
on pointers. Arrays are row-major.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from graphad_kernels.cpu import sort


class Row(NamedTuple):
    """A routine.

    Attributes
    ----------
    buffers
        The element types of its buffers, in order; ``T`` is the one that it is compiled for.
    reads, results
        How many buffers, from the first on, are read, and how many results come then. The others are workspace.
    extents
        From the sizes, how many elements each buffer must have.
    cost
        From the sizes, how many operations it takes.
    dtypes
        What ``T`` may be.
    """

    function: Callable[..., None]
    buffers: tuple[str, ...]
    reads: int
    results: int
    extents: Callable[..., tuple[int, ...]]
    cost: Callable[..., int]
    dtypes: tuple[str, ...]


_NUMBERS: Final = ("f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")

ROUTINES: Final[dict[str, Row]] = {
    "argsort": Row(
        sort.argsort,
        buffers=("T", "i32", "T", "i32"),
        reads=1,
        results=1,
        extents=lambda rows, n, *_: (rows * n, rows * n, 2 * n, 2 * n),
        cost=lambda rows, n, *_: rows * n * n.bit_length(),
        dtypes=_NUMBERS,
    ),
}
