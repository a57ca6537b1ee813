"""Reverse mode in bounded memory: which loops of a graph get checkpoints, and how many states each.

What reverse mode of a ``scan`` stacks is known before it is differentiated: the residuals of a turn, times the turns. A
loop can be reversed in less, by *options* that store states instead and run turns again in some sweeps
(`checkpointed_loops`): its own turns, those of loops inside it, or both. Of all choices of options that fit, the one
that runs the least again is taken, the largest loops first; what is left of the limit goes to more states.

Walk of one example: a loop of 1,000 turns that carries 10 bytes and stacks 30 in a turn, and one of 100 that stacks 1
in a turn, in 700 bytes. The second, of 100 bytes, is left as it is. The first has 125 blocks. With 125 states it would
be reversed in one sweep, for 1,250 bytes and 240 of a block; with 16 in two, for 160 and 240, which fits into the other
600 bytes. There are 20 more states in what is left: it gets 36.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from graphad.api.checkpointed_loops import BLOCK, MOST_SWEEPS, least_slots, loop_with_checkpoints, schedule
from graphad.api.tracing import note
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import Aval, aval
from graphad.primitives.cond import cond
from graphad.primitives.control import jit, remat
from graphad.primitives.crossing import Params, varying
from graphad.primitives.scan import linear_parts, residual_avals, scan
from graphad.primitives.while_loop import while_
from graphad.trace.bind import Spec, trace_function
from graphad.trace.pytree import flatten
from graphad.trace.source import where
from graphad.transforms.linearize import linearized

#: From the equations of a graph to an equation in a region: of each on the way its number, and which of its regions.
Path = tuple[int, ...]


def bounded(graph: Graph, marks: Sequence[bool], limit: int, name: str) -> Graph:
    """``graph`` with loops of which reverse mode by the marked inputs stores ``limit`` bytes at most.

    Raises
    ------
    ValueError
        There is no way to do so.
    """
    loops = _Search(graph, marks).loops
    choice = _chosen(loops, limit, name)
    for path, option in choice.items():
        note(f"{loops[path].text}: {option.text(loops[path])}")
    return _rewritten(graph, choice)


# ---------------------------------------------------------------------------------------------------------------------
# The loops


class _Loop(NamedTuple):
    """A ``scan`` equation through which reverse mode goes; sizes are in bytes.

    Attributes
    ----------
    state
        What it carries.
    turn
        What the plain adjoint stacks in each turn; ``own`` of that does not belong to loops inside.
    read
        Of a loop in another one: what it is given, which the loop around stacks if turns run again.
    inner
        The loops in its body.
    """

    eqn: Eqn
    loc: Loc
    state: int
    turn: int
    read: int
    inner: dict[Path, _Loop]

    @property
    def length(self) -> int:
        return Params(*self.eqn.params).length

    @property
    def plain(self) -> int:
        return self.length * self.turn

    @property
    def own(self) -> int:
        return max(self.turn - sum([x.plain for x in self.inner.values()]), 0)

    @property
    def text(self) -> str:
        return f"loop of {self.length:,} turns ({format_loc(self.loc)})"


class _Search:
    """The loops of a graph, by their paths, and which of its values have a tangent.

    ``varies`` marks what differs from turn to turn of a loop around, if there is one.
    """

    def __init__(self, graph: Graph, marks: Sequence[bool], varies: Sequence[int] | None = None) -> None:
        self.graph = graph
        self.varies = varies
        self.loops: dict[Path, _Loop] = {}
        self.active = bytearray(len(graph.avals))
        self.active[: graph.n_inputs] = bytes([m and a.is_float for m, a in zip(marks, graph.in_avals, strict=True)])
        for k, eqn in enumerate(graph.eqns):
            given = [type(a) is int and bool(self.active[a]) for a in eqn.inputs]
            if any(given):
                for o, is_active in zip(eqn.outputs, self._results(k, eqn, given), strict=True):
                    self.active[o] = is_active and graph.avals[o].is_float

    def _results(self, k: int, eqn: Eqn, given: list[bool]) -> list[bool]:
        """Which results have a tangent: more rather than fewer, where it is not easy to say."""
        everything = [True] * len(eqn.outputs)
        if eqn.primitive is scan:
            return self._scan(k, eqn, given)
        if eqn.primitive is jit or eqn.primitive is remat:
            return self._region(k, 0, eqn, given)
        if eqn.primitive is cond:
            for number in range(len(eqn.regions)):
                self._region(k, number, eqn, given)
            return everything
        if eqn.primitive is while_:
            note(
                f"while loop ({format_loc(self.graph.locs[k])}): not bounded, for the number of its turns is not known"
            )
        rule = eqn.primitive.jvp
        if not isinstance(rule, tuple):
            return everything
        return [any([rule[i] is not None for i, m in enumerate(given) if m])]

    def _region(self, k: int, number: int, eqn: Eqn, given: list[bool]) -> list[bool]:
        """Look into a region that runs once, at most; its inputs are the last operands."""
        region = eqn.regions[number]
        first = len(eqn.inputs) - region.n_inputs
        varies = self.varies
        if varies is not None:
            varies = varying(region, [i for i, a in enumerate(eqn.inputs[first:]) if type(a) is int and varies[a]])
        found = _Search(region, given[first:], varies)
        self.loops |= {(k, number, *path): loop for path, loop in found.loops.items()}
        return [type(a) is int and bool(found.active[a]) for a in region.outputs]

    def _scan(self, k: int, eqn: Eqn, given: list[bool]) -> list[bool]:
        p, region = Params(*eqn.params), eqn.regions[0]
        split, mask = linear_parts(eqn, given, linearized)
        inner = _Search(region, mask, varying(region, range(p.n_consts, region.n_inputs))).loops
        read = [*eqn.inputs[: p.n_consts], *eqn.inputs[p.first_x :]]
        read = [a for a in read if type(a) is int and self.varies is not None and self.varies[a]]
        self.loops[k,] = _Loop(
            eqn,
            self.graph.locs[k],
            _bytes(region.in_avals[p.n_consts : p.first_x]),
            _bytes(residual_avals(eqn, given, linearized)),
            _bytes([self.graph.aval_of(a) for a in dict.fromkeys(read)]),
            inner,
        )
        return [*mask[p.n_consts : p.first_x], *split.nonzero[p.n_carry :]]


def _bytes(avals: Sequence[Aval]) -> int:
    return sum([a.size * a.dtype.numpy.itemsize for a in avals])


# ---------------------------------------------------------------------------------------------------------------------
# What can be done about each


class _Option(NamedTuple):
    """A way to reverse a loop.

    Attributes
    ----------
    stored
        The bytes that it stores from the first turn on.
    work
        Those that it takes while it is reversed: of one block, or in a loop inside.
    sweeps
        How often turns run again.
    slots
        The number of states; None for a loop without checkpoints.
    inner
        What is done about loops inside.
    """

    stored: int
    work: int
    sweeps: int
    slots: int | None
    inner: dict[Path, _Option]

    def text(self, loop: _Loop) -> str:
        parts = [f"reverse mode stores {self.slots:,} states"] if self.slots is not None else []
        parts += [f"in it, the {loop.inner[path].text}: {o.text(loop.inner[path])}" for path, o in self.inner.items()]
        return "; ".join(parts)


def _options(loop: _Loop) -> list[_Option]:
    """The plain adjoint first."""
    turns = [(loop.turn, 0, 0, {})]
    by_path = {path: _options(x) for path, x in loop.inner.items()}
    for sweeps in _levels(by_path.values()):
        chosen = {path: _best(options, sweeps) for path, options in by_path.items()}
        size = loop.own + sum([o.stored for o in chosen.values()])
        work = max([o.work for o in chosen.values()])
        turns.append((size, work, sweeps, {path: o for path, o in chosen.items() if o.sweeps}))
    found = [_Option(loop.length * size, work, sweeps, None, inner) for size, work, sweeps, inner in turns]
    blocks, rest = divmod(loop.length, BLOCK)
    for size, work, sweeps, inner in turns if blocks > 1 else []:
        for own_sweeps in range(1, MOST_SWEEPS + 1):
            slots = least_slots(blocks, own_sweeps)
            stored = (slots + bool(rest)) * loop.state + loop.read
            found.append(_Option(stored, BLOCK * size + work, own_sweeps + sweeps, slots, inner))
    return found


def _levels(options: Iterable[Sequence[_Option]]) -> list[int]:
    """The numbers of sweeps to choose from."""
    return sorted({o.sweeps for group in options for o in group if o.sweeps})


def _best(options: Sequence[_Option], sweeps: int) -> _Option:
    """That which takes the fewest bytes, of those with so many sweeps at most."""
    return min([o for o in options if o.sweeps <= sweeps], key=lambda o: (o.stored + o.work, o.sweeps))


# ---------------------------------------------------------------------------------------------------------------------
# The choice


def _total(options: Sequence[_Option]) -> int:
    return sum([o.stored for o in options]) + max([o.work for o in options], default=0)


def _chosen(loops: Mapping[Path, _Loop], limit: int, name: str) -> dict[Path, _Option]:
    """What is done about loops that are not left as they are, in ``limit`` bytes together."""
    order = sorted(loops, key=lambda path: -loops[path].plain)
    menus = {path: _options(loops[path]) for path in order}
    plain = {path: menus[path][0] for path in order}
    if _total([*plain.values()]) <= limit:
        return {}
    candidates = [plain]
    for sweeps in _levels(menus.values()):
        choice = dict(plain)
        for path in order:
            choice[path] = _best(menus[path], sweeps)
            candidates.append(dict(choice))
    totals = [_total([*c.values()]) for c in candidates]
    fitting = [c for c, total in zip(candidates, totals, strict=True) if total <= limit]
    if not fitting:
        raise ValueError(_too_few(loops, limit, min(totals), name))
    found = min(fitting, key=lambda c: sum([o.sweeps * loops[path].plain for path, o in c.items()]))
    for path in order:
        for option in sorted(menus[path], key=lambda o: o.sweeps):
            if option.sweeps < found[path].sweeps and _total([*{**found, path: option}.values()]) <= limit:
                found[path] = option
                break
    spare = limit - _total([*found.values()])
    for path in order:
        found[path], used = _with_more_states(loops[path], found[path], spare)
        spare -= used
    return {path: option for path, option in found.items() if option.sweeps}


def _with_more_states(loop: _Loop, option: _Option, spare: int) -> tuple[_Option, int]:
    """``option`` with as many states as ``spare`` bytes hold; and how many it takes."""
    if option.slots is not None:
        more = min(spare // loop.state if loop.state else 0, loop.length // BLOCK - option.slots)
        return option._replace(slots=option.slots + more), more * loop.state
    inner = dict(option.inner)
    used = 0
    for path, x in loop.inner.items():
        if path in inner:
            inner[path], more = _with_more_states(x, inner[path], (spare - used) // loop.length)
            used += more * loop.length
    return option._replace(inner=inner), used


def _too_few(loops: Mapping[Path, _Loop], limit: int, least: int, name: str) -> str:
    largest = max(loops.values(), key=lambda x: x.plain)
    return (
        f"{where()}max_residual_bytes={limit:,} is too little to reverse the loops of {name}; the largest is the "
        f"{largest.text}. Allow {least:,} bytes at least."
    )


# ---------------------------------------------------------------------------------------------------------------------
# The graph


def _rewritten(graph: Graph, choice: Mapping[Path, _Option]) -> Graph:
    """``graph`` with loops as chosen."""
    if not choice:
        return graph
    builder = Builder()
    value: list[Atom] = [builder.input(a) for a in graph.in_avals]
    value += [0] * (len(graph.avals) - graph.n_inputs)
    for k, (eqn, loc) in enumerate(zip(graph.eqns, graph.locs, strict=True)):
        builder.loc = loc
        atoms = [value[a] if type(a) is int else a for a in eqn.inputs]
        here = {path[1:]: option for path, option in choice.items() if path[0] == k}
        option = here.pop((), None)
        parts = option.inner if option is not None else None
        regions = tuple(
            [
                _rewritten(
                    region, parts if parts is not None else {p[1:]: o for p, o in here.items() if p[0] == number}
                )
                for number, region in enumerate(eqn.regions)
            ]
        )
        eqn = eqn._replace(regions=regions)
        if option is None or option.slots is None:
            outs: Sequence[Atom] = builder.copy(eqn, tuple(atoms), [graph.avals[o] for o in eqn.outputs])
        else:
            outs = builder.inline(_checkpointed(eqn, option.slots, loc), atoms)
        for o, new in zip(eqn.outputs, outs, strict=True):
            value[o] = new
    return builder.close([value[a] if type(a) is int else a for a in graph.outputs], graph.weak, name=graph.name)


def _checkpointed(eqn: Eqn, slots: int, loc: Loc) -> Graph:
    """The loop as a graph, with so many states."""
    p, region = Params(*eqn.params), eqn.regions[0]
    slices = [aval((p.length, *a.shape), a.dtype) for a in region.in_avals[p.first_x :]]
    types = [Spec(a) for a in (*region.in_avals[: p.first_x], *slices)]
    plan = schedule(p.length, slots)
    _, treedef = flatten([0] * len(types))

    def loop(operands: list[Any]) -> list[Any]:
        return loop_with_checkpoints(region, p, plan, operands)

    traced = trace_function(loop, types, treedef, name=region.name, region=True)
    assert not traced.captures, "all that it reads are its operands"
    g = traced.graph
    return Graph(g.avals, g.n_inputs, g.eqns, g.outputs, g.weak, (loc,) * len(g.eqns), g.name)
