"""Updates in place: which scatters of a loop's body write into the array that the loop carries.

A scatter changes a copy of its target. In a loop that updates an array element by element, the copies would make the
time quadratic in the size of the array. The copy is elided if everything that reads the target can be computed before
the scatter, and if what the scatters make of a carried array is what the loop carries on. Loops inside the body, and
branches, may be among what makes it.

Walk of one example, the body ``a -> a.at[i].set(sin(a[i - 1]))``: output 0 is the scatter ``x`` on the copy ``c`` of
input 0; the one reader of input 0 is ``sin``, which does not depend on ``x``. So ``sin`` is ordered before ``x``, ``c``
takes over the buffer of input 0, and the loop carries one buffer instead of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphad.backends.lower.anchors import Decisions
from graphad.backends.lower.definitions import (
    FlatProgram,
    GatherValue,
    InputValue,
    MapValue,
    ReshapeValue,
    ScatterValue,
    ViewValue,
)
from graphad.backends.lower.region_values import Branches, Call, Part, ResultValue, Turns, TurnsWhile

#: The plan of a region, given the input values that carry its outputs.
PlanPart = Callable[[Part, Mapping[int, int]], Any]


@dataclass(slots=True, eq=False)
class InPlace:
    """What is updated in place.

    Attributes
    ----------
    carries
        Outputs that lie in the buffer of the input which carries them.
    before
        Of each scatter in place, and of results of loops and branches, the values that must be computed before it.
    """

    carries: set[int] = field(default_factory=set)
    before: dict[int, list[int]] = field(default_factory=dict)

    def order(self, flat: FlatProgram) -> Sequence[int]:
        """All values, each behind its operands and what must be computed before it."""
        n = len(flat.values)
        if not self.before:
            return range(n)
        found: list[int] = []
        done = bytearray(n)
        for value in range(n):
            stack = [value]
            while stack:
                v = stack[-1]
                first = [a for a in (*flat.values[v].operands, *self.before.get(v, ())) if type(a) is int]
                missing = [a for a in first if not done[a]]
                if not missing:
                    stack.pop()
                    if not done[v]:
                        done[v] = 1
                        found.append(v)
                stack += missing
        return found


class _Link(NamedTuple):
    """A step by which one value becomes the next in the same buffer.

    ``written`` are the values that are there when the source no longer is: a scatter, or all results of a call. The
    scatter changes ``copy``, a copy of ``source``; a call changes ``source``, to its result ``copy``.
    """

    written: tuple[int, ...]
    copy: int
    source: int


def update_in_place(
    flat: FlatProgram, decisions: Decisions, carried: Mapping[int, int], wanted: list[int], plan_part: PlanPart
) -> InPlace:
    """Elide the copies of carried arrays that can be: in ``decisions``, and as found.

    Parameters
    ----------
    carried
        From outputs of the program, by number, to the input values that carry them.
    wanted
        The values that lie in the outputs, in order; then all others that are read when all is computed.
    plan_part
        The plan of a region, given which inputs carry its outputs.
    """
    found = InPlace()
    chains = {k: _Chain(flat, decisions, plan_part).links(wanted[k], source) for k, source in carried.items()}
    updates = _Updates(flat, decisions, wanted, found) if any(chains.values()) else None
    for k, links in chains.items():
        if links is not None and (updates is None or updates.elide(links)):
            found.carries.add(k)
    return found


class _Chain:
    """What lies between an output and the input that carries it."""

    def __init__(self, flat: FlatProgram, decisions: Decisions, plan_part: PlanPart) -> None:
        self.flat, self.decisions, self.plan_part = flat, decisions, plan_part

    def links(self, value: int, source: int) -> list[_Link] | None:
        """From ``value`` back to ``source``; None if ``value`` is made otherwise."""
        found: list[_Link] = []
        while value != source:
            definition = self.flat.values[value]
            if type(definition) is ScatterValue and definition.target in self.decisions.same_buffer:
                value = self.decisions.same_buffer[definition.target]
                continue
            if type(definition) is ScatterValue:
                link = self._scatter(value, definition.target)
            elif type(definition) is ResultValue:
                link = self._result(value, definition)
            else:
                return None
            if link is None:
                return None
            found.append(link)
            value = link.source
        return found

    def _scatter(self, value: int, copy: int) -> _Link | None:
        definition = self.flat.values[copy]
        if type(definition) is not MapValue or definition.template.instructions or len(definition.inputs) != 1:
            return None
        (source,) = definition.inputs
        return _Link((value,), copy, source) if type(source) is int else None

    def _result(self, value: int, definition: ResultValue) -> _Link | None:
        """The link of a loop, or of branches, that change one operand to this result in place."""
        call, number = definition.call, definition.number
        match call.what:
            case Turns(starts=starts, body=body):
                source = self._start(starts, (body,), body, number)
            case TurnsWhile(starts=starts, test=test, body=body):
                source = self._start(starts, (test, body), body, number)
            case Branches():
                source = self._branches(call.what, number)
            case _:
                source = None
        return None if source is None else _Link(tuple(call.values), value, source)

    def _start(self, starts: tuple[int, ...], parts: tuple[Part, ...], body: Part, number: int) -> int | None:
        if number >= len(starts) or number not in self.plan_part(body, carried_by(body)).in_place.carries:
            return None
        source = starts[number]
        others = [p.value for part in parts for p in part.inputs if p.kind != "carried"]
        return source if [*starts, *others].count(source) == 1 else None

    def _branches(self, what: Branches, number: int) -> int | None:
        """The one array that all branches change, or leave as it is."""
        sources: set[int | None] = set()
        for at, part in zip(what.results[number], what.parts, strict=True):
            kept = at is not None and at in self.plan_part(part, _changed_values(part)).in_place.carries
            sources.add(part.inputs[changed_by(part)[at]].value if kept else None)  # type: ignore[index]
        (source, *others) = sources
        return None if others or source is None or source in what.conditions else source


def carried_by(body: Part) -> dict[int, int]:
    """The input value that carries each output of the body of a loop."""
    values = enumerate(body.flat.values)
    inputs = [(n, body.inputs[v.index]) for n, v in values if type(v) is InputValue]
    return {place.value: n for n, place in inputs if place.kind == "carried"}


def changed_by(branch: Part) -> dict[int, int]:
    """The number of the input that each output of a branch is, or is made of by scatters."""
    return {number: _input_of(branch, value) for number, value in _changed_values(branch).items()}


def _changed_values(branch: Part) -> dict[int, int]:
    found: dict[int, int] = {}
    for number, atom in enumerate(branch.flat.outputs):
        value = atom if type(atom) is int else None
        while value is not None and type(branch.flat.values[value]) is not InputValue:
            value = _changed(branch.flat, value)
        if value is not None and branch.inputs[_input_of(branch, value)].kind == "whole":
            found[number] = value
    return found


def _changed(flat: FlatProgram, value: int) -> int | None:
    match flat.values[value]:
        case ScatterValue(target=target):
            return target
        case MapValue(template=template, inputs=(int(source),)) if not template.instructions:
            return source
        case ResultValue(call=Call(what=Turns(starts=starts) | TurnsWhile(starts=starts)), number=number):
            return starts[number] if number < len(starts) else None
        case _:
            return None


def _input_of(part: Part, value: int) -> int:
    definition = part.flat.values[value]
    assert type(definition) is InputValue
    return definition.index


class _Updates:
    """Who reads what, for the question whether copies can be elided.

    Attributes
    ----------
    users
        Of each value, the live ones that have it as an operand; and scatters that must come behind it.
    wanted
        The values that are read when all is computed.
    """

    def __init__(self, flat: FlatProgram, decisions: Decisions, wanted: list[int], found: InPlace) -> None:
        self.flat, self.decisions, self.found, self.wanted = flat, decisions, found, set(wanted)
        self.users: list[list[int]] = [[] for _ in flat.values]
        for value, definition in enumerate(flat.values):
            if decisions.live[value]:
                for a in definition.operands:
                    if type(a) is int:
                        self.users[a].append(value)

    def elide(self, links: list[_Link]) -> bool:
        """Elide the copies of all ``links``, or none."""
        readers: dict[_Link, set[int]] = {}
        for link in links:
            found = self._readers(link)
            if found is None or not self._come_before(found, link.written):
                self._compute_early(link)
                found = self._readers(link)
            if found is None or not self._come_before(found, link.written):
                for known in readers:
                    self._order(known, readers[known], undo=True)
                return False
            readers[link] = found
            self._order(link, found)
        for link in links:
            self._take_over(link)
            for value in link.written:
                self.found.before.setdefault(value, []).extend(sorted(readers[link]))
        return True

    def _take_over(self, link: _Link) -> None:
        decisions = self.decisions
        decisions.store(link.source)
        if link.copy in link.written:
            decisions.overwrites[link.copy] = link.source
        else:
            decisions.anchored[link.copy] = 0
            decisions.same_buffer[link.copy] = link.source

    def _order(self, link: _Link, readers: set[int], *, undo: bool = False) -> None:
        for reader in readers:
            for value in link.written:
                if undo:
                    self.users[reader].remove(value)
                else:
                    self.users[reader].append(value)

    def _readers(self, link: _Link) -> set[int] | None:
        """The anchors that read the source, but for the link; None if some of them cannot come before it."""
        if link.source in self.wanted or link.source in self.decisions.overwrites.values():
            return None
        found: set[int] = set()
        stack = self._others(link)
        while stack:
            user = stack.pop()
            if self.decisions.anchored[user]:
                found.add(user)
            elif user in self.wanted or user in self.decisions.same_buffer:
                return None
            else:
                stack += self.users[user]
        itself = found.intersection(link.written)
        return None if itself and not self._is_single(*itself) else found - itself

    def _others(self, link: _Link) -> list[int]:
        """What reads the source, but for the link itself."""
        itself = link.written if link.copy in link.written else (link.copy,)
        return [u for u in self.users[link.source] if u not in itself]

    def _is_single(self, *values: int) -> bool:
        """Whether they are one scatter of one element: a loop of it would read what it has written."""
        definition = self.flat.values[values[0]]
        return type(definition) is ScatterValue and self.flat.values[definition.updates].aval.size == 1

    def _come_before(self, readers: set[int], written: tuple[int, ...]) -> bool:
        """Whether no reader depends on what is written."""
        seen = {*written}
        stack = [*written]
        while stack:
            for user in self.users[stack.pop()]:
                if user in readers:
                    return False
                if user not in seen:
                    seen.add(user)
                    stack.append(user)
        return True

    def _compute_early(self, link: _Link) -> None:
        """Make anchors of what reads the source, so that no reader of theirs reads it as well."""
        size = self.flat.values[link.source].aval.size
        stack = self._others(link)
        while stack:
            user = stack.pop()
            definition = self.flat.values[user]
            if type(definition) is ReshapeValue:
                stack += self.users[user]
            elif type(definition) in (MapValue, ViewValue, GatherValue) and definition.aval.size <= size:
                if user not in self.decisions.same_buffer:
                    self.decisions.anchored[user] = 1
