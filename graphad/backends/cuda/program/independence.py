"""Which kernels are independent, and so can run at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from graphad.backends.cuda.program.ir import DeviceStatement, Kernel, Spread, reads, writes
from graphad.backends.loops.footprint import Access, accesses, distinct, meet, value_ranges
from graphad.backends.loops.ir import Let, Load, Loop, Position, Statement, Store, While

#: Pointers that a kernel can be handed: all devices have room for 4 KB of parameters.
MOST_PARAMETERS: Final = 512


def independent(a: Kernel, b: Kernel) -> bool:
    """Whether neither of two kernels touches an element in global memory that the other one writes."""
    ours, theirs = writes(a), writes(b)
    shared = (ours & (reads(b) | theirs)) | (theirs & reads(a))
    if not shared:
        return True
    return not any(
        _meet(x, y)
        for x in _accesses(a, shared)
        for y in _accesses(b, shared)
        if x.buffer == y.buffer and (x.writes or y.writes)
    )


def _meet(x: Access, y: Access) -> bool:
    """Whether two accesses of different kernels can be to one element."""
    return meet(replace(x, base=None), replace(y, base=None), "kernel", 2, {})


def _accesses(kernel: Kernel, names: set[str]) -> list[Access]:
    """The accesses of a kernel to the buffers ``names``, within loops over all its variables."""
    body = tuple(_as_loops(kernel.body))
    for axis in kernel.grid:
        body = (Loop(axis.var, axis.extent, body),)
    return distinct([a for a in accesses(body, value_ranges(body, {})) if a.buffer in names])


def _as_loops(statements: Iterable[DeviceStatement]) -> Iterable[Statement]:
    for s in statements:
        match s:
            case Spread(axes=axes, body=body):
                inner = tuple(_as_loops(body))
                for axis in axes:
                    inner = (Loop(axis.var, axis.extent, inner),)
                yield from inner
            case Let() | Position() | Load() | Store() | Loop() | While():
                yield s
            case _:
                pass
