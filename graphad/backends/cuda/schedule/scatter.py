"""Parallel scatters: atomic updates, and for plain stores an election of the last writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphad.backends.cuda.program.ir import Atomic
from graphad.backends.cuda.program.scans import ASSOCIATIVE
from graphad.backends.loops.ir import Buffer, Combine, Index, Let, Load, Loop, LoopNest, Position, Statement, Store
from graphad.backends.loops.rewrites import Names, is_pure, loops_of, needed, used
from graphad.backends.loops.visit import bare, inside, mapped, rebuilt, walk
from graphad.ir.types import b1, i32, literal


def with_atomics(loop: Loop) -> Loop:
    """``loop`` with each ``buffer[at] = op(buffer[at], v)`` at a dynamic position as one atomic update."""

    def one(s: Statement) -> Statement:
        body: tuple[Statement, ...] = inside(s)
        for t in body:
            if isinstance(t, Store) and not isinstance(t, Atomic) and t.dynamic is not None:
                body = _combined(body, t, s)
        return rebuilt(s, body)

    (changed,) = loops_of(mapped((loop,), one))
    return changed


def _combined(body: tuple[Statement, ...], store: Store, loop: Statement) -> tuple[Statement, ...]:
    """``body`` with ``store`` and the load and operator before it as an `Atomic`, if they are an update."""
    found = _update(body, store)
    if found is None:
        return body
    load, let, combine = found
    reads = [s for s in walk(inside(loop)) if isinstance(s, (Load, Store)) and s.buffer == store.buffer]
    if len(reads) != 2:
        return body
    others = [s for s in walk((loop,)) if s is not store and s is not let]
    if load.name in used([bare(s) for s in others]) or let.name in used([bare(s) for s in others]):
        return body
    value = next((a for a in let.args if a != load.name), let.args[0])
    before: tuple[Statement, ...] = ()
    if let.op == "fma":  # what is updated atomically is added to alone
        before, value = (replace(let, op="mul", args=let.args[:2]),), let.name
    atomic = Atomic(store.buffer, store.index, value, store.dynamic, store.mask, store.loc, combine)
    instead = {id(load): (), id(let): before, id(store): (atomic,)}
    return tuple([t for s in body for t in instead.get(id(s), (s,))])


def _update(body: Sequence[Statement], store: Store) -> tuple[Load, Let, Combine] | None:
    let = next((s for s in body if isinstance(s, Let) and s.name == store.value), None)
    if let is None:
        return None
    *others, last = let.args
    if let.op in ASSOCIATIVE and last not in others:
        combine, running = ASSOCIATIVE[let.op], let.args
    elif let.op == "fma" and last not in others:
        combine, running = "sum", (last,)
    else:
        return None
    for s in body:
        if isinstance(s, Load) and s.name in running and (s.buffer, s.index, s.dynamic) == (
            store.buffer, store.index, store.dynamic,
        ):  # fmt: skip
            return s, let, combine
    return None


def election(loop: Loop, names: Names, buffers: dict[str, Buffer]) -> list[LoopNest] | None:
    """Nests instead of ``loop``, which stores at dynamic positions; None if it is more than that.

    Where several iterations store to one element, the last one wins. So each first enters its number for the element by
    an atomic maximum; then only the iteration with that number stores.
    """
    path = path_to_store(loop)
    if path is None or isinstance(path[1], Atomic):
        return None
    loops, store = path
    target, total = buffers[store.buffer], 1
    strides: dict[str, int] = {}
    for inner in reversed(loops):
        strides[inner.var] = total
        total *= inner.extent
    if total >= 1 << 31:
        return None
    voters = names.fresh("winner")
    buffers[voters] = Buffer(voters, i32, target.size, "temporary")
    var, number, seen, mine = names.fresh("i"), names.fresh("t"), names.fresh("t"), names.fresh("t")
    clear = Loop(
        var, target.size, (Store(voters, Index(0, ((var, 1),)), literal(-1, i32), loc=store.loc),), loc=loop.loc
    )
    position = Position(number, i32, Index(0, tuple(sorted(strides.items()))), store.loc)
    vote = Atomic(voters, store.index, number, store.dynamic, store.mask, store.loc, "max")
    look = Load(seen, voters, store.index, store.dynamic, store.loc)
    tests: list[Statement] = [Let(mine, b1, "eq", (seen, number), store.loc)]
    if store.mask is not None:
        both = names.fresh("t")
        tests.append(Let(both, b1, "and", (mine, store.mask), store.loc))
        mine = both
    elected = around(loops, [position, look, *tests, replace(store, mask=mine)], keep=True)
    ballot = around(loops, [position, vote], keep=False)
    return [LoopNest((s,), loop.loc) for s in (clear, ballot, elected)]


def path_to_store(loop: Loop) -> tuple[list[Loop], Store] | None:
    """The loops down to the only store in ``loop``; None if there is more in it."""
    loops = [loop]
    while True:
        if loops[-1].carries or loops[-1].reverse:
            return None
        *before, last = loops[-1].body
        if not all(map(is_pure, before)):
            return None
        if isinstance(last, Store):
            reads_it = any(isinstance(s, Load) and s.buffer == last.buffer for s in walk((loop,)))
            return None if reads_it or last.dynamic is None else (loops, last)
        if not isinstance(last, Loop):
            return None
        loops.append(last)


def around(loops: list[Loop], instead: list[Statement], *, keep: bool) -> Loop:
    """The loops with other statements in the place of their last store; without ``keep``, only what those need."""
    inside: tuple[Statement, ...] = tuple(instead)
    for loop in reversed(loops):
        before = list(loop.body[:-1])
        if not keep:
            before = needed(used(inside), before)
        inside = (replace(loop, body=(*before, *inside)),)
    assert isinstance(inside[0], Loop)
    return inside[0]
