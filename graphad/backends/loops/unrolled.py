"""Loops written out, and what is tidied up then: values that are there already, and those that are always the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from graphad.backends.loops.ir import (
    Carry,
    Index,
    Let,
    Load,
    Loop,
    Operand,
    Position,
    Statement,
    Store,
    While,
    is_half,
    stride_of,
)
from graphad.backends.loops.rewrites import Names, copied, defined, names_of, renamed, substituted, used
from graphad.backends.loops.visit import walk

#: How a loop combines, as an operator.
_OPERATORS: Final = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "and": "and", "or": "or"}


def combines(loop: Loop | While) -> bool:
    """Whether all that a loop carries is combined by operators, in any order."""
    return isinstance(loop, Loop) and all([c.combine in _OPERATORS and not is_half(c.dtype) for c in loop.carries])


def turns_of(s: Statement, names: Names) -> list[Statement]:
    """A loop that `combines`, and those in it, as what their turns do, one after the other; others as they are."""
    if not isinstance(s, Loop):
        return [s]
    running: dict[str, Operand] = {c.name: c.init for c in s.carries}
    found: list[Statement] = []
    for turn in range(s.extent):
        body, own = copied(substituted(s.body, s.var, Index(turn)), names)
        found += [t for inner in body for t in turns_of(inner, names)]
        for c in s.carries:
            name = c.name if turn == s.extent - 1 else names.fresh(f"{c.name}_")
            reads = [own.get(r, r) if isinstance(r, str) else r for r in c.reads]
            if c.factor is None:
                found.append(Let(name, c.dtype, _OPERATORS[c.combine], (running[c.name], *reads), s.loc))
            else:
                found.append(Let(name, c.dtype, "fma", (*reads, running[c.name]), s.loc))
            running[c.name] = name
    return found


def jammed(loop: Loop, names: Names) -> list[Statement]:
    """All turns of a loop at once, of which each has one loop inside: what stands before those, one, what is behind."""
    ((at, inner),) = [(k, s) for k, s in enumerate(loop.body) if isinstance(s, Loop)]
    firsts: list[Statement] = []
    bodies: list[Statement] = []
    lasts: list[Statement] = []
    carries: list[Carry] = []
    for turn in range(loop.extent):
        first, own = copied(substituted(loop.body[:at], loop.var, Index(turn)), names)
        body, within = copied(renamed(substituted(inner.body, loop.var, Index(turn)), own), names)
        known = {**own, **within, **{c.name: names.fresh(f"{c.name}_") for c in inner.carries}}
        ends = renamed((replace(inner, body=()),), known)
        last, _ = copied(renamed(substituted(loop.body[at + 1 :], loop.var, Index(turn)), known), names)
        firsts += first
        bodies += body
        lasts += last
        carries += [c for s in ends if isinstance(s, Loop) for c in s.carries]
    return [*firsts, replace(inner, body=tuple(bodies), carries=tuple(carries)), *lasts]


def tidied(loop: Loop) -> Loop:
    """A loop without what computes or loads a value that is there already."""
    written = {s.buffer for s in walk(loop.body) if isinstance(s, Store)}
    known = _of_known_places(loop.body)
    seen: dict[Hashable, str] = {}
    names: dict[str, str] = {}
    found: list[Statement] = []
    for s in loop.body:
        (now,) = renamed((s,), names)
        key: Hashable = None
        match now:
            case Let(dtype=dtype, op=op, args=args):
                key = (op, dtype, args)
            case Position(dtype=dtype, index=index):
                key = (dtype, index)
            case Load(buffer=buffer, index=index, dynamic=dynamic):
                key = (buffer, index, dynamic) if buffer not in written or buffer in known else None
            case Store(buffer=buffer, index=index, value=value) if buffer in known:
                seen.pop((buffer, index, None), None)
                if isinstance(value, str):
                    seen[buffer, index, None] = value
            case _:
                pass
        if key in seen:
            names |= dict.fromkeys(defined(now), seen[key])
            continue
        if key is not None:
            seen[key] = defined(now)[0]
        found.append(tidied(now) if isinstance(now, Loop) else now)
    (ends,) = renamed((replace(loop, body=()),), names)
    assert isinstance(ends, Loop)
    return replace(ends, body=tuple(found))


def _of_known_places(statements: Sequence[Statement]) -> set[str]:
    """The buffers of which these statements, outside of loops, access elements that differ if their offsets do."""
    terms: defaultdict[str, set[Hashable]] = defaultdict(set)
    for s in walk(statements):
        if isinstance(s, (Load, Store)):
            terms[s.buffer].add(s.index.terms)
            if s.dynamic is not None or (isinstance(s, Store) and s.mask is not None) or s not in statements:
                terms[s.buffer].add(None)
    return {name for name, several in terms.items() if several == {next(iter(several))} and None not in several}


def hoisted(loop: Loop) -> list[Statement]:
    """A loop behind what is the same in all of its turns."""
    written = {s.buffer for s in walk(loop.body) if isinstance(s, Store)}
    varies = {c.name for c in loop.carries}
    before: list[Statement] = []
    kept: list[Statement] = []
    for s in loop.body:
        if varies.isdisjoint(used((s,))) and _is_fixed(s, loop.var, written):
            before.append(s)
        else:
            kept.append(s)
            varies.update(names_of((s,)))
    return [*before, replace(loop, body=tuple(kept))]


def _is_fixed(s: Statement, var: str, written: AbstractSet[str]) -> bool:
    """Whether a statement is a value that does not depend on ``var``, but for what it reads of others."""
    match s:
        case Let():
            return True
        case Position(index=index):
            return not stride_of(index, var)
        case Load(index=index, buffer=buffer):
            return not stride_of(index, var) and buffer not in written
        case _:
            return False
