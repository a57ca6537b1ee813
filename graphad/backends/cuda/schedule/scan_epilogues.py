"""Epilogues of scans: elementwise loops that read a scan are fused into it, which saves a pass through memory.

A scan cannot be fused into its reader, as each of its results depends on those before; but loops each of whose
iterations reads one result can be fused into the scan. Walk of one example, ``cumsum(x) * w``::

    for i in 1000, s1 = last(0.0, t2):        for i in 1000, s1 = last(0.0, t2):
      t0 = x[i]                                 t0 = x[i]
      t2 = add(s1, t0)                          t2 = add(s1, t0)
      tmp0[i] = t2                              t4 = w[i]
    for i in 1000:                              t5 = mul(t2, t4)
      t3 = tmp0[i]                              y[i] = t5
      t4 = w[i]
      t5 = mul(t3, t4)
      y[i] = t5
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from graphad.backends.cuda.program.ir import reads, writes
from graphad.backends.loops.ir import Buffer, Index, Load, Loop, LoopNest, Operand, Statement, Step, Store, While
from graphad.backends.loops.rewrites import Names, copied, loops_around, renamed, substituted
from graphad.backends.loops.visit import mapped_bodies, rebuilt, replaced, walk

#: How many steps back a scan is looked for.
_REACH: Final = 6


def with_scan_epilogues(steps: Sequence[Step], names: Names, buffers: Mapping[str, Buffer]) -> list[Step]:
    """``steps`` with elementwise nests fused into the scans that they read."""
    done: list[Step] = []
    joined = False
    for given in steps:
        step = _with_siblings_joined(given, names) if isinstance(given, LoopNest) else given
        joined = joined or step is not given
        for k in range(len(done) - 1, max(len(done) - 1 - _REACH, -1), -1):
            producer = done[k]
            both = _joined(producer, step, names) if isinstance(step, LoopNest) else None
            if both is not None:
                done[k], joined = both, True
                break
            if writes(producer) & (reads(step) | writes(step)) or writes(step) & reads(producer):
                done.append(step)
                break
        else:
            done.append(step)
    return _without_dead_stores(done, buffers) if joined else done


def _with_siblings_joined(nest: LoopNest, names: Names) -> LoopNest:
    """``nest`` with scans fused with the loops right behind them; the same nest, if there are none."""

    def joined(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        out: list[Statement] = []
        for loop in body:
            both = None
            if isinstance(loop, Loop) and out and isinstance(before := out[-1], Loop):
                both = _joined(LoopNest((before,)), LoopNest((loop,)), names)
            if both is not None:
                out[-1:] = both.body
            else:
                out.append(loop)
        return tuple(out)

    return rebuilt(nest, mapped_bodies(nest.body, joined))


@dataclass(frozen=True, slots=True)
class _Loops:
    """Nested loops with nothing but scalars beside them: all of them, and those scalars."""

    loops: tuple[Loop, ...]
    scalars: tuple[Statement, ...]  # of all loops but the innermost

    @property
    def inner(self) -> Loop:
        return self.loops[-1]


def _loops_of(nest: LoopNest) -> _Loops | None:
    loops, scalars = loops_around(nest.body)
    if not loops or any(map(_has_accesses, loops[-1].body)) or any(loop.carries for loop in loops[:-1]):
        return None
    return _Loops(loops, scalars)


def _has_accesses(s: Statement) -> bool:
    """Whether a statement holds others that may touch memory."""
    return isinstance(s, Loop) or (isinstance(s, While) and any(isinstance(t, (Load, Store)) for t in walk(s.body)))


def _joined(first: Step, second: LoopNest, names: Names) -> LoopNest | None:
    """A scan fused with its epilogue, if that is what the nests are; else None."""
    made = writes(first) & reads(second)
    if not isinstance(first, LoopNest) or not made or writes(second) & (reads(first) | writes(first) | reads(second)):
        return None
    producer, consumer = _loops_of(first), _loops_of(second)
    if producer is None or consumer is None or consumer.inner.carries:
        return None
    if not any(c.combine == "last" for c in producer.inner.carries):
        return None
    stores = {s.buffer: s for s in producer.inner.body if isinstance(s, Store)}
    if not made <= set(stores) or any(stores[name].mask or stores[name].dynamic for name in made):
        return None
    body = _at_each_point(producer, consumer, stores[min(made)], names)
    if body is None:
        return None
    known: dict[str, str] = {}
    kept: list[Statement] = []
    for s in body:
        if isinstance(s, Load) and s.buffer in made:
            value: Operand = stores[s.buffer].value
            if s.dynamic is not None or s.index != stores[s.buffer].index or not isinstance(value, str):
                return None
            known[s.name] = value
        elif isinstance(s, Store) and s.dynamic is not None:
            return None
        else:
            kept.append(s)
    nest: Statement = replace(producer.inner, body=(*producer.inner.body, *renamed(kept, known)))
    return LoopNest(_around(first.body, nest), first.loc)


def _at_each_point(producer: _Loops, consumer: _Loops, store: Store, names: Names) -> Sequence[Statement] | None:
    """The body of the epilogue at the point where the scan stores an element, with fresh names."""
    load = next((s for s in consumer.inner.body if isinstance(s, Load) and s.buffer == store.buffer), None)
    if load is None or load.index.offset != store.index.offset:
        return None
    extents = {loop.var: loop.extent for loop in producer.loops}
    strides = dict(load.index.terms)
    left = sorted([(stride, var) for var, stride in store.index.terms if extents.get(var, 1) > 1])
    if len(left) != sum(n > 1 for n in extents.values()):  # several points store to one element
        return None
    body: Sequence[Statement] = (*consumer.scalars, *consumer.inner.body)
    for loop in sorted(consumer.loops, key=lambda loop: strides.get(loop.var, 0)):
        stride, terms, reached = strides.get(loop.var, 0), list[tuple[str, int]](), 1
        while reached < loop.extent:
            if not left or stride < 1 or left[0][0] != stride * reached:
                return None
            _, var = left.pop(0)
            terms.append((var, reached))
            reached *= extents[var]
        if reached != max(loop.extent, 1) or not loop.extent:
            return None
        body = substituted(body, loop.var, Index(0, tuple(sorted(terms))))
    return None if left else copied(body, names)[0]


def _around(body: Sequence[Statement], inner: Statement) -> tuple[Statement, ...]:
    """``body`` with its innermost loop replaced."""
    *scalars, loop = body
    assert isinstance(loop, Loop), "a nest of loops"
    if any(isinstance(s, Loop) for s in loop.body):
        return (*scalars, replace(loop, body=_around(loop.body, inner)))
    return (*scalars, inner)


def _without_dead_stores(steps: Sequence[Step], buffers: Mapping[str, Buffer]) -> list[Step]:
    """``steps`` without stores to temporaries that are no longer read."""
    read = {name for s in steps for name in reads(s)}
    dead = {b.name for b in buffers.values() if b.role == "temporary"} - read

    def kept(s: Statement) -> Sequence[Statement]:
        return () if isinstance(s, Store) and s.buffer in dead else (s,)

    return [rebuilt(s, replaced(s.body, kept)) if isinstance(s, LoopNest) else s for s in steps]
