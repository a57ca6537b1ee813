"""What loops in lanes stack for their adjoint, element beside element.

A batch of loops keeps the residuals of each turn in temporaries that are private to a lane, one for each residual. In
each turn one element of every one of them is written, and later read: as many places in memory as there are residuals,
more than the machine follows. Here temporaries of one size become one, so that a turn writes and reads one stretch::

    private temporary a: f64[1000]                 private temporary a: f64[2000]
    private temporary b: f64[1000]         ->
    a[j] = s0                                      a[2*j] = s0
    b[j] = t3                                      a[2*j + 1] = t3
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace
from typing import NamedTuple

from graphad.backends.loops.ir import Buffer, Index, KernelProgram, Load, LoopNest, Statement, Store
from graphad.backends.loops.steps import every_step, mapped_steps
from graphad.backends.loops.visit import mapped, walk


class _Place(NamedTuple):
    """Element ``k`` of a temporary is element ``number + each * k`` of ``buffer``."""

    buffer: str
    number: int
    each: int


def interleaved(program: KernelProgram) -> KernelProgram:
    """``program`` with private temporaries of one size side by side."""
    groups: defaultdict[Hashable, list[Buffer]] = defaultdict(list)
    computed = _at_computed_positions(program)
    for b in program.buffers:
        if b.private and b.size > 1 and b.name not in computed:
            groups[b.dtype, b.size].append(b)
    together = [group for group in groups.values() if len(group) > 1]
    if not together:
        return program
    places = {b.name: _Place(group[0].name, k, len(group)) for group in together for k, b in enumerate(group)}

    def one(s: Statement) -> Statement:
        if not isinstance(s, (Load, Store)) or s.buffer not in places:
            return s
        place = places[s.buffer]
        terms = tuple([(var, stride * place.each) for var, stride in s.index.terms])
        return replace(s, buffer=place.buffer, index=Index(s.index.offset * place.each + place.number, terms))

    buffers = [
        replace(b, size=b.size * places[b.name].each) if b.name in places else b
        for b in program.buffers
        if b.name not in places or not places[b.name].number
    ]
    steps = mapped_steps(program.steps, lambda s: replace(s, body=mapped(s.body, one)) if type(s) is LoopNest else s)
    return replace(program, buffers=tuple(buffers), steps=steps)


def _at_computed_positions(program: KernelProgram) -> set[str]:
    """The buffers with an access whose place is known only at run time."""
    nests = [s for s in every_step(program.steps) if isinstance(s, LoopNest)]
    accesses = [s for nest in nests for s in walk(nest.body) if isinstance(s, (Load, Store))]
    return {s.buffer for s in accesses if s.dynamic is not None}
