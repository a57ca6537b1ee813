"""Going through statements: the one place that knows which of them hold others.

Those that do (loops, and in programs for devices what is shared out among threads) have them in ``body``. A change is
written for one statement; `mapped`, `replaced` and `mapped_bodies` apply it to all, to the innermost first.

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
    """The statements that one holds; none, if it is no such statement."""
    return getattr(statement, "body", ())


def rebuilt(statement: S, body: tuple[Any, ...]) -> S:
    """``statement`` over other statements; itself, if they are those that it holds."""
    held: tuple[Any, ...] | None = getattr(statement, "body", None)
    if held is None or _same(held, body):
        return statement
    return replace(statement, body=body)  # pyright: ignore[reportArgumentType]


def bare(statement: S) -> S:
    """``statement`` without those that it holds, which `walk` gives apart."""
    return rebuilt(statement, ())


def walk(statements: Iterable[S]) -> Iterator[S]:
    """Every statement in the order of the text, each before those that it holds."""
    for s in statements:
        yield s
        held = inside(s)
        if held:
            yield from walk(held)


def mapped(statements: Sequence[S], change: Callable[[S], S]) -> tuple[S, ...]:
    """Every statement changed, after those that it holds."""
    return tuple([change(rebuilt(s, mapped(inside(s), change))) for s in statements])


def replaced(statements: Sequence[S], change: Callable[[S], Iterable[S]]) -> tuple[S, ...]:
    """Every statement replaced by any number of others, after those that it holds."""
    return tuple([t for s in statements for t in change(rebuilt(s, replaced(inside(s), change)))])


def mapped_bodies(statements: Sequence[S], change: Callable[[tuple[S, ...]], tuple[S, ...]]) -> tuple[S, ...]:
    """Every body, ``statements`` among them, changed as a whole, after those within it."""
    return change(tuple([rebuilt(s, mapped_bodies(inside(s), change)) if inside(s) else s for s in statements]))


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
