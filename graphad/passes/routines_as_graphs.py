"""The pass `routines_as_graphs`: routines of linear algebra in loops of primitives, for targets without LAPACK.

A primitive whose lowering is a `Routine` may say there (``as_graph``) how its results are made of other primitives.
This pass puts that graph in the place of the equation, with what it calls, so far as its results are read; batches,
kernels and Numba source of it then come as for any graph. Derivatives are taken before, by the rules of the primitive.
What has no such form stays, and is an error when it is scheduled.

The data: ``as_graph`` takes a `Ref` for each operand, and gives one for each result; or None where the pass
`unroll_matrices` writes all out by elements. Where there are more turns than `linalg.matrices.LARGEST`, it raises a
`LoweringError`. Loops are written as functions of `Ref` (`linalg.turns`). `linalg.jacobi` has `eigh` and `svd`,
`linalg.reflections` `qr` and `householder_product`, `linalg.elimination` `lu` and `tridiagonal_solve`. `cholesky` and
`triangular_solve` go by halves, down to blocks that are written out by elements; the others are made of these where
their primitive stands.

Walk of one example, ``eigh`` of ``f64[1000,6,6]``. `jacobi.eigh` makes ``a`` symmetric and emits a ``while`` that
carries ``(a, v, worst, sweeps)``, with a test for each matrix: whether its ``worst`` element beside the diagonal is too
large yet. Its body is a ``scan`` of 10 turns (two sweeps) over ``(a, v)``: a turn reads the diagonal and the
antidiagonal, two strided views; computes three angles; and mixes row ``i`` with row ``5 - i``, a reversed view, then
columns; last, all rows and columns but the first go on by one place, so that others meet. Lowering finds scalar
arithmetic on arrays of 36 elements, and makes one kernel of it, in which a thread keeps its matrix in registers. Of
more than 8 rows a turn is a few kernels, each over all matrices. Behind the loop the eigenvalues are sorted by
`argsort`, which has kernels, and vectors are gathered and turned round as ``eigh`` promises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.lowering import Routine
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType
from graphad.passes.pipeline import Pass, graph_pass
from graphad.primitives.layout import zeros_like_aval


@graph_pass("routines_as_graphs")
@dataclass(frozen=True)
class RoutinesAsGraphs(Pass):
    """Put graphs in the place of routines."""

    def run(self, graph: Graph) -> Graph:
        """The graph; itself if there are none."""
        if not any([_as_graph(graph, e) is not None or e.regions for e in graph.eqns]):
            return graph
        builder = Builder()
        made: list[Atom] = [builder.input(a) for a in graph.in_avals]
        made += [0] * (len(graph.avals) - graph.n_inputs)
        for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
            builder.loc = loc
            atoms = tuple([made[a] if type(a) is int else a for a in eqn.inputs])
            wanted = tuple([o in graph.values_read for o in eqn.outputs])
            form = self._form(graph, eqn, wanted, loc)
            if form is not None:
                found = iter(builder.inline(form, atoms))
                for o, is_wanted in zip(eqn.outputs, wanted, strict=True):
                    if is_wanted:
                        made[o] = next(found)
                continue
            regions = tuple([r.memoize(self, lambda r=r: self.run(r)) for r in eqn.regions])
            new = builder.copy(eqn._replace(regions=regions), atoms, [graph.avals[o] for o in eqn.outputs])
            for o, atom in zip(eqn.outputs, new, strict=True):
                made[o] = atom
        outputs = [made[a] if type(a) is int else a for a in graph.outputs]
        return builder.close(outputs, graph.weak, name=graph.name)

    def _form(self, graph: Graph, eqn: Eqn, wanted: tuple[bool, ...], loc: Loc) -> Graph | None:
        """The graph of the results that are wanted; None if there is none in the place of the equation."""
        as_graph = _as_graph(graph, eqn)
        if as_graph is None:
            return None
        builder = Builder()
        builder.loc = loc
        operands = [builder.input_ref(graph.aval_of(a)) for a in eqn.inputs]
        outs = [graph.avals[o] for o in eqn.outputs]
        results = as_graph(*operands) if any([a.size for a in outs]) else _empty(builder, outs)
        if results is None:
            return None
        kept = [r.atom for r, is_wanted in zip(results, wanted, strict=True) if is_wanted]
        return self.run(builder.close(kept, name=eqn.primitive.name))


def _empty(builder: Builder, outs: Sequence[Aval]) -> list[Ref]:
    return [zeros_like_aval(builder, a) for a in outs]


def _types(graph: Graph, eqn: Eqn) -> tuple[OperandType, ...]:
    return tuple([graph.avals[a] if type(a) is int else a.type for a in eqn.inputs])  # type: ignore[union-attr]


def _as_graph(graph: Graph, eqn: Eqn) -> Callable[..., Sequence[Ref] | None] | None:
    if eqn.regions:
        return None
    lowering = eqn.primitive.lower(_types(graph, eqn), eqn.params)
    return lowering.as_graph if type(lowering) is Routine else None
