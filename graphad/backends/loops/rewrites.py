"""Small rewrites of statements of loop nests, of which splitting and fusion are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from graphad.backends.loops.ir import Carry, Index, Let, Load, Loop, Operand, Position, Statement, Store, While
from graphad.backends.loops.visit import inside, mapped, rebuilt, walk


class Names:
    """A supply of fresh names.

    >>> names = Names(["t0", "part0"])
    >>> names.fresh("part"), names.fresh("part")
    ('part1', 'part2')
    """

    def __init__(self, used: Iterable[str]) -> None:
        self.used = set(used)
        self.counts: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        """``hint`` with the next number that makes it new."""
        count = self.counts.get(hint, 0)
        while f"{hint}{count}" in self.used:
            count += 1
        self.counts[hint] = count + 1
        self.used.add(f"{hint}{count}")
        return f"{hint}{count}"


# ---- uses and definitions


def defined(statement: Statement) -> tuple[str, ...]:
    """The names that later statements can use."""
    match statement:
        case Let(name=name) | Position(name=name) | Load(name=name):
            return (name,)
        case Loop(carries=carries) | While(carries=carries):
            return tuple([c.name for c in carries])
        case Store():
            return ()


def used(statements: Iterable[Statement]) -> set[str]:
    """All names that ``statements`` read, including those that they define."""
    names: set[str] = set()
    for s in walk(statements):
        match s:
            case Let(args=args):
                names.update([a for a in args if isinstance(a, str)])
            case Load(dynamic=dynamic):
                names.update([dynamic] if dynamic is not None else [])
            case Store(value=value, dynamic=dynamic, mask=mask):
                names.update([n for n in (value, dynamic, mask) if isinstance(n, str)])
            case Loop(carries=carries) | While(carries=carries):
                names.update([o for c in carries for o in (c.init, *c.reads) if isinstance(o, str)])
            case Position():
                pass
    return names


def names_of(statements: Iterable[Statement]) -> Iterator[str]:
    """Every name that ``statements`` define, loop variables included."""
    for s in walk(statements):
        yield from defined(s)
        if isinstance(s, Loop):
            yield s.var


def loops_of(statements: Iterable[Statement]) -> list[Loop]:
    """The loops among ``statements``, those within others left out."""
    return [s for s in statements if isinstance(s, Loop)]


def is_pure(statement: Statement) -> bool:
    """Whether it only computes or loads one value."""
    return isinstance(statement, (Let, Position, Load))


def loops_around(body: Sequence[Statement]) -> tuple[tuple[Loop, ...], tuple[Statement, ...]]:
    """Nested loops with nothing but scalars beside them, and the scalars outside of the innermost."""
    loops: list[Loop] = []
    scalars: list[Statement] = []
    while body and isinstance(body[-1], Loop) and all(map(is_pure, body[:-1])):
        scalars += body[:-1]
        loops.append(body[-1])
        body = body[-1].body
    return tuple(loops), tuple(scalars)


def without_dead(statements: Sequence[Statement], needed: set[str]) -> tuple[Statement, ...]:
    """``statements`` without those whose values nobody reads; ``needed`` are read behind them, and grows."""
    kept: list[Statement] = []
    for s in reversed(statements):
        if isinstance(s, (Loop, While)):
            found = _living_loop(s, needed)
            kept += [] if found is None else [found]
        elif isinstance(s, Store) or not needed.isdisjoint(defined(s)):
            needed |= used((s,))
            kept.append(s)
    kept.reverse()
    return tuple(kept)


def _living_loop(s: Loop | While, needed: set[str]) -> Loop | While | None:
    """A loop with the carries that are read, in it or behind it; None if nothing of it is."""
    alive = {c.name for c in s.carries if c.name in needed}
    behind = bool(alive)
    if isinstance(s, While):
        alive.add(s.condition)
    while True:
        inside = {n for c in s.carries if c.name in alive for n in (c.init, *c.reads) if isinstance(n, str)}
        body = without_dead(s.body, inside)
        grown = alive | {c.name for c in s.carries if c.name in inside}
        if grown == alive:
            break
        alive = grown
    if not behind and not any(isinstance(t, Store) for t in walk(body)):
        return None
    needed |= inside
    return replace(s, body=body, carries=tuple([c for c in s.carries if c.name in alive]))


# ---- substitutions


def mapped_indices(statements: Sequence[Statement], change: Callable[[Index], Index]) -> tuple[Statement, ...]:
    """``statements`` with every index changed."""

    def one(s: Statement) -> Statement:
        return replace(s, index=change(s.index)) if isinstance(s, (Load, Store, Position)) else s

    return mapped(statements, one)


def substituted(statements: Sequence[Statement], var: str, by: Index) -> tuple[Statement, ...]:
    """``statements`` with the loop variable ``var`` replaced by an affine expression.

    >>> load = Load("t", "x", Index(2, (("i", 3),)))
    >>> substituted((load,), "i", Index(1, (("a", 10), ("b", 1))))[0].index
    Index(offset=5, terms=(('a', 30), ('b', 3)))
    """

    def change(index: Index) -> Index:
        factor = sum([s for v, s in index.terms if v == var])
        strides: dict[str, int] = {v: s for v, s in index.terms if v != var}
        for v, s in by.terms:
            strides[v] = strides.get(v, 0) + factor * s
        terms = tuple(sorted([(v, s) for v, s in strides.items() if s]))
        return Index(index.offset + factor * by.offset, terms)

    return mapped_indices(statements, change)


def renamed(statements: Sequence[Statement], names: Mapping[str, str]) -> tuple[Statement, ...]:
    """``statements`` with values renamed, where they are defined and where they are read."""

    def operand(o: Operand) -> Operand:
        return names.get(o, o) if isinstance(o, str) else o

    def optional(name: str | None) -> str | None:
        return None if name is None else names.get(name, name)

    def carry(c: Carry) -> Carry:
        factor = None if c.factor is None else operand(c.factor)
        return Carry(names.get(c.name, c.name), c.dtype, c.combine, operand(c.init), operand(c.update), factor)

    def one(s: Statement) -> Statement:
        match s:
            case Let():
                return replace(s, name=names.get(s.name, s.name), args=tuple([operand(a) for a in s.args]))
            case Position():
                return replace(s, name=names.get(s.name, s.name))
            case Load():
                return replace(s, name=names.get(s.name, s.name), dynamic=optional(s.dynamic))
            case Store():
                return replace(s, value=operand(s.value), dynamic=optional(s.dynamic), mask=optional(s.mask))
            case Loop():
                return replace(s, carries=tuple([carry(c) for c in s.carries]))
            case While():
                carries = tuple([carry(c) for c in s.carries])
                return replace(s, condition=names.get(s.condition, s.condition), carries=carries)

    return mapped(statements, one)


def copied(statements: Sequence[Statement], names: Names) -> tuple[tuple[Statement, ...], dict[str, str]]:
    """A copy of ``statements`` with fresh names, and the map from old to new names."""
    own = {n: names.fresh(f"{n}_") for s in walk(statements) for n in defined(s)}
    return renamed(statements, own), own


def forward(loop: Loop) -> Loop:
    """A reversed loop, rewritten to run forwards over the mirrored variable."""
    if not loop.reverse:
        return loop
    body = substituted(loop.body, loop.var, Index(loop.extent - 1, ((loop.var, -1),)))
    return replace(loop, body=body, reverse=False)


def with_unique_variables(statements: Sequence[Statement], names: Names) -> tuple[Statement, ...]:
    """``statements`` with a unique variable for every loop."""

    def one(s: Statement) -> Statement:
        if not isinstance(s, Loop):
            return rebuilt(s, tuple([one(t) for t in inside(s)]))
        var = names.fresh(s.var)
        body = substituted(s.body, s.var, Index(0, ((var, 1),)))
        return replace(s, var=var, body=tuple([one(t) for t in body]))

    return tuple([one(s) for s in statements])


def alive(statements: Sequence[Statement], wanted_after: Iterable[str] = ()) -> tuple[Statement, ...]:
    """``statements`` without dead scalars; those of ``wanted_after`` are live at the end."""
    kept: list[Statement] = []
    wanted = set(wanted_after)
    for s in reversed(statements):
        if not is_pure(s) or not wanted.isdisjoint(defined(s)):
            kept.append(s)
            wanted |= used((s,))
    return tuple(kept[::-1])


def loads_forwarded(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """``statements`` with store-to-load and load-to-load forwarding outside of loops."""
    stores = [s for s in walk(statements) if isinstance(s, Store)]
    once = {name for name, count in Counter([s.buffer for s in stores]).items() if count == 1}
    written = {s.buffer for s in stores}
    stored: dict[tuple[str, Index], Operand] = {}
    names: dict[str, str] = {}
    kept: list[Statement] = []
    for s in statements:
        value = stored.get((s.buffer, s.index)) if isinstance(s, Load) and s.dynamic is None else None
        if isinstance(s, Load) and isinstance(value, str):
            names[s.name] = names.get(value, value)
            continue
        if isinstance(s, Load) and s.dynamic is None and s.buffer not in written:
            stored[s.buffer, s.index] = s.name
        if type(s) is Store and s.buffer in once and s.dynamic is None and s.mask is None:
            stored[s.buffer, s.index] = s.value
        kept.append(s)
    return renamed(kept, names) if names else tuple(kept)


def needed(wanted: Iterable[str], earlier: Sequence[Statement]) -> list[Statement]:
    """The backward slice of ``wanted``: the statements of ``earlier`` that they depend on, in order."""
    missing = set(wanted)
    found: list[Statement] = []
    for s in reversed(earlier):
        if not missing.isdisjoint(defined(s)):
            found.append(s)
            missing |= used((s,))
    return found[::-1]
