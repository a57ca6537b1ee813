"""Nests split where one point of the grid would be too much work for its threads.

`distributed` gives each inner loop a nest of its own; `split_reduction` reduces in two phases, `split_scan` scans in
three. The order of all operations is fixed, so results are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod

import ml_dtypes

from graphad.backends.cuda.program.ir import Axis
from graphad.backends.cuda.program.scans import ASSOCIATIVE, ScanCarry, scan_of, scan_steps
from graphad.backends.cuda.schedule.limits import Limits
from graphad.backends.cuda.schedule.nest import Nest
from graphad.backends.loops.ir import Buffer, Carry, Index, Let, Load, Loop, Statement, Store, While
from graphad.backends.loops.rewrites import Names, copied, defined, forward, is_pure, needed, substituted, used
from graphad.backends.loops.visit import mapped, replaced, walk
from graphad.backends.lower.scalars import identity_of
from graphad.ir.loc import Loc
from graphad.ir.types import DType, b1, i64, literal


class Splitter:
    """Cuts nests; new temporaries go to ``buffers``."""

    def __init__(self, names: Names, buffers: dict[str, Buffer], limits: Limits) -> None:
        self.names = names
        self.buffers = buffers
        self.limits = limits

    def temporary(self, hint: str, dtype: DType, size: int) -> str:
        """A new buffer."""
        name = self.names.fresh(hint)
        self.buffers[name] = Buffer(name, dtype, size, "temporary")
        return name

    # ---- one nest per loop

    def distributed(self, nest: Nest, units: Sequence[Sequence[Statement]] = ()) -> list[Nest]:
        """A nest for each inner loop with the scalars after it; values go from one to the next through memory.

        Scalars are recomputed if possible; results of loops, and loads from memory since overwritten, are stored.
        With ``units``, consecutive pieces of a body without private temporaries, the nests are those of the pieces.
        """
        nest = self.with_copies(nest)
        written = {s.buffer for s in walk(nest.body) if isinstance(s, Store)}
        here = number(nest.grid)
        units = units or _units(nest.body)
        stored: dict[str, Load] = {}
        earlier: list[Statement] = []
        nests: list[Nest] = []
        for k, unit in enumerate(units):
            body = [*_again(used(unit), earlier, stored), *unit]
            earlier += unit
            wanted = used([s for later in units[k + 1 :] for s in later])
            for s in reversed(earlier):
                if not wanted.isdisjoint(defined(s)) and _can_repeat(s, written):
                    wanted |= used((s,))
            for s in unit:
                for name in wanted.intersection(defined(s)) if not _can_repeat(s, written) else ():
                    buffer = self.temporary("carried", _dtype(s, name, self.buffers), nest.points)
                    body.append(Store(buffer, here, name, loc=s.loc))
                    stored[name] = Load(name, buffer, here, loc=s.loc)
            nests.append(replace(nest, body=tuple(body)))
        return nests

    def with_loops_alone(
        self, body: Sequence[Statement], chosen: Callable[[Loop], bool]
    ) -> list[tuple[Statement, ...]]:
        """``body`` in pieces: each ``chosen`` loop is one, with the scalars that it needs inside of it.

        Each piece has names of its own.
        """
        alone = [isinstance(s, Loop) and chosen(s) for s in body]
        units: list[list[Statement]] = []
        for k, s in enumerate(body):
            if k == 0 or alone[k] or alone[k - 1]:
                units.append([])
            units[-1].append(s)
        pieces: list[tuple[Statement, ...]] = []
        for unit, nest in zip(units, self.distributed(Nest((), tuple(body)), units), strict=True):
            *before, last = nest.body
            if isinstance(last, Loop) and last is unit[0] and chosen(last):
                pieces.append((replace(last, body=(*before, *last.body)),))
            else:
                pieces.append(nest.body)
        return [copied(p, self.names)[0] for p in pieces if not all(map(is_pure, p))]

    def with_copies(self, nest: Nest, only: Iterable[str] | None = None) -> Nest:
        """``nest`` with its private temporaries (or ``only`` these) in global memory, a copy for each point."""
        chosen = set(nest.private if only is None else only)
        body = nest.body
        for name in chosen:
            buffer, size = self.buffers[name], self.buffers[name].size
            if buffer.per_turn:
                body = self._beside(body, buffer, [a for a in nest.grid if a.var in nest.private[name]])
                continue
            strides: list[tuple[str, int]] = []
            for axis in reversed([a for a in nest.grid if a.var in nest.private[name]]):
                strides.append((axis.var, size))
                size *= axis.extent
            body = _moved(body, name, self.temporary(f"{name}_", buffer.dtype, size), strides)
        return replace(nest, body=body, private={k: v for k, v in nest.private.items() if k not in chosen})

    def _beside(self, body: Sequence[Statement], buffer: Buffer, axes: Sequence[Axis]) -> tuple[Statement, ...]:
        """``body`` with a copy of ``buffer`` for each point of ``axes``, element beside element.

        So an element's place does not depend on how many there are, which is known only when it runs.
        """
        points = prod([a.extent for a in axes])
        to, point = self.temporary(f"{buffer.name}_", buffer.dtype, points * buffer.size), number(axes).terms

        def one(s: Statement) -> Sequence[Statement]:
            if not isinstance(s, (Load, Store)) or s.buffer != buffer.name:
                return (s,)
            terms = [*[(var, points * stride) for var, stride in s.index.terms], *point]
            moved = replace(s, buffer=to, index=Index(points * s.index.offset, tuple(sorted(terms))))
            if s.dynamic is None:
                return (moved,)
            at = self.names.fresh("at")
            return Let(at, i64, "mul", (s.dynamic, literal(points, i64)), s.loc), replace(moved, dynamic=at)

        return replaced(body, one)

    # ---- reductions in two phases

    def split_reduction(self, nest: Nest, chunks: int, *, across: bool = False) -> list[Nest] | None:
        """Partial results of chunks of the one inner loop, then their combination and what follows the loop.

        With ``across``, neighbouring points stay neighbours: the chunks are the slowest axis.
        """
        parts = _around_loop(nest)
        if parts is None or any(c.combine == "last" for c in parts[1].carries) or parts[1].extent < 2:
            return None
        before, loop, after = parts
        size = -(-loop.extent // min(loop.extent, chunks))
        count = loop.extent // size
        chunk, inner = Axis(self.names.fresh("chunk"), count), self.names.fresh(loop.var)
        grid = (chunk, *nest.grid) if across else (*nest.grid, chunk)
        body = substituted(loop.body, loop.var, Index(0, tuple(sorted([(chunk.var, size), (inner, 1)]))))
        carries = tuple([replace(c, init=identity_of(c.combine, c.dtype)) for c in loop.carries])
        results = [self.temporary("part", c.dtype, nest.points * count) for c in carries]
        stores = [Store(r, number(grid), c.name, loc=loop.loc) for r, c in zip(results, carries, strict=True)]
        first = replace(loop, var=inner, extent=size, body=body, carries=carries)
        one = replace(nest, grid=grid, body=(*needed(used((first,)), before), first, *stores))
        at = number(grid)
        return [one, self._combination(nest, (before, loop, after), [(r, at) for r in results], chunk, size)]

    def _combination(
        self, nest: Nest, parts: _Parts, results: Sequence[tuple[str, Index]], chunk: Axis, size: int
    ) -> Nest:
        """The second phase: the partial results, then the iterations of the incomplete chunk."""
        before, loop, after = parts
        rest = loop.extent - chunk.extent * size
        loads: list[Statement] = []
        carries: list[Carry] = []
        for (result, at), c in zip(results, loop.carries, strict=True):
            value = self.names.fresh("t")
            loads.append(Load(value, result, at, loc=loop.loc))
            name = self.names.fresh("s") if rest else c.name
            carries.append(replace(c, name=name, update=value, factor=None))
        body: list[Statement] = [*before, Loop(chunk.var, chunk.extent, tuple(loads), tuple(carries), loc=loop.loc)]
        if rest:
            following = [replace(c, init=done.name) for c, done in zip(loop.carries, carries, strict=True)]
            tail = _piece(loop, chunk.extent * size, rest)
            body.append(replace(tail, carries=tuple(following)))
        return replace(nest, body=(*body, *after))

    # ---- scans in three phases

    def split_scan(self, nest: Nest) -> list[Nest] | None:
        """Totals of chunks, a scan over those, and a scan of each chunk that starts from what came before it."""
        parts = _around_loop(nest)
        scan = None if parts is None else scan_of(parts[1])
        if parts is None or scan is None or parts[2] or parts[1].extent < 2 * self.limits.chunk:
            return None
        before, loop, _ = parts
        if len(loop.carries) > 1:
            return None
        count = min(self.limits.chunks, loop.extent // self.limits.chunk)
        size = loop.extent // count
        chunk = Axis(self.names.fresh("chunk"), count)
        totals = self.temporary("part", scan.carry.dtype, nest.points * count)
        decays = None if scan.decay is None else self.temporary("decay", scan.carry.dtype, nest.points * count)
        starts = self.temporary("start", scan.carry.dtype, nest.points * (count + 1))
        nests = [
            self._totals(nest, parts, scan, (totals, decays), chunk, size),
            self._starts(nest, parts, scan, (totals, decays), starts, chunk),
            self._chunks(nest, parts, scan, starts, chunk, size),
        ]
        if loop.extent > count * size:
            first = Load(self.names.fresh("t"), starts, _from(nest.grid, chunk, count), loc=loop.loc)
            rest = _piece(loop, count * size, loop.extent - count * size)
            rest = replace(rest, carries=(replace(scan.carry, init=first.name),))
            nests.append(replace(nest, body=(*before, first, rest)))
        return nests

    def _totals(
        self, nest: Nest, parts: _Parts, scan: ScanCarry, to: tuple[str, str | None], chunk: Axis, size: int
    ) -> Nest:
        """The combination of each chunk's values, and the product of its decays."""
        before, loop, _ = parts
        inner, dtype, total = self.names.fresh(loop.var), scan.carry.dtype, self.names.fresh("s")
        values = needed(scan.operands, loop.body)
        identity = identity_of(scan.combine, dtype)
        alone = ASSOCIATIVE.get(scan.steps[0].op)
        if alone is not None and alone == scan.combine:
            carries = [Carry(total, dtype, alone, identity, scan.value)]
        else:
            following = self.names.fresh("t")
            values += scan_steps(scan.combine, following, dtype, total, scan.value, scan.decay, scan.loc)
            carries = [Carry(total, dtype, "last", identity, following)]
        if scan.decay is not None:
            carries.append(Carry(self.names.fresh("s"), dtype, "prod", identity_of("prod", dtype), scan.decay))
        body = substituted(values, loop.var, Index(0, tuple(sorted([(chunk.var, size), (inner, 1)]))))
        summed = Loop(inner, size, body, tuple(carries), loc=loop.loc)
        grid = (*nest.grid, chunk)
        stores = [Store(b, number(grid), c.name, loc=loop.loc) for b, c in zip(to, carries, strict=False) if b]
        return replace(nest, grid=grid, body=(*needed(used((summed,)), before), summed, *stores))

    def _starts(
        self, nest: Nest, parts: _Parts, scan: ScanCarry, of: tuple[str, str | None], starts: str, chunk: Axis
    ) -> Nest:
        """The value that each chunk starts from, and after the last the final value."""
        before, loop, _ = parts
        value, following, dtype = self.names.fresh("t"), self.names.fresh("t"), scan.carry.dtype
        here, running = number((*nest.grid, chunk)), scan.carry.name
        totals, decays = of
        body: list[Statement] = [Load(value, totals, here, loc=loop.loc)]
        decay = None
        if decays is not None:
            body.append(Load(decay := self.names.fresh("t"), decays, here, loc=loop.loc))
            if dtype.is_float:
                body += (bounded := self._bounded(decay, dtype, loop.loc))
                decay = bounded[-1].name
        body += scan_steps(scan.combine, following, dtype, running, value, decay, loop.loc)
        body.append(Store(starts, _from(nest.grid, chunk, 1), following, loc=loop.loc))
        carry = replace(scan.carry, update=following)
        head = needed(used([replace(loop, body=(), carries=(carry,))]), before)
        first = Store(starts, _from(nest.grid, chunk, None), scan.carry.init, loc=loop.loc)
        return replace(nest, body=(*head, first, Loop(chunk.var, chunk.extent, tuple(body), (carry,), loc=loop.loc)))

    def _bounded(self, decay: str, dtype: DType, loc: Loc) -> list[Let]:
        """A product of decays made finite: where it is not, the chunk's total is nan or what it multiplies is 0.

        (A chunk starts from 0, so an infinite or nan decay has made its total nan; a product may overflow where the
        recurrence itself stays at 0.)
        """
        names = [self.names.fresh("t") for _ in range(4)]
        most = literal(float(ml_dtypes.finfo(dtype.numpy).max), dtype)
        least = literal(-most.item(), dtype)
        return [
            Let(names[0], b1, "ne", (decay, decay), loc),
            Let(names[1], dtype, "select", (names[0], literal(0.0, dtype), decay), loc),
            Let(names[2], dtype, "minimum", (names[1], most), loc),
            Let(names[3], dtype, "maximum", (names[2], least), loc),
        ]

    def _chunks(self, nest: Nest, parts: _Parts, scan: ScanCarry, starts: str, chunk: Axis, size: int) -> Nest:
        """The scan itself, chunk by chunk."""
        before, loop, _ = parts
        inner, first = self.names.fresh(loop.var), self.names.fresh("t")
        load = Load(first, starts, _from(nest.grid, chunk, 0), loc=loop.loc)
        body = substituted(loop.body, loop.var, Index(0, tuple(sorted([(chunk.var, size), (inner, 1)]))))
        scanned = Loop(inner, size, body, (replace(scan.carry, init=first),), loc=loop.loc)
        return replace(nest, grid=(*nest.grid, chunk), body=(*before, load, scanned))


#: The statements before the one loop of a nest, the loop, and the statements after it.
_Parts = tuple[tuple[Statement, ...], Loop, tuple[Statement, ...]]


def _around_loop(nest: Nest) -> _Parts | None:
    """A nest with exactly one inner loop, and no stores before it, in its parts; the loop is made to run forwards."""
    loops = [k for k, s in enumerate(nest.body) if isinstance(s, Loop)]
    if len(loops) != 1 or nest.private or not all(map(is_pure, nest.body[: loops[0]])):
        return None
    loop = nest.body[loops[0]]
    assert isinstance(loop, Loop), "found as a loop"
    return nest.body[: loops[0]], forward(loop), nest.body[loops[0] + 1 :]


def _piece(loop: Loop, begin: int, extent: int) -> Loop:
    """``extent`` iterations of ``loop`` from ``begin`` on."""
    return replace(loop, extent=extent, body=substituted(loop.body, loop.var, Index(begin, ((loop.var, 1),))))


def _units(body: Sequence[Statement]) -> list[list[Statement]]:
    """``body`` cut before every loop but the first; scalars between loops stay with the loop before."""
    units: list[list[Statement]] = [[]]
    for s in body:
        if isinstance(s, (Loop, While)) and any(isinstance(t, (Loop, While)) for t in units[-1]):
            units.append([])
        units[-1].append(s)
    return units


def _can_repeat(s: Statement, written: set[str]) -> bool:
    return is_pure(s) and not (isinstance(s, Load) and s.buffer in written)


def _again(wanted: set[str], earlier: Sequence[Statement], stored: Mapping[str, Load]) -> list[Statement]:
    """The statements that define ``wanted`` in a later nest: loads of stored values, and recomputed ones."""
    missing, found = set(wanted), list[Statement]()
    for s in reversed(earlier):
        names = missing.intersection(defined(s))
        loads = [stored[name] for name in sorted(names) if name in stored]
        if loads:
            found += loads
        elif names:
            found.append(s)
            missing |= used((s,))
    return found[::-1]


def _dtype(s: Statement, name: str, buffers: Mapping[str, Buffer]) -> DType:
    if isinstance(s, (Loop, While)):
        return next(c.dtype for c in s.carries if c.name == name)
    assert isinstance(s, Load), "other scalars are computed again"
    return buffers[s.buffer].dtype


def number(grid: Sequence[Axis], step: int = 1) -> Index:
    """``step`` times the number of a point of the grid.

    >>> number((Axis("i", 3), Axis("j", 5)))
    Index(offset=0, terms=(('i', 5), ('j', 1)))
    """
    terms: list[tuple[str, int]] = []
    for axis in reversed(grid):
        terms.append((axis.var, step))
        step *= axis.extent
    return Index(0, tuple(sorted(terms)))


def _from(grid: Sequence[Axis], chunk: Axis, behind: int | None) -> Index:
    """Where the starting value of a chunk is kept: ``behind`` chunks after the current one; None: of the first.

    With ``behind`` as great as the number of chunks, where the final value is kept.
    """
    at = number(grid, chunk.extent + 1)
    if behind is None:
        return at
    if behind == chunk.extent:
        return Index(behind, at.terms)
    return Index(behind, tuple(sorted([*at.terms, (chunk.var, 1)])))


def _moved(body: Sequence[Statement], name: str, to: str, strides: Sequence[tuple[str, int]]) -> tuple[Statement, ...]:
    """``body`` accessing ``to`` instead of ``name``, at an index advanced by ``strides``."""

    def one(s: Statement) -> Statement:
        match s:
            case Load(buffer=buffer) | Store(buffer=buffer) if buffer == name:
                index = Index(s.index.offset, tuple(sorted([*s.index.terms, *strides])))
                return replace(s, buffer=to, index=index)
            case _:
                return s

    return mapped(body, one)
