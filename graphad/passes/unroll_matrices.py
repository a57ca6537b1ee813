"""The pass `unroll_matrices`: factorizations of small matrices, and what is computed around them, element by element.

Of a stack of matrices of few rows and columns, each element becomes a value of its own, an array over the stack
(`Grid`); for one matrix a number. Factorizations and products are written out on them (`unrolled_routines`), and
elementwise operations, transpositions, sums, slices and so on between them as well: they are fused into one loop over
the stack, with matrices in SIMD lanes or a thread each, and derivatives are made of the same operations. Where
something else needs a matrix, it is laid out in memory.

Walk of one example: ``sum(cholesky(a) ** 2)`` of ``a: f64[50000,3,3]``. The elements of ``a`` are nine slices. Those of
the factor are six arrays over the stack, and three zeros. The squares are six products; their sum adds six arrays, of
which the sum over the stack is the result. The factor is never written to memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.primitive import Primitive
from graphad.ir.types import Aval, Literal, i32, literal
from graphad.passes import unrolled_qr, unrolled_routines
from graphad.passes.element_rules import RULES, elementwise, fits, places
from graphad.passes.lane_arithmetic import Lanes, Shape
from graphad.passes.pipeline import Pass, graph_pass
from graphad.passes.unrolled_routines import rows_of
from graphad.primitives.layout import broadcast, iota, reduce_sum
from graphad.primitives.linalg.cholesky import cholesky
from graphad.primitives.linalg.lu import lu
from graphad.primitives.linalg.matrices import SMALL, by_elements
from graphad.primitives.linalg.qr import qr
from graphad.primitives.linalg.triangular_solve import triangular_solve
from graphad.primitives.shape import concatenate, slice_

_ROUTINES: Final[tuple[Primitive, ...]] = (cholesky, lu, qr, triangular_solve)


@graph_pass("unroll_matrices")
@dataclass(frozen=True)
class UnrollMatrices(Pass):
    """Write out factorizations of small matrices, and what is computed of them."""

    def run(self, graph: Graph) -> Graph:
        """The graph; itself if there are none."""
        if not _has_small(graph):
            return graph
        return _Unroller(graph).run()


def _has_small(graph: Graph) -> bool:
    return any([_is_small(graph, e) or _is_wide(graph, e) or any(map(_has_small, e.regions)) for e in graph.eqns])


def _is_small(graph: Graph, eqn: Eqn) -> bool:
    operands = [graph.aval_of(a) for a in eqn.inputs]
    return eqn.primitive in _ROUTINES and by_elements(*operands, most=SMALL if eqn.primitive is qr else None)


def _is_wide(graph: Graph, eqn: Eqn) -> bool:
    """Whether a small triangle divides many right sides."""
    if eqn.primitive is not triangular_solve or _is_small(graph, eqn):
        return False
    a, b = (graph.aval_of(x).shape for x in eqn.inputs)
    return 0 < a[-1] <= SMALL < max(b[-2:]) and 0 not in b


class Grid(NamedTuple):
    """A stack of small arrays as its elements.

    Attributes
    ----------
    lead
        The shape of the stack.
    shape
        That of each array in it.
    atoms
        Its elements in row-major order: arrays over the stack, or numbers.
    """

    lead: Shape
    shape: Shape
    atoms: tuple[Atom, ...]

    def at(self, index: Sequence[int]) -> Atom:
        return self.atoms[int(np.ravel_multi_index(tuple(index), self.shape)) if self.shape else 0]


class _Unroller:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = Builder()
        self.made: list[Atom | None] = [self.builder.input(a) for a in graph.in_avals]
        self.made += [None] * (len(graph.avals) - graph.n_inputs)
        self.grids: dict[int, Grid] = {}
        self.taken: dict[tuple[int, Shape, Shape], Atom] = {}
        self.defined = {o: eqn for eqn in graph.eqns for o in eqn.outputs}
        self.wanted = self._marked()
        self.reciprocals: dict[Atom, Atom] = {}

    def run(self) -> Graph:
        for eqn, loc in zip(self.graph.eqns, self.graph.locs, strict=True):
            self.builder.loc = loc
            grids = self._unrolled(eqn)
            if grids is not None:
                self.grids |= dict(zip(eqn.outputs, grids, strict=True))
            elif _is_wide(self.graph, eqn):
                self.made[eqn.outputs[0]] = self._substituted(eqn)
            elif not self._summed_up(eqn):
                self._copied(eqn)
        outputs = [self.array(a) for a in self.graph.outputs]
        return self.builder.close(outputs, self.graph.weak, name=self.graph.name)

    def _copied(self, eqn: Eqn) -> None:
        """An equation on arrays."""
        this = UnrollMatrices()
        regions = tuple([r.memoize(this, lambda r=r: this.run(r)) for r in eqn.regions])
        atoms = tuple([self.array(a) for a in eqn.inputs])
        avals = [self.graph.avals[o] for o in eqn.outputs]
        for o, new in zip(eqn.outputs, self.builder.copy(eqn._replace(regions=regions), atoms, avals), strict=True):
            self.made[o] = new

    def _summed_up(self, eqn: Eqn) -> bool:
        """Sum over all that there is of a grid: its elements first."""
        grid = self.grids.get(eqn.inputs[0]) if eqn.primitive is reduce_sum else None  # type: ignore[arg-type]
        if grid is None or len(eqn.params[0]) != len(grid.lead) + len(grid.shape) or not grid.atoms:
            return False
        out = self.graph.avals[eqn.outputs[0]]
        if out.dtype.is_float and out.dtype.bits < 32:
            return False
        x = self.lanes(grid.lead)
        total = reduce(x.add, grid.atoms)
        total = total if type(total) is int else x.spread(total)
        axes = tuple(range(len(grid.lead)))
        self.made[eqn.outputs[0]] = self.builder.emit(reduce_sum, (total,), (axes,))[0] if axes else total
        return True

    def lanes(self, lead: Shape) -> Lanes:
        """Arithmetic on elements of a stack."""
        return Lanes(self.builder, lead, self.reciprocals)

    # ---- which values become grids

    def _marked(self) -> dict[int, int]:
        """The values that factorizations are made of, by elements: the number of axes of the stack of each."""
        found: dict[int, int] = {}
        for eqn in reversed(self.graph.eqns):
            if _is_small(self.graph, eqn) or _is_wide(self.graph, eqn):
                for a in eqn.inputs[: 1 if _is_wide(self.graph, eqn) else None]:
                    if type(a) is int:
                        found[a] = len(self.graph.avals[a].shape) - 2
                continue
            leads = {found[o] for o in eqn.outputs if o in found}
            if (len(leads) == 1 and eqn.primitive in RULES) or (leads and eqn.primitive.elementwise):
                (n,) = leads
                lead = self.graph.avals[eqn.outputs[0]].shape[:n]
                for a in eqn.inputs:
                    if type(a) is int and self._fits(self.graph.avals[a], lead):
                        found.setdefault(a, n)
        return found

    def _fits(self, a: Aval, lead: Shape) -> bool:
        rest = a.shape[len(lead) :]
        return a.shape[: len(lead)] == lead and fits(lead, rest)

    def _unrolled(self, eqn: Eqn) -> list[Grid] | None:
        """The results of an equation by elements, or None."""
        if _is_small(self.graph, eqn):
            return self._routine(eqn)
        leads = {self.grids[a].lead for a in eqn.inputs if type(a) is int and a in self.grids}
        leads |= {self.graph.avals[o].shape[: self.wanted[o]] for o in eqn.outputs if o in self.wanted}
        if len(leads) != 1 or len(eqn.outputs) != 1:
            return None
        (lead,), out = leads, self.graph.avals[eqn.outputs[0]]
        rule = elementwise if eqn.primitive.elementwise else RULES.get(eqn.primitive)
        if rule is None or not out.size:
            return None
        x = self.lanes(lead)
        atoms = rule(self, x, eqn, out)
        return None if atoms is None else [Grid(lead, out.shape[len(lead) :], tuple(atoms))]

    # ---- values

    def array(self, a: Atom) -> Atom:
        """A value of the graph as an array."""
        if type(a) is not int:
            return a
        found = self.made[a]
        if found is None:
            grid = self.grids[a]
            found = self.made[a] = self.lanes(grid.lead).array(grid.atoms, grid.shape)
        return found

    def element(self, x: Lanes, a: Atom, at: Shape) -> Atom:
        """One element of each array of a stack, or a number."""
        if type(a) is not int:
            return a
        grid = self.grids.get(a)
        if grid is not None and grid.lead == x.lead:
            return grid.at(at)
        key = a, x.lead, at
        if key not in self.taken:
            known = self.known(a, (*[0] * len(x.lead), *at), len(x.lead))
            if known is not None:
                self.taken[key] = known
            else:
                array = self.array(a)
                self.taken[key] = x.element(array, at) if type(array) is int else array
        return self.taken[key]

    def known(self, a: Atom, at: Shape, n_lead: int) -> Literal | None:
        """An element that is the same number for each array of a stack, if the graph says so."""
        if type(a) is not int:
            return a  # type: ignore[return-value]
        eqn = self.defined.get(a)
        if eqn is None:
            return None
        if eqn.primitive is iota:
            _, dtype, axis = eqn.params
            return literal(at[axis], dtype) if axis >= n_lead else None
        if eqn.primitive is broadcast:
            _, dims = eqn.params
            if any([d < n_lead for d in dims]):
                return None
            operand = self.graph.aval_of(eqn.inputs[0])
            inner = tuple([at[d] if n > 1 else 0 for d, n in zip(dims, operand.shape, strict=True)])
            return self.known(eqn.inputs[0], inner, 0)
        if eqn.primitive.elementwise and len(eqn.outputs) == 1:
            operands = [self.known(i, at, n_lead) for i in eqn.inputs]
            if all([k is not None for k in operands]):
                return self.lanes(()).apply(eqn.primitive, operands, eqn.params)[0]  # type: ignore[arg-type,return-value]
        return None

    def elements(self, x: Lanes, a: Atom) -> list[Atom]:
        """All elements of a value that has the axes of the stack."""
        return [self.element(x, a, at) for at in places(self.graph.aval_of(a).shape[len(x.lead) :])]

    # ---- factorizations

    def _routine(self, eqn: Eqn) -> list[Grid]:
        a = self.graph.aval_of(eqn.inputs[0])
        lead, (m, n), dtype = a.shape[:-2], a.shape[-2:], a.dtype
        x = self.lanes(lead)
        rows = rows_of(self.elements(x, eqn.inputs[0]), n)
        if eqn.primitive is cholesky:
            upper = eqn.primitive.named(eqn.params)["upper"]
            factor = unrolled_routines.cholesky(x, _turned(rows) if upper else rows, dtype)
            return [_grid(lead, _turned(factor) if upper else factor)]
        if eqn.primitive is qr:
            k = self.graph.avals[eqn.outputs[0]].shape[-1]
            return [_grid(lead, part) for part in unrolled_qr.qr(x, rows, dtype, k)]
        if eqn.primitive is lu:
            packed, pivots, order = unrolled_routines.lu(x, rows, dtype, i32)
            return [_grid(lead, packed), Grid(lead, (min(m, n),), tuple(pivots)), Grid(lead, (m,), tuple(order))]
        b = rows_of(self.elements(x, eqn.inputs[1]), self.graph.aval_of(eqn.inputs[1]).shape[-1])
        left = eqn.primitive.named(eqn.params)["left"]
        found = self._divided(x, eqn, rows, b if left else _turned(b))
        return [_grid(lead, found if left else _turned(found))]

    def _divided(self, x: Lanes, eqn: Eqn, a: list[list[Atom]], b: list[list[Atom]]) -> list[list[Atom]]:
        p, dtype = eqn.primitive.named(eqn.params), self.graph.aval_of(eqn.inputs[0]).dtype
        transposed = p["transposed"] if p["left"] else not p["transposed"]
        return unrolled_routines.triangular_solve(x, a, b, dtype, p["lower"], transposed, p["unit"])

    def _substituted(self, eqn: Eqn) -> Atom:
        """Small triangles that divide many right sides: each element of a solution for all of these at once."""
        axis = -2 if eqn.primitive.named(eqn.params)["left"] else -1
        b, shape = self.array(eqn.inputs[1]), list(self.graph.aval_of(eqn.inputs[1]).shape)
        n, emit = shape[axis], self.builder.emit
        shape[axis] = 1
        one = tuple(shape)
        each, x = self.lanes(one), self.lanes(one[:-2])
        dims = tuple(range(len(one) - 2))
        a = [
            [
                k if isinstance(k, Literal) else emit(broadcast, (k,), (one, dims))[0]
                for k in (self.element(x, eqn.inputs[0], (i, j)) for j in range(n))
            ]
            for i in range(n)
        ]
        rows = []
        for i in range(n):
            start, stop = [0] * len(one), list(one)
            start[axis], stop[axis] = i, i + 1
            rows.append([emit(slice_, (b,), (tuple(start), tuple(stop), (1,) * len(one)))[0]])
        found = [row[0] for row in self._divided(each, eqn, a, rows)]
        return emit(concatenate, tuple(found), (len(one) + axis,))[0]


def _turned(rows: list[list[Atom]]) -> list[list[Atom]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _grid(lead: Shape, rows: list[list[Atom]]) -> Grid:
    return Grid(lead, (len(rows), len(rows[0])), tuple([a for row in rows for a in row]))
