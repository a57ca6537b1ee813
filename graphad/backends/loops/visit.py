"""Traversal of statements: the one place that knows which of them hold others.

Those that do (loops, and in device programs `Spread`) have them in ``body``. A rewrite is written for one statement;
`mapped`, `replaced` and `mapped_bodies` apply it to all, the innermost first.

Examples
--------
>>> from graphad.backends.loops.ir import Index, Load, Loop
>>> loop = Loop("i", 3, (Load("t", "x", Index(0, (("i", 1),))),))
>>> [type(s).__name__ for s in walk((loop,))]
['Loop', 'Load']
>>> replaced((loop,), lambda s: () if isinstance(s, Load) else (s,))
(Loop(var='i', extent=3, body=(), carries=(), vector=False, reverse=False, loc=None),)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

S = TypeVar("S")  # of statements, of whatever kind


def inside(statement: Any) -> tuple[Any, ...]:
    """The statements in the body of one; none, if it has no body."""
    return getattr(statement, "body", ())


def rebuilt(statement: S, body: tuple[Any, ...]) -> S:
    """``statement`` with another body; itself, if that is its own."""
    held: tuple[Any, ...] | None = getattr(statement, "body", None)
    if held is None or _same(held, body):
        return statement
    return replace(statement, body=body)  # pyright: ignore[reportArgumentType]


def bare(statement: S) -> S:
    """``statement`` with an empty body; `walk` gives the statements of the body separately."""
    return rebuilt(statement, ())


def walk(statements: Iterable[S]) -> Iterator[S]:
    """Every statement in the order of the text, each before those that it holds."""
    for s in statements:
        yield s
        held = inside(s)
        if held:
            yield from walk(held)


def mapped(statements: Sequence[S], change: Callable[[S], S]) -> tuple[S, ...]:
    """Every statement rewritten, after those in its body."""
    return tuple([change(rebuilt(s, mapped(inside(s), change))) for s in statements])


def replaced(statements: Sequence[S], change: Callable[[S], Iterable[S]]) -> tuple[S, ...]:
    """Every statement replaced by any number of others, after those in its body."""
    return tuple([t for s in statements for t in change(rebuilt(s, replaced(inside(s), change)))])


def mapped_bodies(statements: Sequence[S], change: Callable[[tuple[S, ...]], tuple[S, ...]]) -> tuple[S, ...]:
    """Every body rewritten as a whole, ``statements`` being the outermost, after those within it."""
    return change(tuple([rebuilt(s, mapped_bodies(inside(s), change)) if inside(s) else s for s in statements]))


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
