"""Deduplication of kernels: parts of a bundle that differ only in their buffers and their number of points.

The updates of a model's parameters are of one kind; emitters write each kind once, so that the size of the code and
the time to compile it do not grow with the number of parameters.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from graphad.backends.cuda.program.ir import Axis, Bundle, Kernel
from graphad.backends.loops.ir import Buffer, Index


@dataclass(frozen=True, slots=True)
class Kind:
    """Parts that run the same statements.

    Attributes
    ----------
    kernel
        The one with the most points, which represents all. The buffers of the others are passed as its parameters.
    members
        The parts, each with its blocks.
    varies
        Whether they differ in the number of points: then ``group`` is 1, and the grid has one axis.
    """

    kernel: Kernel
    members: tuple[tuple[Kernel, range], ...]
    varies: bool


def kinds_of(launch: Kernel | Bundle, buffers: Mapping[str, Buffer]) -> list[Kind]:
    """The kernels of a launch that have blocks, by kind."""
    found: dict[Hashable, list[tuple[Kernel, range]]] = {}
    for part, own in launch.ranges:
        found.setdefault(_key(part, buffers), []).append((part, own))
    kinds: list[Kind] = []
    for members in found.values():
        most = max([part for part, _ in members], key=lambda part: part.points)
        kinds.append(Kind(most, tuple(members), len({part.points for part, _ in members}) > 1))
    return kinds


def _key(kernel: Kernel, buffers: Mapping[str, Buffer]) -> Hashable:
    """A kernel without names: equal for kernels of one kind."""
    numbers: dict[str, int] = {}
    is_line = kernel.group == 1 and len(kernel.grid) == 1 and kernel.points // kernel.lanes > 1
    grid = [Axis(axis.var, 0) for axis in kernel.grid] if is_line else kernel.grid
    wide = kernel.points >= 1 << 31 or any(buffers[name].size >= 1 << 31 for name in kernel.parameters)
    parameters = [(_without_names(name, numbers), buffers[name].dtype) for name in kernel.parameters]
    text = _without_names((kernel.shared, tuple(grid), kernel.body), numbers)
    return kernel.group, kernel.lanes, kernel.threads, wide, tuple(parameters), text, kernel.loc


def _without_names(x: Any, numbers: dict[str, int]) -> Hashable:
    """``x`` with the names of values, variables and buffers numbered in order of appearance."""
    match x:
        case str():
            return numbers.setdefault(x, len(numbers))
        case Index(offset=offset, terms=terms):
            return offset, tuple(sorted([(_without_names(var, numbers), stride) for var, stride in terms]))
        case tuple():
            return tuple([_without_names(y, numbers) for y in x])
        case _ if is_dataclass(x):
            kept = {"op", "combine", "role", "loc"}
            names = [f.name for f in fields(x)]
            values = [getattr(x, n) if n in kept else _without_names(getattr(x, n), numbers) for n in names]
            return type(x), *values
        case _:
            return x
