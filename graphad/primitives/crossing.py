"""Values of a ``scan`` that another loop over the same turns reads, and regions of scans under construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph, is_effectful
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, aval
from graphad.primitives.control import computed, only


class Params(NamedTuple):
    """The params of an equation."""

    length: int
    reverse: bool
    n_consts: int
    n_carry: int

    @property
    def first_x(self) -> int:
        """The position of the first of the ``xs`` among the operands."""
        return self.n_consts + self.n_carry

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Which operands are constants, initial values, and the ``xs``."""
        return slice(self.n_consts), slice(self.n_consts, self.first_x), slice(self.first_x, None)


class Crossing(NamedTuple):
    """Values of a region that another loop over the same turns reads.

    ``consts`` do not change from turn to turn, ``xs`` are stacked; ``order`` says where in these two, one after the
    other, each value lies.
    """

    consts: list[Atom]
    xs: list[Atom]
    order: list[int]


def emit_crossing(
    builder: Builder, eqn: Eqn, atoms: Sequence[Atom], region: Graph, n_results: int
) -> tuple[list[Atom], Crossing]:
    """Emit a scan over ``region``, whose outputs from ``n_results`` on another loop will read, and say where they are.

    Operands, and what is computed of constants alone, are not stacked.
    """
    p = Params(*eqn.params)
    results, wanted = region.outputs[:n_results], region.outputs[n_results:]
    varies = varying(region, range(p.n_consts, region.n_inputs))
    own = {a: k for k, a in enumerate(results) if k >= p.n_carry}  # stacked already
    more = [a for a in to_stack(region, p, n_results) if a not in own]
    place = own | {a: n_results + k for k, a in enumerate(more)}
    fixed = list(dict.fromkeys([a for a in wanted if type(a) is int and not varies[a]]))
    inputs = dict(enumerate(atoms))
    before = dict(zip(fixed, computed(builder, region, fixed, inputs), strict=True))
    loc = builder.loc
    outs: list[Atom] = [*builder.emit(eqn.primitive, tuple(atoms), eqn.params, (only(region, [*results, *more]),))]
    builder.loc = loc
    consts: dict[Atom, None] = {}
    xs: dict[Atom, None] = {}
    found: list[tuple[bool, Atom]] = []
    for a in wanted:
        if type(a) is not int:
            found.append((False, a))
        elif not varies[a]:
            found.append((False, before[a]))
        else:
            found.append((True, outs[place[a]] if a in place else atoms[a]))
    for is_stacked, atom in found:
        (xs if is_stacked else consts)[atom] = None
    at = {(False, a): k for k, a in enumerate(consts)} | {(True, a): len(consts) + k for k, a in enumerate(xs)}
    return outs[:n_results], Crossing(list(consts), list(xs), [at[key] for key in found])


def to_stack(region: Graph, p: Params, n_results: int) -> list[Atom]:
    """Which of the outputs of a region from ``n_results`` on have to be stacked for another loop that reads them.

    Slices that the loop is given are stacked already, and what does not change from turn to turn need not be.
    """
    varies = varying(region, range(p.n_consts, region.n_inputs))
    found = dict.fromkeys([a for a in region.outputs[n_results:] if type(a) is int and varies[a]])
    return [*[a for a in found if a < p.first_x], *[a for a in found if a >= region.n_inputs]]


def varying(region: Graph, inputs: Sequence[int]) -> bytearray:
    """Marks of the values that depend on one of the ``inputs``, or have an effect on the way."""
    marks = bytearray(len(region.avals))
    for i in inputs:
        marks[i] = 1
    for eqn in region.eqns:
        if is_effectful(eqn) or any([type(a) is int and marks[a] for a in eqn.inputs]):
            for o in eqn.outputs:
                marks[o] = 1
    return marks


class RegionBuilder:
    """A region for a scan under construction: inputs in the order of constants, carried values, slices."""

    def __init__(self, name: str) -> None:
        self.builder = Builder()
        self.name = name

    def inputs(self, avals: Sequence[Aval]) -> list[Ref]:
        return [self.builder.input_ref(a) for a in avals]

    def inline(self, graph: Graph, operands: Sequence[Ref]) -> list[Ref]:
        return [Ref(self.builder, a) for a in self.builder.inline(graph, [x.atom for x in operands])]

    def close(self, outputs: Sequence[Ref]) -> Graph:
        return self.builder.close([x.atom for x in outputs], name=self.name)


def unstacked(builder: Builder, atoms: Sequence[Atom]) -> list[Aval]:
    """The types of the slices of arrays along their first axes."""
    return [aval(a.shape[1:], a.dtype) for a in avals_of(builder, atoms)]


def avals_of(builder: Builder, atoms: Sequence[Atom]) -> list[Aval]:
    """The types of atoms."""
    return [Ref(builder, a).aval for a in atoms]
