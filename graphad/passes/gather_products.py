"""The pass `gather_products`: outer products that a loop adds up become one product of matrices behind it.

The adjoint of ``h @ w`` in a loop with one ``w`` adds up an outer product in every turn, ``dw = dw + outer(h, g)``: it
reads and writes all of ``dw`` for one multiplication an element. The rows ``h`` and ``g`` of all turns are matrices,
and ``dw`` is the product of the one, transposed, with the other. Other sums of the rows that are stacked for this, as
that of a bias, leave the loop as well.

Terms are added in another order than turn by turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.ref import Ref
from graphad.passes.all_turns import Total, needed, total_of
from graphad.passes.loop_pass import LoopPass, in_brackets
from graphad.passes.pipeline import graph_pass
from graphad.primitives.contract import dot_general
from graphad.primitives.crossing import Params, varying
from graphad.primitives.elementwise import add, sub
from graphad.primitives.reduce import reduce_sum
from graphad.primitives.scan import scan

_OUTER: Final = (((), ()), ((), ()))


@graph_pass("gather_products")
@dataclass(frozen=True)
class GatherProducts(LoopPass):
    """Take sums of outer products out of loops.

    Attributes
    ----------
    smallest
        Products of fewer elements stay in the loop, where they are in registers.
    most
        Loops for which more elements would be stacked stay as they are.
    """

    smallest: int = 64
    most: int = 2**24

    def fits(self, eqn: Eqn) -> bool:
        """Whether ``eqn`` is a loop that something leaves."""
        return self.parts(eqn) is not None

    def parts(self, eqn: Eqn) -> Parts | None:
        """What leaves ``eqn``, if it is a loop that something leaves."""
        if eqn.primitive is not scan or eqn.params[0] < 2:
            return None
        parts = Parts(eqn, self.smallest)
        return parts if parts.products and parts.stacked_size <= self.most else None

    def replaced(self, builder: Builder, eqn: Eqn, inputs: tuple[Atom, ...]) -> tuple[list[Ref], str]:
        """The results of the loop without its sums of products, and of these; and which they are."""
        parts = self.parts(eqn)
        assert parts is not None, "it fits"
        return _apart(builder, parts, inputs), parts.words


class Parts:
    """Which sums leave a loop.

    Attributes
    ----------
    products
        By the number of the carried value: the sum, the equation of the product, and its place.
    sums
        The sums of what is stacked for the products.
    rows
        The atoms of the region that are stacked for them.
    """

    def __init__(self, eqn: Eqn, smallest: int) -> None:
        self.eqn, self.p, self.region = eqn, Params(*eqn.params), eqn.regions[0]
        p, region = self.p, self.region
        equations = zip(region.eqns, region.locs, strict=True)
        makers: dict[Atom, tuple[Eqn, Loc]]
        makers = {o: (e, loc) for e, loc in equations if e.primitive is dot_general for o in e.outputs}
        totals = {k: t for k in range(p.n_carry) if (t := total_of(region, p.n_consts + k, k)) is not None}
        self.varies = varying(region, range(p.n_consts, region.n_inputs))
        self.products: dict[int, tuple[Total, Eqn, Loc]] = {}
        for k, total in totals.items():
            if total.term not in makers or region.avals[p.n_consts + k].size < smallest:
                continue
            product, loc = makers[total.term]
            if product.params == _OUTER and self._is_made_of_rows(product):
                self.products[k] = total, product, loc
        factors = [a for _, product, _ in self.products.values() for a in product.inputs]
        self.rows = list(dict.fromkeys([a for a in factors if type(a) is int]))
        self.sums = {k: t for k, t in totals.items() if k not in self.products and t.term in self.rows}

    def _is_made_of_rows(self, product: Eqn) -> bool:
        """Whether both factors change from turn to turn."""
        return all([type(a) is int and self.varies[a] for a in product.inputs])

    @property
    def words(self) -> str:
        """Which products leave the loop, and from which lines."""
        found = [(self.region.avals[product.outputs[0]].shape, loc) for _, product, loc in self.products.values()]
        listed = ", ".join([f"{' x '.join(map(str, shape))}{in_brackets(loc)}" for shape, loc in found])
        return f"the outer products that it adds up, {listed}, are products of matrices behind it"

    @property
    def stacked_size(self) -> int:
        """How many elements are stacked that were not."""
        region = self.region
        new = [a for a in self.rows if a not in range(self.p.first_x, region.n_inputs)]
        return self.p.length * sum([region.avals[a].size for a in new])


def _apart(builder: Builder, parts: Parts, inputs: tuple[Atom, ...]) -> list[Ref]:
    """The results of the loop: what stays in it, and the sums, behind it."""
    p = parts.p
    out = {*parts.products, *parts.sums}
    kept = [k for k in range(len(parts.region.outputs)) if k not in out]
    stacked = [a for a in parts.rows if not p.first_x <= a < parts.region.n_inputs]
    region = _without(parts, kept, stacked)
    operands = tuple([a for k, a in enumerate(inputs) if k - p.n_consts not in out])
    params = p._replace(n_carry=p.n_carry - len(out))
    numbers = builder.emit(scan, operands, tuple(params), (region,))
    found = {k: Ref(builder, n) for k, n in zip(kept, numbers, strict=False)}
    rows = {a: Ref(builder, n) for a, n in zip(stacked, numbers[len(kept) :], strict=True)}
    rows |= {a: Ref(builder, inputs[a]) for a in parts.rows if a not in rows}
    for k, (total, product, builder.loc) in parts.products.items():
        left, right = [rows[a] for a in product.inputs]  # type: ignore[index]  # no literals are among them
        added = dot_general(left, right, contract=((0,), (0,)), batch=((), ()))
        found[k] = _sum(Ref(builder, inputs[p.n_consts + k]), added, total)
    for k, total in parts.sums.items():
        added = reduce_sum(rows[total.term], axes=(0,))  # type: ignore[index]
        found[k] = _sum(Ref(builder, inputs[p.n_consts + k]), added, total)
    return [found[k] for k in range(len(found))]


def _sum(start: Ref, added: Ref, total: Total) -> Ref:
    return sub(start, added) if total.negative else add(start, added)


def _without(parts: Parts, kept: Sequence[int], stacked: Sequence[int]) -> Graph:
    """The region with outputs ``kept`` and ``stacked``, and without the carried values that are not kept."""
    p, region = parts.p, parts.region
    builder = Builder()
    left_out = {p.n_consts + k for k in (*parts.products, *parts.sums)}
    number: dict[Atom, Atom] = {k: builder.input(a) for k, a in enumerate(region.in_avals) if k not in left_out}
    outputs = [*[region.outputs[k] for k in kept], *stacked]
    for k in needed(region, outputs, range(region.n_inputs)):
        eqn = region.eqns[k]
        builder.loc = region.locs[k]
        atoms = tuple([number.get(a, a) for a in eqn.inputs])
        number |= zip(eqn.outputs, builder.copy(eqn, atoms, [region.avals[o] for o in eqn.outputs]), strict=True)
    return builder.close([number.get(a, a) for a in outputs], name=region.name)
