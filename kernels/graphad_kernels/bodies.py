"""The hand-written bodies that programs call, and what they take. `objects` compiles them.

A body takes buffers, then sizes. It is a plain Python function that indexes its buffers and asks them for nothing else:
so it runs in Python on arrays, in Numba on arrays, and as machine code on pointers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from graphad_kernels.cpu import sort


class Body(NamedTuple):
    """A function and its parameters.

    Attributes
    ----------
    buffers
        The element types of its buffers, in order; ``T`` is the one that the body is compiled for.
    reads
        How many buffers, from the first on, are read. The others are written, those that nobody looks at later too.
    extents
        From the sizes, how many elements each buffer must have.
    """

    function: Callable[..., None]
    buffers: tuple[str, ...]
    reads: int
    extents: Callable[..., tuple[int, ...]]
    dtypes: tuple[str, ...]


_NUMBERS: Final = ("f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")

BODIES: Final[dict[str, Body]] = {
    "argsort": Body(
        sort.argsort,
        buffers=("T", "i32", "T", "i32"),
        reads=1,
        extents=lambda rows, n: (rows * n, rows * n, 2 * n, 2 * n),
        dtypes=_NUMBERS,
    ),
}
