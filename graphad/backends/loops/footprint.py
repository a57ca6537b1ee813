"""Dependence analysis: which elements the iterations of a loop access, and so whether it is parallel.

Two accesses to one buffer conflict in different iterations ``i`` and ``i'`` of a loop if their addresses can be equal:
``s*(i - i') + sum(strides * inner loop variables) + offsets = 0`` for some values within the extents. `_solvable`
decides that exactly, from the greatest stride down, or gives up and says yes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from graphad.backends.loops.ir import Index, Let, Load, Loop, Operand, Position, Statement, Store, While, index_range
from graphad.backends.loops.visit import walk
from graphad.ir.types import DType, Literal

Range = tuple[int, int]

#: Steps of the search for a conflict, after which one is assumed.
_PATIENCE: Final = 4000


@dataclass(frozen=True, slots=True)
class Access:
    """A load or store: ``constant`` bounds its offset with what is dynamic in it; None where nothing is known.

    ``strides`` has all loop variables of the index; ``inner`` has the extents of the loops around the access within the
    analysed statements. ``base`` is the dynamic part, where that is known to be loop-invariant: accesses with the same
    base differ by their ``offset``.
    """

    buffer: str
    writes: bool
    strides: Mapping[str, int]
    inner: Mapping[str, int]
    constant: Range | None
    offset: int = 0
    base: str | None = None


def accesses(
    statements: Iterable[Statement], ranges: Mapping[str, Range], fixed: AbstractSet[str] = frozenset()
) -> list[Access]:
    """All loads and stores in ``statements``; ``ranges`` as `value_ranges` gives them, ``fixed`` as `fixed_names`."""
    found: list[Access] = []

    def collect(statements: Iterable[Statement], inner: Mapping[str, int]) -> None:
        for s in statements:
            match s:
                case Load(index=index, dynamic=dynamic) | Store(index=index, dynamic=dynamic):
                    constant = _constant(index, dynamic, ranges)
                    base = dynamic if dynamic in fixed else None
                    strides = dict(index.terms)
                    found.append(Access(s.buffer, isinstance(s, Store), strides, inner, constant, index.offset, base))
                case Loop():
                    collect(s.body, {**inner, s.var: s.extent})
                case While():
                    collect(s.body, inner)
                case _:
                    pass

    collect(statements, {})
    return found


def _constant(index: Index, dynamic: str | None, ranges: Mapping[str, Range]) -> Range | None:
    if dynamic is None:
        return index.offset, index.offset
    if dynamic not in ranges:
        return None
    low, high = ranges[dynamic]
    return index.offset + low, index.offset + high


def distinct(found: Iterable[Access]) -> list[Access]:
    """``found`` without duplicates."""
    seen: dict[Hashable, Access] = {}
    for a in found:
        inner = tuple(sorted([(s, a.inner[v]) for v, s in a.strides.items() if v in a.inner]))
        outer = tuple(sorted([(v, s) for v, s in a.strides.items() if v not in a.inner]))
        seen.setdefault((a.buffer, a.writes, inner, outer, a.constant, a.offset if a.base else 0, a.base), a)
    return list(seen.values())


def meet(a: Access, b: Access, var: str, extent: int, extents: Mapping[str, int]) -> bool:
    """Whether ``a`` and ``b`` can access one element in two different iterations of the loop over ``var``."""
    if extent < 2:
        return False
    if a.base is not None and a.base == b.base:
        low = high = b.offset - a.offset
    elif a.constant is None or b.constant is None:
        return True
    else:
        low, high = b.constant[0] - a.constant[1], b.constant[1] - a.constant[0]
    terms: list[_Term] = []
    ours, theirs = a.strides.get(var, 0), b.strides.get(var, 0)
    if ours == theirs:
        terms.append(_Term(ours, 1 - extent, extent - 1, moves=True))
    else:
        terms += [_Term(ours, 0, extent - 1), _Term(-theirs, 0, extent - 1)]
    for access, sign in ((a, 1), (b, -1)):
        terms += [_Term(sign * s, 0, access.inner[v] - 1) for v, s in access.strides.items() if v in access.inner]
    for outer, n in extents.items():
        if outer != var and outer not in a.inner and outer not in b.inner:
            terms.append(_Term(a.strides.get(outer, 0) - b.strides.get(outer, 0), 0, n - 1))
    return _Search().solvable(_merged(terms), low, high)


@dataclass(frozen=True, slots=True)
class _Term:
    """``factor * x`` for an x from ``low`` to ``high``; with ``moves``, x is not 0."""

    factor: int
    low: int
    high: int
    moves: bool = False

    @property
    def span(self) -> Range:
        ends = self.factor * self.low, self.factor * self.high
        return min(ends), max(ends)


def _merged(terms: Iterable[_Term]) -> list[_Term]:
    """Terms with equal factors merged, the greatest factors first; zero terms are dropped."""
    by_factor: dict[int, _Term] = {}
    moving: list[_Term] = []
    for t in terms:
        if t.moves:
            moving.append(t)
        elif t.factor and (t.low or t.high):
            positive = t if t.factor > 0 else _Term(-t.factor, -t.high, -t.low)
            before = by_factor.get(positive.factor, _Term(positive.factor, 0, 0))
            by_factor[positive.factor] = _Term(positive.factor, before.low + positive.low, before.high + positive.high)
    return sorted([*moving, *by_factor.values()], key=lambda t: -abs(t.factor))


class _Search:
    """A bounded search for values of the terms whose sum lies between two bounds."""

    def __init__(self) -> None:
        self.left = _PATIENCE

    def solvable(self, terms: Sequence[_Term], low: int, high: int) -> bool:
        self.left -= 1
        if self.left < 0:
            return True
        if not terms:
            return low <= 0 <= high
        first, rest = terms[0], terms[1:]
        least = sum(t.span[0] for t in rest)
        most = sum(t.span[1] for t in rest)
        if not first.factor:
            return self.solvable(rest, low, high)  # it can differ without changing the address
        begin, end = low - most, high - least
        if first.factor < 0:
            begin, end = -end, -begin
        factor = abs(first.factor)
        start, stop = max(first.low, -(-begin // factor)), min(first.high, end // factor)
        return any(
            self.solvable(rest, low - first.factor * x, high - first.factor * x)
            for x in range(start, stop + 1)
            if x or not first.moves
        )


# ---------------------------------------------------------------------------------------------------------------------
# Integers with known bounds, and loop-invariant ones


def fixed_names(var: str, statements: Sequence[Statement]) -> set[str]:
    """The dynamic offsets in ``statements`` that are the same in every iteration over ``var``."""
    everything = list(walk(statements))
    offsets = {s.dynamic for s in everything if isinstance(s, (Load, Store)) and s.dynamic is not None}
    if not offsets:
        return set()
    written = {s.buffer for s in everything if isinstance(s, Store)}
    moving: set[str] = set()
    for s in everything:
        if isinstance(s, (Loop, While)):
            moving.update([c.name for c in s.carries])
            for t in s.body:
                moving.update([t.name] if isinstance(t, (Let, Load, Position)) else [])
    for s in statements:
        match s:
            case Let():
                moves = any(a in moving for a in s.args if isinstance(a, str))
            case Position():
                moves = any(v == var for v, _ in s.index.terms)
            case Load():
                moves = s.buffer in written or s.dynamic in moving or any(v == var for v, _ in s.index.terms)
            case _:
                continue
        if moves:
            moving.add(s.name)
    return offsets - moving


def value_ranges(statements: Iterable[Statement], extents: Mapping[str, int]) -> dict[str, Range]:
    """Bounds of the integers computed in ``statements``, by interval arithmetic, where there are any."""
    statements = list(walk(statements))
    inside = {**extents, **{s.var: s.extent for s in statements if isinstance(s, Loop)}}
    ranges: dict[str, Range] = {}
    for s in statements:
        match s:
            case Position(name=name, dtype=dtype, index=index) if dtype.kind in "iu":
                found = index_range(index, inside)
            case Let(name=name, dtype=dtype) if dtype.kind in "iu":
                found = _range_of(s, ranges)
            case _:
                continue
        if found is not None and _whole(dtype)[0] <= found[0] and found[1] <= _whole(dtype)[1]:
            ranges[name] = found
    return ranges


def _whole(dtype: DType) -> Range:
    """The range of an integer type."""
    return (0, (1 << dtype.bits) - 1) if dtype.kind == "u" else (-(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1)


def _range_of(s: Let, ranges: Mapping[str, Range]) -> Range | None:
    args = [_operand_range(a, ranges) for a in s.args]
    match s.op, args:
        case "maximum", [a, b]:
            (p, q), (r, t) = a or _whole(s.dtype), b or _whole(s.dtype)
            return max(p, r), max(q, t)
        case "minimum", [a, b]:
            (p, q), (r, t) = a or _whole(s.dtype), b or _whole(s.dtype)
            return min(p, r), min(q, t)
        case "add", [(a, b), (c, d)]:
            return a + c, b + d
        case "sub", [(a, b), (c, d)]:
            return a - d, b - c
        case "mul", [(a, b), (c, d)]:
            products = (a * c, a * d, b * c, b * d)
            return min(products), max(products)
        case "select", [_, (a, b), (c, d)]:
            return min(a, c), max(b, d)
        case "cast", [(a, b)]:
            return a, b
        case _:
            return None


def _operand_range(value: Operand, ranges: Mapping[str, Range]) -> Range | None:
    if isinstance(value, Literal):
        return (int(value.item()), int(value.item())) if value.dtype.kind in "iu" else None
    return ranges.get(value)
