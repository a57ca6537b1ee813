"""Reverse mode in bounded memory: which loops of a graph get checkpoints, and how many states each.

What reverse mode of a ``scan`` stacks is known before it is differentiated: the residuals of a turn, times the turns. A
loop can be reversed in less, by *options* that store states instead and run turns again in some sweeps
(`checkpointed_loops`): its own turns, those of loops inside it, or both. Of all choices of options that fit, the one
that runs the least again is taken, the largest loops first; what is left of the limit goes to more states.

Walk of one example: a loop of 1,000 turns that carries 10 bytes and stacks 30 in a turn, and one of 100 that stacks 1
in a turn, in 700 bytes. The second, of 100 bytes, is left as it is. The first has 125 blocks. With 125 states it would
be reversed in one sweep, for 1,250 bytes and 240 of a block; with 16 in two, for 160 and 240, which fits into the other
600 bytes. There are 20 more states in what is left: it gets 36.

Of a ``while`` loop the turns are not known, so that there is no plain form to be left with: it gets `FEWEST_STATES`,
and more of what is left, up to `MOST_STATES`. In another loop its turns run again, with their states, in the reverse
of each turn of that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from graphad.api.checkpointed_loops import loop_with_checkpoints
from graphad.api.checkpointed_while import turns_reached, while_with_checkpoints
from graphad.api.checkpoints import BLOCK, MOST_SWEEPS, least_slots, schedule
from graphad.api.loop_residuals import Loop, Path, Search
from graphad.api.tracing import note
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.types import Aval, aval
from graphad.primitives.control import remat
from graphad.primitives.crossing import Params
from graphad.primitives.scan import scan
from graphad.primitives.while_loop import Params as WhileParams
from graphad.primitives.while_loop import while_
from graphad.trace.bind import Spec, trace_function
from graphad.trace.pytree import flatten
from graphad.trace.source import where

#: Of a loop of which the number of turns is not known: enough for some thousand turns.
FEWEST_STATES: Final = 8
#: More would save no sweep of ten thousand turns, or of four million.
MOST_STATES: Final = 1024


def bounded(graph: Graph, marks: Sequence[bool], limit: int, name: str) -> Graph:
    """``graph`` with loops of which reverse mode by the marked inputs stores ``limit`` bytes at most.

    Raises
    ------
    ValueError
        There is no way to do so.
    """
    loops = Search(graph, marks).loops
    choice = _chosen(loops, limit, name)
    for path, option in choice.items():
        note(f"{loops[path].text}: {option.text(loops[path])}")
    return _rewritten(graph, choice)


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

    def text(self, loop: Loop) -> str:
        parts = [f"reverse mode stores {self.slots:,} states"] if self.slots is not None else []
        if self.slots is not None and loop.length is None:
            parts = [f"{parts[0]}, and runs {turns_reached(self.slots):,} turns at a time"]
        parts += [f"in it, the {loop.inner[path].text}: {o.text(loop.inner[path])}" for path, o in self.inner.items()]
        return "; ".join(parts)


def _options(loop: Loop) -> list[_Option]:
    """The plain adjoint first, if there is one."""
    turns = _options_of_turn(loop)
    if loop.length is None:
        return [_of_unknown_length(loop, *turn) for turn in turns]
    found = [_Option(loop.length * size, work, sweeps, None, inner) for size, work, sweeps, inner in turns]
    blocks, rest = divmod(loop.length, BLOCK)
    for size, work, sweeps, inner in turns if blocks > 1 else []:
        for own_sweeps in range(1, MOST_SWEEPS + 1):
            slots = least_slots(blocks, own_sweeps)
            stored = (slots + bool(rest)) * loop.state + loop.read
            found.append(_Option(stored, BLOCK * size + work, own_sweeps + sweeps, slots, inner))
    return found


def _options_of_turn(loop: Loop) -> list[tuple[int, int, int, dict[Path, _Option]]]:
    """What a turn stacks, what it takes while it is reversed, the sweeps, and what is done about loops in it."""
    is_known = all([x.length is not None for x in loop.inner.values()])
    found: list[tuple[int, int, int, dict[Path, _Option]]] = [(loop.turn, 0, 0, {})] if is_known else []
    by_path = {path: _options(x) for path, x in loop.inner.items()}
    for sweeps in _levels(by_path.values()):
        chosen = {path: _best(options, sweeps) for path, options in by_path.items()}
        size = loop.own + sum([o.stored for o in chosen.values()])
        work = max([o.work for o in chosen.values()])
        found.append((size, work, sweeps, {path: o for path, o in chosen.items() if o.sweeps}))
    return found


def _of_unknown_length(loop: Loop, size: int, work: int, sweeps: int, inner: dict[Path, _Option]) -> _Option:
    states, work = (FEWEST_STATES + 1) * loop.state, BLOCK * size + work
    if loop.is_inside:
        return _Option(0, states + work, max(sweeps, 1), FEWEST_STATES, inner)
    return _Option(states, work, max(sweeps, 1), FEWEST_STATES, inner)


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


def _chosen(loops: Mapping[Path, Loop], limit: int, name: str) -> dict[Path, _Option]:
    """What is done about loops that are not left as they are, in ``limit`` bytes together."""
    order = sorted(loops, key=lambda path: (loops[path].length is not None, -loops[path].plain))
    menus = {path: _options(loops[path]) for path in order}
    plain = {path: menus[path][0] for path in order}
    candidates = [dict(plain)]
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
    unknown = len([x for x in loops.values() if x.length is None])
    for k, path in enumerate(order):
        share = spare // (unknown - k) if k < unknown else spare
        found[path], used = _with_more_states(loops[path], found[path], share)
        spare -= used
    return {path: option for path, option in found.items() if option.sweeps}


def _with_more_states(loop: Loop, option: _Option, spare: int) -> tuple[_Option, int]:
    """``option`` with as many states as ``spare`` bytes hold; and how many it takes."""
    if option.slots is not None:
        most = MOST_STATES if loop.length is None else loop.length // BLOCK
        more = min(spare // loop.state if loop.state else 0, most - option.slots)
        return option._replace(slots=option.slots + more), more * loop.state
    assert loop.length is not None, "the turns of other loops are stored as a whole"
    inner = dict(option.inner)
    used = 0
    for path, x in loop.inner.items():
        if path in inner:
            times = 1 if x.length is None else loop.length  # their states are not kept from turn to turn
            inner[path], more = _with_more_states(x, inner[path], (spare - used) // times)
            used += more * times
    return option._replace(inner=inner), used


def _too_few(loops: Mapping[Path, Loop], limit: int, least: int, name: str) -> str:
    largest = max(loops.values(), key=lambda x: (x.length is None, x.plain))
    return (
        f"{where()}max_residual_bytes={limit:,} is too little to reverse the loops of {name}; the largest is the "
        f"{largest.text}. Allow {least:,} bytes at least."
    )


# ---------------------------------------------------------------------------------------------------------------------
# The graph


def _rewritten(graph: Graph, choice: Mapping[Path, _Option], is_inside: bool = False) -> Graph:
    """``graph`` with loops as chosen; it may be inside a loop itself."""
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
        in_loop = is_inside or eqn.primitive is scan or eqn.primitive is while_
        of_regions = [_of_region(eqn, number, option, here) for number in range(len(eqn.regions))]
        regions = [_rewritten(r, of_region, in_loop) for r, of_region in zip(eqn.regions, of_regions, strict=True)]
        eqn = eqn._replace(regions=tuple(regions))
        if option is None or option.slots is None:
            outs: Sequence[Atom] = builder.copy(eqn, tuple(atoms), [graph.avals[o] for o in eqn.outputs])
        else:
            outs = builder.inline(_checkpointed(eqn, option.slots, loc, is_inside), atoms)
        for o, new in zip(eqn.outputs, outs, strict=True):
            value[o] = new
    return builder.close([value[a] if type(a) is int else a for a in graph.outputs], graph.weak, name=graph.name)


def _of_region(eqn: Eqn, number: int, option: _Option | None, here: Mapping[Path, _Option]) -> Mapping[Path, _Option]:
    """What is done about loops in a region: of a loop, in its last one, the body."""
    if option is None:
        return {path[1:]: o for path, o in here.items() if path[0] == number}
    return option.inner if number == len(eqn.regions) - 1 else {}


def _checkpointed(eqn: Eqn, slots: int, loc: Loc, is_inside: bool) -> Graph:
    """The loop as a graph, with so many states."""
    if eqn.primitive is scan:
        p, region = Params(*eqn.params), eqn.regions[0]
        slices = [aval((p.length, *a.shape), a.dtype) for a in region.in_avals[p.first_x :]]
        plan = schedule(p.length, slots)
        return _traced(
            lambda xs: loop_with_checkpoints(region, p, plan, xs), [*region.in_avals[: p.first_x], *slices], loc
        )
    w, (test, body) = WhileParams(*eqn.params), eqn.regions
    avals = [*test.in_avals[: w.n_test_consts], *body.in_avals]
    graph = _traced(lambda xs: while_with_checkpoints(eqn.regions, w, slots, xs), avals, loc)
    if not is_inside:
        return graph
    builder = Builder()
    builder.loc = loc
    return builder.close(builder.emit(remat, tuple([builder.input(a) for a in avals]), (), (graph,)), name=graph.name)


def _traced(loop: Callable[[list[Any]], list[Any]], avals: Sequence[Aval], loc: Loc) -> Graph:
    """The graph of a loop, all at its line."""
    _, treedef = flatten([0] * len(avals))
    traced = trace_function(loop, [Spec(a) for a in avals], treedef, name="loop", region=True)
    assert not traced.captures, "all that it reads are its operands"
    g = traced.graph
    return Graph(g.avals, g.n_inputs, g.eqns, g.outputs, g.weak, (loc,) * len(g.eqns), g.name)
