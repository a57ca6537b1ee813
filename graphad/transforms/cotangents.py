"""Sums of cotangents, value by value, in which parts that do not overlap are put side by side.

Where a function reads an array part by part, ``x[0]``, ``x[1]``, ..., each part has a cotangent, padded with zeros to
the size of the array. Adding those costs the size of the array times the number of parts. Here they become one
concatenation, with zeros only where nothing was read. Parts at indices known only at run time come last: each is
written into the sum of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from graphad.ir.builder import Builder
from graphad.ir.graph import Eqn
from graphad.ir.ref import Ref
from graphad.ir.types import aval, literal
from graphad.primitives.accumulation import update, updates_zeros
from graphad.primitives.elementwise import add
from graphad.primitives.layout import zeros_like_aval
from graphad.primitives.shape import concatenate, pad

Shape = tuple[int, ...]


class _Part(NamedTuple):
    """``ref`` from ``low`` on; zero elsewhere."""

    low: Shape
    ref: Ref

    def span(self, axis: int) -> tuple[int, int]:
        return self.low[axis], self.low[axis] + self.ref.shape[axis]


class Cotangents:
    """The cotangent of each value, from its terms in the order in which they were added; zeros are left out."""

    def __init__(self, builder: Builder, n_values: int) -> None:
        self._builder = builder
        self._terms: list[list[Ref] | None] = [None] * n_values
        self._parts: dict[int, _Part] = {}  # of the terms that are padded with zeros: what is padded
        self._updates: dict[int, Eqn] = {}  # of the terms that are zeros with something written into them: how

    def add(self, value: int, term: Ref) -> None:
        terms = self._terms[value]
        if terms is None:
            self._terms[value] = [term]
        else:
            terms.append(term)
        if type(term.atom) is int and self._builder.eqns and self._builder.eqns[-1].outputs == (term.atom,):
            self._note(term.atom, self._builder.eqns[-1])

    def _note(self, atom: int, eqn: Eqn) -> None:
        if updates_zeros(self._builder, eqn):
            self._updates[atom] = eqn
        if eqn.primitive is not pad:
            return
        (x, fill), (low, high, interior) = eqn.inputs, eqn.params
        part = Ref(self._builder, x)
        if fill is literal(0, part.dtype) and not any(interior) and min((*low, *high), default=0) >= 0:
            if part.aval.size:
                self._parts[atom] = _Part(low, part)

    def total(self, value: int) -> Ref | None:
        """The sum of the terms of ``value`` so far; None if there are none."""
        terms = self._terms[value]
        if terms is None:
            return None
        if len(terms) > 1:
            summed: Ref | None = None
            terms.sort(key=lambda term: term.atom in self._updates)
            for padded, group in groupby(terms, lambda term: term.atom in self._parts):
                run = list(group)
                if padded and len(run) > 1:
                    whole = self._side_by_side(run)
                    run = run if whole is None else [whole]
                for term in run:
                    summed = term if summed is None else self._sum(summed, term)
            assert summed is not None
            terms[:] = [summed]
        return terms[0]

    def _sum(self, total: Ref, term: Ref) -> Ref:
        eqn = self._updates.get(term.atom)  # type: ignore[arg-type]  # no literal is among them
        return add(total, term) if eqn is None else update(total, eqn)

    def _side_by_side(self, terms: Sequence[Ref]) -> Ref | None:
        """The sum of padded terms that do not overlap; None if some do."""
        shape = terms[0].shape
        joined = _join([self._parts[term.atom] for term in terms], 0)  # type: ignore[index]
        return None if joined is None else _padded(joined, (0,) * len(shape), shape)


def _join(parts: Sequence[_Part], axis: int) -> _Part | None:
    """One part that holds all ``parts``, which differ from ``axis`` on; None if some overlap."""
    if len(parts) == 1:
        return parts[0]
    if axis == len(parts[0].low):
        return None
    rows: list[_Part] = []
    for (start, _), group in groupby(sorted(parts, key=lambda p: p.span(axis)), lambda p: p.span(axis)):
        row = _join(list(group), axis + 1)
        if row is None or (rows and start < rows[-1].span(axis)[1]):
            return None
        rows.append(row)
    if len(rows) == 1:
        return rows[0]
    # All rows get the same extent along the axes that follow, and zeros fill the gaps between them.
    spans = [[row.span(a) for row in rows] for a in range(len(parts[0].low))]
    low = tuple([min([start for start, _ in along]) for along in spans])
    high = tuple([max([stop for _, stop in along]) for along in spans])
    pieces: list[Ref] = []
    at = low[axis]
    for row in rows:
        start, stop = row.span(axis)
        if start > at:
            extents = [most - least for least, most in zip(low, high, strict=True)]
            extents[axis] = start - at
            pieces.append(zeros_like_aval(row.ref.builder, aval(tuple(extents), row.ref.dtype)))
        pieces.append(_padded(row, (*low[:axis], start, *low[axis + 1 :]), (*high[:axis], stop, *high[axis + 1 :])))
        at = stop
    return _Part(low, concatenate(*pieces, axis=axis))


def _padded(part: _Part, low: Shape, high: Shape) -> Ref:
    """The block from ``low`` to ``high``, which holds ``part`` and zeros around it."""
    before = tuple([mine - start for mine, start in zip(part.low, low, strict=True)])
    spans = [part.span(axis)[1] for axis in range(len(low))]
    after = tuple([stop - mine for mine, stop in zip(spans, high, strict=True)])
    if not any(before) and not any(after):
        return part.ref
    return pad(part.ref, 0, low=before, high=after, interior=(0,) * len(low))
