"""Loops whose bodies are scalar arithmetic, as statements: carried values live in registers.

A loop over small arrays (states of a few numbers, matrices of two rows) is written element by element: its carried
values are ``last`` carries of a `Loop` or `While`, so that no turn goes through memory but for what is read and
stacked. A batch of such loops (its axes lead in every array, and no operation mixes its members) is one loop over the
batch, in lanes, around the loop over the turns.

`Writer` walks the graphs of bodies. It raises `NotScalarError` where a body holds what is no scalar arithmetic
(products of larger matrices, sorting, wide arrays); the loop is then made of steps.

Walk of one example, ``scan(lambda c, x: (c * w + x, c), c0, xs)`` over ``xs: f64[100]``::

    for t in 100, s0: f64 = last(t0, t3):
      t1 = xs[t]
      t2: f64 = mul(s0, w)
      t3: f64 = add(t2, t1)
      ys[t] = s0
    last[0] = s0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad.backends.loops.ir import Carry, Loop, Operand, While
from graphad.backends.lower.affine import ZERO, Coordinate, Coords, Shape, combine
from graphad.backends.lower.registers.arrays import (
    UNROLLED,
    Array,
    InMemory,
    NotScalarError,
    Small,
    Virtual,
    check_alike,
    places,
    scalar,
    slice_of,
)
from graphad.backends.lower.registers.positions import Positions
from graphad.backends.lower.scalars import template
from graphad.ir import lowering as forms
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.lowering import Lowering
from graphad.ir.types import Aval, b1, i64, literal


class Writer(Positions):
    """Writes the statements of one loop, with all that is inside it."""

    # ---- graphs

    def graph(self, graph: Graph, inputs: Sequence[Array]) -> list[Array]:
        """The statements of ``graph``; its outputs."""
        values: list[Any] = [*inputs, *([None] * (len(graph.avals) - graph.n_inputs))]
        for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
            operands = [values[a] if type(a) is int else scalar(a) for a in eqn.inputs]
            types = tuple([graph.avals[a] if type(a) is int else a.type for a in eqn.inputs])  # type: ignore[union-attr]
            outs = [graph.avals[o] for o in eqn.outputs]
            for o, result in zip(eqn.outputs, self.equation(eqn, types, operands, outs, loc), strict=True):
                values[o] = result
        return [values[a] if type(a) is int else scalar(a) for a in graph.outputs]

    def equation(
        self, eqn: Eqn, types: tuple[Any, ...], operands: list[Array], outs: list[Aval], loc: Loc
    ) -> Sequence[Array]:
        lowering: Lowering | None = eqn.primitive.lower(types, eqn.params)
        if eqn.primitive.region_rules is None and any([x.turns for x in operands]):
            raise NotScalarError("an array of all turns of a batch that is not just run over")
        match lowering:
            case forms.Map(results=results):
                dtypes = tuple([x.dtype for x in operands])
                return [
                    self.map(template(s, dtypes, out.dtype), operands, out, loc)
                    for s, out in zip(results, outs, strict=True)
                ]
            case forms.Inline():
                return self.graph(eqn.regions[0], operands)
            case forms.Repeat():
                return self.repeat(lowering, eqn.regions[0], operands, loc)
            case forms.While():
                return self.while_(lowering, eqn, operands, loc)
            case forms.Branch():
                return self.branch(lowering, eqn, operands, loc)
            case _:
                if len(outs) != 1 or eqn.primitive.effect:
                    raise NotScalarError(eqn.primitive.name)
                named = eqn.primitive.named(eqn.params)
                return [self.array(eqn.primitive.name, lowering, named, operands, outs[0], loc)]

    def array(
        self, name: str, lowering: Lowering | None, params: dict[str, Any], operands: list[Array], out: Aval, loc: Loc
    ) -> Array:
        """An equation of one result that is no map and has no regions."""
        match lowering:
            case forms.View(index=dims):
                return self.view(operands[0], dims, out, loc)
            case forms.Reshape():
                return self.reshape(operands[0], out, loc)
            case forms.Iota(axis=axis):
                return self.iota(axis, out, loc)
            case forms.Pieces():
                return self.pieces(lowering, operands, out, loc)
            case forms.Reduce(combine=how, axes=axes):
                return self.reduce(how, axes, operands[0], out, loc)
            case forms.Scan(combine=how, axis=axis, reverse=reverse):
                return self.running(how, axis, reverse, operands, out, loc)
            case forms.Contract():
                return self.contract(lowering, operands, out, loc)
            case forms.Gather():
                return self.gather(params, operands, out, loc)
            case forms.DynamicSlice(batch=batch):
                return self.dynamic_slice(batch, operands, out, loc)
            case _:
                raise NotScalarError(name)

    # ---- loops inside

    def carried(self, x: Array, a: Aval, loc: Loc) -> Small:
        """A value that a loop carries, in registers; in a batch it has the axes of the batch."""
        y, stripped = self.small(x, loc), self.stripped(a.shape)
        if stripped not in (None, y.shape):
            raise NotScalarError(f"an array of shape {y.shape} whose first axes are as long as those of the batch")
        return Small(y.shape, a.dtype, y.atoms, y.lanes or stripped is not None)

    def names(self, x: Small, depth: int) -> Small:
        return Small(x.shape, x.dtype, tuple([self.name("s", depth) for _ in x.atoms]), x.lanes)

    def repeat(self, p: forms.Repeat, region: Graph, operands: Sequence[Array], loc: Loc) -> list[Array]:
        """A loop of a known number of turns: unrolled if it is short and runs over registers, else a `Loop`."""
        first_x = p.n_consts + p.n_carry
        consts, xs = operands[: p.n_consts], operands[first_x:]
        starts = [
            self.carried(x, a, loc)
            for x, a in zip(operands[p.n_consts : first_x], region.in_avals[p.n_consts : first_x], strict=True)
        ]
        if p.length <= UNROLLED and all([type(x) is Small for x in xs]) and not self.is_outermost():
            return self.unrolled(p, region, consts, starts, xs, loc)
        return self.loop(p, region, consts, starts, [self.laid_out(x, loc) for x in xs], None, loc)

    def is_outermost(self) -> bool:
        return len(self.scopes) == 1 + len(self.space)

    def laid_out(self, x: Array, loc: Loc) -> Array:
        if type(x) is not Small:
            return x
        made = self.fresh(x.shape, x.dtype, x.lanes)
        made.turns = x.turns
        for at, atom in zip(places(x.shape), x.atoms, strict=True):
            self.store(made, tuple([(i, ()) for i in at]), atom, loc)
        return made

    def unrolled(
        self, p: forms.Repeat, region: Graph, consts: Sequence[Array], carried: list[Any], xs: Sequence[Array], loc: Loc
    ) -> list[Array]:
        self.check_turns(xs)
        ys: dict[int, list[Small]] = {}
        for t in reversed(range(p.length)) if p.reverse else range(p.length):
            slices = [slice_of(x, t) for x in xs]
            outs = self.graph(region, [*consts, *carried, *slices])
            carried = [self.carried(o, a, loc) for o, a in zip(outs, region.out_avals[: p.n_carry], strict=False)]
            ys[t] = [self.small(y, loc) for y in outs[p.n_carry :]]
        stacked: list[Array] = []
        for k, a in enumerate(region.out_avals[p.n_carry :]):
            parts = [ys[t][k] for t in range(p.length)]
            lanes = any([y.lanes for y in parts])
            shape = parts[0].shape if parts else a.shape
            stacked.append(Small((p.length, *shape), a.dtype, tuple([x for y in parts for x in y.atoms]), lanes, lanes))
        return [*carried, *stacked]

    def loop(
        self,
        p: forms.Repeat,
        region: Graph,
        consts: Sequence[Array],
        starts: Sequence[Small],
        xs: Sequence[Array],
        targets: Sequence[InMemory] | None,
        loc: Loc,
    ) -> list[Array]:
        """A `Loop`; what is stacked goes to ``targets``, or to new arrays."""
        self.check_turns(xs)
        depth = len(self.scopes)
        made = [
            self.fresh((p.length, *self.stacked_shape(a)), a.dtype, bool(self.space)) if targets is None else targets[k]
            for k, a in enumerate(region.out_avals[p.n_carry :])
        ]
        variable = self.open_loop()
        names = [self.names(s, depth) for s in starts]
        turn: Coordinate = (0, ((variable, 1),))
        slices = [self.turned(x, turn, loc) for x in xs]
        outs = self.graph(region, [*consts, *names, *slices])
        carries: list[Carry] = []
        for s, name, out in zip(starts, names, outs[: p.n_carry], strict=True):
            update = self.small(out, loc)
            check_alike(s, update)
            for init, own, next_ in zip(s.atoms, name.atoms, update.atoms, strict=True):
                carries.append(Carry(str(own), s.dtype, "last", init, next_))
        for to, y in zip(made, outs[p.n_carry :], strict=True):
            to.turns = to.lanes
            if to.shape[1:] != y.shape or y.turns:
                raise NotScalarError(f"slices of shapes {y.shape} and {to.shape[1:]}")
            self.stack(to, turn, y, loc)
        self.close_loop(
            lambda body: Loop(variable, p.length, body, tuple(carries), reverse=p.reverse, loc=loc), carries
        )
        return [*names, *made]

    @staticmethod
    def check_turns(xs: Sequence[Array]) -> None:
        """Raise if an array to run over has the axes of the batch first, in place of that of the turns."""
        if any([x.lanes and not x.turns for x in xs]):
            raise NotScalarError("an array to run over that has the axes of a batch first")

    def stacked_shape(self, a: Aval) -> Shape:
        """The shape of a slice that is stacked: of one member, where it has the axes of the batch."""
        stripped = self.stripped(a.shape)
        return a.shape if stripped is None else stripped

    def stack(self, to: InMemory, turn: Coordinate, y: Array, loc: Loc) -> None:
        """Store ``y`` at its turn."""
        if type(y) is Small:
            for at, atom in zip(places(y.shape), y.atoms, strict=True):
                self.store(to, (turn, *[(i, ()) for i in at]), atom, loc)
            return
        self.copy(to, (turn,), y, (), loc)

    def copy(self, to: InMemory, before: Coords, y: Array, at: Coords, loc: Loc) -> None:
        """Loops that store the elements of an array in memory."""
        if len(at) == len(y.shape):
            self.store(to, (*before, *at), self.read(y, at, loc), loc)
            return
        extent = y.shape[len(at)]
        if extent == 1:
            self.copy(to, before, y, (*at, ZERO), loc)
            return
        variable = self.open_loop()
        self.copy(to, before, y, (*at, (0, ((variable, 1),))), loc)
        self.close_loop(lambda body: Loop(variable, extent, body, loc=loc), ())

    def turned(self, x: Array, turn: Coordinate, loc: Loc) -> Array:
        """The slice of ``x`` at ``turn``."""
        if type(x) is InMemory:
            start = combine(x.start[0], [((0, x.start[1]), 1), (turn, x.strides[0])])
            return InMemory(x.shape[1:], x.dtype, x.buffer, start, x.strides[1:], x.lanes, x.depth)
        if len(x.shape) == 1:
            return Small((), x.dtype, (self.read(x, (turn,), loc),), x.lanes)
        return Virtual(x.shape[1:], x.dtype, lambda at: self.read(x, (turn, *at), loc), x.lanes)

    def while_(self, p: forms.While, eqn: Eqn, operands: Sequence[Array], loc: Loc) -> list[Array]:
        """A `While`; in lanes, each of them keeps its values once its test has failed."""
        test, body = eqn.regions
        first = p.n_test_consts + p.n_body_consts
        test_consts, body_consts = operands[: p.n_test_consts], operands[p.n_test_consts : first]
        starts = [self.carried(x, a, loc) for x, a in zip(operands[first:], body.out_avals, strict=True)]
        goes_on = self.small(self.graph(test, [*test_consts, *starts])[0], loc)
        begins = self.one(goes_on)
        # A loop that turns as often for all members runs for all: one result stands for those not chosen as well.
        if self.guarded is not None and goes_on.lanes:
            begins = self.let("and", b1, (begins, self.guarded), loc)
        self.open_loop()
        around, self.guarded = self.guarded, None
        depth = len(self.scopes) - 1
        condition, turns = self.name("s", depth), self.name("s", depth)
        names = [self.names(s, depth) for s in starts]
        if self.space:
            self.guarded = condition
        outs = [self.small(x, loc) for x in self.graph(body, [*body_consts, *names])]
        for s, o in zip(starts, outs, strict=True):
            check_alike(s, o)
        outs = [Small(o.shape, o.dtype, o.atoms, s.lanes) for o, s in zip(outs, starts, strict=True)]
        again = self.one(self.small(self.graph(test, [*test_consts, *outs])[0], loc))
        self.guarded = around
        counted = self.let("add", i64, (turns, literal(1, i64)), loc)
        carries = [Carry(condition, b1, "last", begins, again), Carry(turns, i64, "last", literal(0, i64), counted)]
        for s, name, out in zip(starts, names, outs, strict=True):
            for init, own, update in zip(s.atoms, name.atoms, out.atoms, strict=True):
                carries.append(Carry(str(own), s.dtype, "last", init, update))
        self.close_loop(lambda inside: While(condition, inside, tuple(carries), loc=loc), carries)
        return [*names, Small((), i64, (turns,), goes_on.lanes)]

    @staticmethod
    def one(x: Small) -> Operand:
        """A scalar: one answer, or in lanes one for each of them."""
        if x.shape:
            raise NotScalarError("a batch of answers outside of lanes")
        return x.atoms[0]

    def branch(self, p: forms.Branch, eqn: Eqn, operands: Sequence[Array], loc: Loc) -> list[Array]:
        """Branches: for each a `While` of one turn at most; in lanes all of them run, and the results are selected."""
        index = self.small(operands[0], loc)
        chooser = self.one(index)
        rest = list(operands[1:])
        owned: list[Array] = []
        chosen: list[Small] | None = None
        for k, region in enumerate(eqn.regions):
            here = self.let("eq", b1, (chooser, literal(k, index.dtype)), loc)
            outs = self.selected(region, rest, here, chosen, p.n_chosen, index.lanes, loc)
            chosen, own = outs[: p.n_chosen], outs[p.n_chosen :]
            owned += own
        return [*(chosen or []), *owned]

    def selected(
        self, region: Graph, operands: list[Array], here: Operand, otherwise: list[Small] | None, n_chosen: int,
        lanes: bool, loc: Loc,
    ) -> list[Small]:  # fmt: skip
        """The results of ``region`` where ``here`` holds, else ``otherwise``, which is zero where there is none."""
        if self.space and lanes:
            around = self.guarded
            self.guarded = here if around is None else self.let("and", b1, (here, around), loc)
            outs = [self.small(x, loc) for x in self.graph(region, operands)]
            self.guarded = around
            if otherwise is None:
                return [Small(o.shape, o.dtype, o.atoms, True) for o in outs]
            for o, e in zip(outs, otherwise, strict=False):
                check_alike(e, o)
            picked = [
                Small(
                    o.shape,
                    o.dtype,
                    tuple(
                        [self.let("select", o.dtype, (here, a, b), loc) for a, b in zip(o.atoms, e.atoms, strict=True)]
                    ),
                    True,
                )
                for o, e in zip(outs, otherwise, strict=False)
            ]
            return [*picked, *outs[n_chosen:]]
        self.open_loop()
        depth = len(self.scopes) - 1
        condition = self.name("s", depth)
        outs = [self.small(x, loc) for x in self.graph(region, operands)]
        carries = [Carry(condition, b1, "last", here, literal(False, b1))]
        results: list[Small] = []
        for k, o in enumerate(outs):
            named = self.names(o, depth)
            if otherwise is not None and k < n_chosen:
                check_alike(otherwise[k], o)
            before = (
                otherwise[k].atoms if otherwise is not None and k < n_chosen else (literal(0, o.dtype),) * len(o.atoms)
            )
            results.append(named)
            for init, own, update in zip(before, named.atoms, o.atoms, strict=True):
                carries.append(Carry(str(own), o.dtype, "last", init, update))
        self.close_loop(lambda inside: While(condition, inside, tuple(carries), loc=loc), carries)
        return results
