"""``Nest -> Kernel``: loops spread over threads, barriers between them, and where private memory lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Final

from graphad.backends.cuda.program.ir import Atomic, Axis, Barrier, DeviceStatement, Kernel, Scan, Spread
from graphad.backends.cuda.program.scans import scan_of
from graphad.backends.cuda.schedule.nest import Nest, arranged
from graphad.backends.loops.footprint import Access, accesses, value_ranges
from graphad.backends.loops.independence import independent
from graphad.backends.loops.ir import Buffer, Carry, Let, Load, Loop, Position, Statement, Store, While
from graphad.backends.loops.rewrites import forward, needed, used
from graphad.backends.loops.visit import walk
from graphad.backends.lower.scalars import identity_of
from graphad.ir.types import DType, Literal

#: Bytes that one thread can load or store at once.
_WIDEST: Final = 16
#: Threads in a block where each point has at most a warp.
THREADS: Final = 128
#: Where more points than this have one thread each, blocks are larger.
_MANY: Final = 1 << 18


def kernel_of(nest: Nest, group: int, buffers: Mapping[str, Buffer]) -> Kernel:
    """The kernel, without a name yet, in which ``group`` threads work on each point of ``nest``.

    Private temporaries go to shared memory; with ``group`` 1 there must be none.
    """
    nest = arranged(nest)
    shared = tuple([replace(buffers[b], private=False) for b in nest.private])
    if group == 1:
        assert not shared, "a single thread has no shared memory"
        lanes = vector_lanes(nest, buffers)
        threads = 2 * THREADS if nest.points // lanes > _MANY else THREADS
        body: tuple[DeviceStatement, ...] = nest.body
    else:
        lanes, threads = 1, max(group, THREADS)
        body = with_barriers([s for t in nest.body for s in _spread(t, nest)], nest, group)
    touched = dict.fromkeys(s.buffer for s in walk(nest.body) if isinstance(s, (Load, Store)))
    parameters = tuple([b for b in touched if b not in nest.private])
    return Kernel("", parameters, shared, nest.grid, body, group, lanes, threads, nest.loc)


# ---- one thread for several points


def vector_lanes(nest: Nest, buffers: Mapping[str, Buffer]) -> int:
    """How many neighbouring points a thread can take with vector accesses: 1, 2 or 4."""
    if not nest.grid or nest.private:
        return 1
    last = nest.grid[-1]
    widest = 1
    for s in nest.body:
        match s:
            case Loop() | While() | Atomic():
                return 1
            case Load(dynamic=dynamic) | Store(dynamic=dynamic):
                if dynamic is not None or (isinstance(s, Store) and s.mask is not None):
                    return 1
                widest = max(widest, _bytes(buffers[s.buffer].dtype))
            case _:
                pass
    lanes = min(4, _WIDEST // widest)
    while lanes > 1 and not _aligned(nest, last, lanes):
        lanes //= 2
    return lanes


def _aligned(nest: Nest, last: Axis, lanes: int) -> bool:
    if last.extent % lanes:
        return False
    for s in nest.body:
        if not isinstance(s, (Load, Store)):
            continue
        strides = dict(s.index.terms)
        along = strides.pop(last.var, 0)
        if along not in (0, 1) or (isinstance(s, Store) and not along):
            return False
        if along and (s.index.offset % lanes or any(stride % lanes for stride in strides.values())):
            return False
    return True


def _bytes(dtype: DType) -> int:
    return max(dtype.bits // 8, 1)


# ---- many threads for one point


def spreadable(loop: Loop, nest: Nest) -> bool:
    """Whether the iterations of an inner loop can be spread: independent, but for reductions and a scan."""
    if any(c.combine == "last" for c in loop.carries) and scan_of(loop) is None:
        return False
    return independent(loop.var, loop.extent, forward(loop).body, nest.extents)


def work_of(loop: Loop, nest: Nest) -> int:
    """Iterations that can be spread together: of the loop, and of those perfectly nested in it."""
    return prod([a.extent for a in _collapsed(forward(loop), nest)[0]])


def _spread(s: Statement, nest: Nest) -> Iterable[DeviceStatement]:
    if not isinstance(s, Loop) or not spreadable(s, nest):
        return (s,)
    loop = forward(s)
    scan = scan_of(loop)
    if scan is None:
        axes, body, carries = _collapsed(loop, nest)
        return (Spread(axes, body, carries, loc=loop.loc),)
    carry, others = scan.carry, tuple([c for c in loop.carries if c is not scan.carry])
    before = needed(scan.operands, loop.body)
    after = [t for t in loop.body if not any(t is b for b in (*before, *scan.steps))]
    shared = needed(used((replace(loop, body=tuple(after), carries=others),)), scan.steps[:-1])
    step = Scan(
        carry.name, scan.inclusive, carry.dtype, scan.combine, carry.init, scan.value, scan.decay, scan.loc
    )  # fmt: skip
    return (Spread((Axis(loop.var, loop.extent),), (*before, step, *shared, *after), others, loc=loop.loc),)


def _collapsed(loop: Loop, nest: Nest) -> tuple[tuple[Axis, ...], tuple[Statement, ...], tuple[Carry, ...]]:
    """``loop`` collapsed with the loops perfectly nested in it, as one over several axes: axes, body and carries."""
    axes, carries, body = [Axis(loop.var, loop.extent)], loop.carries, loop.body
    extents = {**nest.extents, loop.var: loop.extent}
    while len(body) == 1 and isinstance(body[0], Loop) and scan_of(loop) is None:
        inner = forward(body[0])
        merged = _merged(carries, inner.carries)
        if merged is None or not independent(inner.var, inner.extent, inner.body, extents):
            break
        axes.append(Axis(inner.var, inner.extent))
        extents[inner.var] = inner.extent
        carries, body = merged, inner.body
    return tuple(axes), body, carries


def _merged(outer: Sequence[Carry], inner: Sequence[Carry]) -> tuple[Carry, ...] | None:
    """The carries of two collapsed loops; None unless each outer one only combines what an inner one has combined."""
    if len(outer) != len(inner):
        return None
    by_name = {c.name: c for c in inner}
    merged: list[Carry] = []
    for c in outer:
        part = by_name.pop(c.update, None) if isinstance(c.update, str) else None
        if part is None or part.combine != c.combine or part.combine == "last" or not _is_identity(part):
            return None
        if c.factor is not None:
            return None
        merged.append(replace(part, name=c.name, init=c.init))
    return tuple(merged)


def _is_identity(c: Carry) -> bool:
    return isinstance(c.init, Literal) and c.init.item() == identity_of(c.combine, c.dtype).item()


# ---- barriers


def with_barriers(statements: Sequence[DeviceStatement], nest: Nest, group: int) -> tuple[DeviceStatement, ...]:
    """``statements`` with a barrier wherever one touches what other threads have written, or writes what they read."""
    out: list[DeviceStatement] = []
    since: list[tuple[DeviceStatement, list[Access]]] = []
    everything = [t for s in statements for t in (s.body if isinstance(s, Spread) else (s,))]
    spread = {a.var: a.extent for s in statements if isinstance(s, Spread) for a in s.axes}
    plain = [t for t in everything if isinstance(t, (Let, Position, Load, Store, Loop, While))]
    ranges = value_ranges(plain, {**nest.extents, **spread})
    for s in statements:
        touched = _accesses_of(s, ranges)
        if any(_crosses(before, theirs, s, touched, group) for before, theirs in since):
            out.append(Barrier(s.loc))
            since = []
        if touched:
            since.append((s, touched))
        out.append(s)
    return tuple(out)


def _accesses_of(s: DeviceStatement, ranges: Mapping[str, tuple[int, int]]) -> list[Access]:
    if isinstance(s, Spread):
        inside = [t for t in s.body if isinstance(t, (Let, Position, Load, Store, Loop, While))]
        return accesses(inside, ranges)
    return accesses([s], ranges) if isinstance(s, (Load, Store, Loop, While)) else []


def _crosses(
    s: DeviceStatement, ours: Sequence[Access], t: DeviceStatement, theirs: Sequence[Access], group: int
) -> bool:
    """Whether a thread in ``t`` may touch what another one touched in ``s``, one of them writing."""
    for a in ours:
        for b in theirs:
            if a.buffer == b.buffer and (a.writes or b.writes) and not _same_thread(s, a, t, b, group):
                return True
    return False


def _same_thread(s: DeviceStatement, a: Access, t: DeviceStatement, b: Access, group: int) -> bool:
    """Whether both accesses to an element are made by the same thread: loops spread alike, and equal indices."""
    if (
        not isinstance(s, Spread)
        or not isinstance(t, Spread)
        or [x.extent for x in s.axes] != [x.extent for x in t.axes]
    ):
        return not isinstance(s, Spread) and not isinstance(t, Spread) and not (a.writes or b.writes)
    if s.extent % group and any(isinstance(x, Scan) for x in (*s.body, *t.body)):
        return False  # threads without a point of their own take the last one, and read what it reads
    if a.inner or b.inner or a.constant is None or a.constant != b.constant or a.constant[0] != a.constant[1]:
        return False
    places = {x.var: k for k, x in enumerate(s.axes)}, {x.var: k for k, x in enumerate(t.axes)}
    ours = {places[0].get(v, v): stride for v, stride in a.strides.items()}
    theirs = {places[1].get(v, v): stride for v, stride in b.strides.items()}
    if ours != theirs:
        return False
    reached = 1
    for k in reversed(range(len(s.axes))):  # different points of the loop are different elements
        if s.axes[k].extent > 1 and abs(ours.get(k, 0)) < reached:
            return False
        reached = max(reached, abs(ours.get(k, 0)) * s.axes[k].extent)
    return True
