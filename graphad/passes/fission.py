"""The pass `fission`: of a loop over scalars and small arrays, only what waits for the turn before stays in the loop.

The rest of its body is computed for all turns at once, as arrays over the turns, which are computed in SIMD lanes:

- what does not depend on carried values, before the loop;
- what depends on them and is not carried, from the stacked carried values, behind it; sums over the turns with it.

A body that is linear in one or two carried values, as every transposed one is, becomes shorter still: a turn is the
product of a matrix with the carried values, and the coefficients are computed for all turns before.

Walk of one example, the adjoint of ``v = a + b * v`` with a loss of every ``v``, whose turn is ``ct = b * ct + g / v``,
``db = db + ct * v``: ``g / v`` is computed before the loop, the loop is ``ct = b * ct + x`` and stacks ``ct``, and
``db`` is the sum of the products of two stacks.

Sums over the turns are added in another order than turn by turn, and products in a linear body associated otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, literal
from graphad.passes.all_turns import AllTurns, Over, needed, total_of
from graphad.passes.linear_forms import Form, linear_forms
from graphad.passes.loop_pass import LoopPass
from graphad.passes.pipeline import graph_pass
from graphad.primitives.crossing import Params, varying
from graphad.primitives.elementwise import add, mul, sub
from graphad.primitives.layout import broadcast
from graphad.primitives.scan import scan

#: In bodies with larger arrays there are lanes already, or matrix products.
_ELEMENTS: Final = 16
#: Coefficients for three carried values are nine; with Lorenz's equations, whose turn has 60 operations, computing them
#: for all turns took as long as the loop did.
_LINEAR: Final = 2
#: A linear body must have more equations than this for each coefficient.
_EQUATIONS: Final = 4
#: What takes longer than the rest of most turns. Other arithmetic, a turn that waits for the one before has time for.
_SLOW: Final = frozenset(
    {"div", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "tanh", "pow", "erf", "logistic"}
)


@graph_pass("fission")
@dataclass(frozen=True)
class Fission(LoopPass):
    """Take out of loops over small arrays what can be computed for all turns at once.

    Attributes
    ----------
    shortest, longest
        Loops of fewer or more turns stay as they are: the arrays over the turns would not pay, or not fit the cache.
    always
        Whether to do it where it does not pay, too: for tests.
    """

    shortest: int = 64
    longest: int = 65_536
    always: bool = False

    def fits(self, eqn: Eqn) -> bool:
        """Whether ``eqn`` is a loop over small arrays, of values that can all be computed for all turns."""
        if eqn.primitive is not scan or not self.shortest <= eqn.params[0] <= self.longest:
            return False
        (region,) = eqn.regions
        return all([a.size <= _ELEMENTS for a in region.avals]) and all([_is_plain(e) for e in region.eqns])

    def replaced(self, builder: Builder, eqn: Eqn, inputs: tuple[Atom, ...]) -> tuple[list[Ref] | None, str]:
        """The results of the loops that take the place of one, None where no others take less time; and which."""
        loops = _Loops(builder, Parts(eqn), inputs)
        return loops.results(self.always), loops.choice


def _is_plain(eqn: Eqn) -> bool:
    return not (eqn.regions or eqn.primitive.effect or len(eqn.outputs) > 1 or eqn.primitive.batch is None)


# ---------------------------------------------------------------------------------------------------------------------
# What is where


class Parts:
    """Which parts of a loop go where. Carried values are numbered from 0, equations by their position.

    Attributes
    ----------
    totals
        The carried values that nothing reads but their own sum.
    chain, carried
        The other carried values: their numbers, and what they are in the region.
    inside
        Equations that stay in the loop.
    before, behind
        Equations computed for all turns that the loop reads, and others.
    is_narrow
        Whether a linear body would be a product with a small matrix.
    is_long
        Whether such a product takes less time than the body.
    """

    def __init__(self, eqn: Eqn) -> None:
        self.eqn, self.p, self.region = eqn, Params(*eqn.params), eqn.regions[0]
        p, region = self.p, self.region
        self.totals = {k: t for k in range(p.n_carry) if (t := total_of(region, p.n_consts + k, k)) is not None}
        self.chain = [k for k in range(p.n_carry) if k not in self.totals]
        self.carried = [p.n_consts + k for k in self.chain]
        self.carried_avals = [region.avals[a] for a in self.carried]
        self.varies = varying(region, self.carried)
        chain = needed(region, [region.outputs[k] for k in self.chain])
        self.inside = [k for k in chain if self.varies[region.eqns[k].outputs[0]]]
        self.before = [k for k in chain if not self.varies[region.eqns[k].outputs[0]]]
        ends = [a for k, a in enumerate(region.outputs) if k not in self.chain and k not in self.totals]
        ends += [total.term for total in self.totals.values()]
        self.behind = sorted({*needed(region, ends)}.difference(chain))
        self.is_narrow = 0 < len(self.chain) <= _LINEAR and not any([a.shape for a in self.carried_avals])
        self.is_long = len(chain) > _EQUATIONS * len(self.chain) ** 2

    @property
    def is_slow(self) -> bool:
        """Whether slow operations can leave the loop."""
        return any([self.region.eqns[k].primitive.name in _SLOW for k in (*self.before, *self.behind)])


# ---------------------------------------------------------------------------------------------------------------------
# Loops


class _Loops:
    """One loop as several.

    Attributes
    ----------
    turns
        The values of its region over the turns.
    choice
        What becomes of the loop, in words.
    """

    def __init__(self, builder: Builder, parts: Parts, inputs: tuple[Atom, ...]) -> None:
        self.builder, self.parts, self.inputs = builder, parts, inputs
        self.p, self.region, self.loc, self.choice = parts.p, parts.region, builder.loc, ""
        p = self.p
        known = {k: Over(Ref(builder, inputs[k]), k >= p.first_x) for k in range(len(inputs))}
        for k in range(p.n_consts, p.first_x):
            del known[k]
        self.turns = AllTurns(builder, self.region, p.length, known)

    def results(self, always: bool) -> list[Ref] | None:
        """The results of the loop; None if it stays as it is, as no other would take less time."""
        parts, p = self.parts, self.p
        n, total = len(parts.chain), len(self.region.eqns)
        loop = self._linear() if parts.is_narrow and (parts.is_long or always) else None
        if loop is not None:
            self.choice = f"linear, {n} x {n} coefficients of {total} equations are computed for all turns at once"
        elif parts.is_slow or always or not parts.chain:
            loop = self._chain() if parts.chain else []
            self.choice = f"{len(parts.inside)} of {total} equations in the loop, the others for all turns at once"
        else:
            self.choice = f"all {total} equations turn by turn"
            return None
        found = dict(zip(parts.chain, loop[: len(parts.chain)], strict=True))
        for a, stack in zip(parts.carried, loop[len(parts.chain) :], strict=True):
            self.turns.known[a] = Over(stack, True)
        for k, (term, negative) in parts.totals.items():
            start, total = Ref(self.builder, self.inputs[p.n_consts + k]), self.turns.total(term)
            if total.shape != start.shape:  # the term is a number
                total = broadcast(total, shape=start.shape, dims=())
            found[k] = sub(start, total) if negative else add(start, total)
        for k, a in enumerate(self.region.outputs):
            if k not in found:
                found[k] = self.turns.stack(a)
        return [found[k] for k in range(len(found))]

    def _chain(self) -> list[Ref]:
        """The loop with the equations that wait for the turn before: its last carried values, and stacks of all."""
        region, parts = self.region, self.parts
        outs = [region.outputs[k] for k in parts.chain]
        read = [*[a for k in parts.inside for a in region.eqns[k].inputs], *outs]
        body = _Region()
        number: dict[Atom, Atom] = dict(zip(parts.carried, body.carried(parts.carried_avals), strict=True))
        for a in dict.fromkeys([a for a in read if type(a) is int and not parts.varies[a]]):
            number[a] = body.read(self.turns.value(a), region.avals[a])
        for k in parts.inside:
            eqn = region.eqns[k]
            body.builder.loc = region.locs[k]
            atoms = tuple([number.get(a, a) for a in eqn.inputs])
            number[eqn.outputs[0]] = body.builder.copy(eqn, atoms, [region.avals[eqn.outputs[0]]])[0]
        return self._emit(body, [number.get(a, a) for a in outs])

    def _linear(self) -> list[Ref] | None:
        """The loop as products of matrices; None if it is not linear."""
        region, parts = self.region, self.parts
        forms = linear_forms(self.turns, parts.inside, parts.carried)
        if forms is None:
            return None
        body = _Region()
        starts = body.carried(parts.carried_avals)
        outs: list[Atom] = []
        for k, aval in zip(parts.chain, parts.carried_avals, strict=True):
            a = region.outputs[k]
            form = forms[a] if type(a) is int and a in forms else Form({}, self.turns.value(a))
            body.builder.loc = self.loc
            summands = [body.product(body.read(x, aval), starts[j]) for j, x in form.terms.items()]
            if form.rest is not None:
                summands.append(Ref(body.builder, body.read(form.rest, aval)))
            outs.append(reduce(add, summands).atom if summands else literal(0, aval.dtype))
        return self._emit(body, outs)

    def _emit(self, body: _Region, outs: Sequence[Atom]) -> list[Ref]:
        p, parts = self.p, self.parts
        region = body.close([*outs, *body.starts], self.region.name)
        params = Params(p.length, p.reverse, len(body.fixed), len(body.starts))
        operands = (*body.fixed, *[self.inputs[k] for k in parts.carried], *body.slices)
        self.builder.loc = self.loc
        return [Ref(self.builder, o) for o in self.builder.emit(scan, operands, tuple(params), (region,))]


class _Region:
    """The region of a loop under construction.

    Attributes
    ----------
    fixed, slices
        What it reads, from the atom outside to that inside: the same in all turns, or one slice in each.
    starts
        The carried values at the start of a turn.
    """

    def __init__(self) -> None:
        self.builder = Builder()
        self.fixed: dict[Atom, int] = {}
        self.slices: dict[Atom, int] = {}
        self.starts: list[int] = []

    def carried(self, avals: Sequence[Aval]) -> list[int]:
        """The carried values, which are of these types."""
        self.starts = [self.builder.input(a) for a in avals]
        return self.starts

    def read(self, value: Over, aval: Aval) -> Atom:
        """A value over the turns, in one turn."""
        atom = value.ref.atom
        if type(atom) is not int:
            return atom
        inputs = self.slices if value.has_axis else self.fixed
        if atom not in inputs:
            inputs[atom] = self.builder.input(aval)
        return inputs[atom]

    def product(self, factor: Atom, carried: int) -> Ref:
        """A coefficient times a carried value."""
        ref = Ref(self.builder, carried)
        return ref if factor is literal(1, ref.aval.dtype) else mul(Ref(self.builder, factor), ref)

    def close(self, outputs: Sequence[Atom], name: str) -> Graph:
        """The region, with inputs in the order of a ``scan``."""
        inputs = [*self.fixed.values(), *self.starts, *self.slices.values()]
        return self.builder.close(outputs, inputs=inputs, name=name)
