"""Loop fission: independent loops of a nest become nests of their own, each with as many threads as it needs.

An optimiser's update of all parameters comes as one nest with a loop for each array; `horizontal_fusion` makes one
launch of the kernels that these become.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from graphad.backends.loops.ir import Index, Load, Loop, Statement, Store, While
from graphad.backends.loops.rewrites import Names, defined, is_pure, loops_of, renamed, substituted, used
from graphad.backends.loops.visit import walk

#: By how much the statements may grow in all: scalars that several pieces need are recomputed in each.
_MOST_GROWTH: Final = 4


def independent_pieces(body: Sequence[Statement], names: Names) -> list[tuple[Statement, ...]]:
    """``body`` cut into independent pieces, each with names of its own.

    Scalars that can be recomputed are no dependence between pieces.

    >>> from graphad.backends.loops.ir import Index, Load, Loop, Store
    >>> at = Index(0, (("i", 1),))
    >>> first = Load("s", "x", Index()), Loop("i", 8, (Store("y", at, "s"),))
    >>> for piece in independent_pieces([*first, Loop("i", 9, (Store("z", at, "s"),))], Names(["s"])):
    ...     print([type(s).__name__ for s in piece], piece[0].name)
    ['Load', 'Loop'] s
    ['Load', 'Loop'] s_0
    """
    return _pieces(body, _components(body), names)


def n_pieces(body: Sequence[Statement]) -> int:
    """How many pieces of ``body`` are independent of each other."""
    return len(_components(body))


def independent_loops(loop: Loop, names: Names) -> list[Loop]:
    """``loop`` distributed over the independent parts of its body.

    Parts that read the same elements stay together, so that these are read once.
    """
    if loop.carries:
        return [loop]
    pieces = _pieces(loop.body, _components(loop.body, loop.var), names)
    loops = [replace(loop, body=pieces[0])]
    for piece in pieces[1:]:
        var = names.fresh(loop.var)
        loops.append(replace(loop, var=var, body=substituted(piece, loop.var, Index(0, ((var, 1),)))))
    return loops


def _pieces(body: Sequence[Statement], members: Sequence[set[int]], names: Names) -> list[tuple[Statement, ...]]:
    """For each set of positions in ``body`` the statements there, and the scalars that they need."""
    if len(members) < 2:
        return [tuple(body)]
    makers = {name: k for k, s in enumerate(body) for name in defined(s)}
    wanted = [[makers[name] for name in used((s,)) if name in makers] for s in body]
    pieces: list[list[Statement]] = []
    for own in members:
        places, waiting = set(own), list(own)
        while waiting:
            more = [k for k in wanted[waiting.pop()] if k not in places]
            places.update(more)
            waiting += more
        pieces.append([body[k] for k in sorted(places)])
    if sum(map(_size, pieces)) > _MOST_GROWTH * _size(body):
        return [tuple(body)]
    seen: set[str] = set()
    apart: list[tuple[Statement, ...]] = []
    for piece in pieces:
        again = {name: names.fresh(f"{name}_") for s in piece for name in defined(s) if name in seen}
        seen.update([name for s in piece for name in defined(s)])
        apart.append(renamed(piece, again))
    return apart


def _components(body: Sequence[Statement], var: str | None = None) -> list[set[int]]:
    """Connected components of the statements (their positions), by dependence and by memory shared along ``var``.

    Scalars that can be recomputed are in none of them.
    """
    written = {s.buffer for s in walk(body) if isinstance(s, Store)}
    home: dict[int, int] = {}  # of each such statement, another one of its component; the first is its own
    sources: dict[str, set[int]] = {}  # the statements that a value comes from
    toucher: dict[str, int] = {}

    def root(k: int) -> int:
        while home[k] != k:
            k = home[k]
        return k

    for k, s in enumerate(body):
        wanted = [sources[name] for name in used((s,)) if name in sources]
        touched = {t.buffer for t in walk((s,)) if isinstance(t, (Load, Store)) and _counts(t, written, var)}
        if is_pure(s) and not touched:
            sources.update({name: set[int]().union(*wanted) for name in defined(s)})
            continue
        home[k] = k
        sources.update({name: {k} for name in defined(s)})
        earlier = set[int]().union(*wanted, {toucher[name] for name in touched if name in toucher})
        toucher.update(dict.fromkeys(touched, k))
        first = min([root(j) for j in (*earlier, k)])
        for j in (*earlier, k):
            home[root(j)] = first
    components: dict[int, set[int]] = {}
    for k in home:
        components.setdefault(root(k), set()).add(k)
    return list(components.values())


def _counts(access: Load | Store, written: set[str], var: str | None) -> bool:
    """Whether accesses to one buffer make two statements one component."""
    moves = var is not None and (access.dynamic is not None or any(v == var for v, _ in access.index.terms))
    return moves or access.buffer in written


def is_flat(loop: Loop) -> bool:
    """Whether a loop, with those perfectly nested in it, is elementwise and carries nothing."""
    inner = loops_of(loop.body)
    if loop.carries or len(inner) > 1:
        return False
    return not inner or (loop.body[-1] is inner[0] and all(map(is_pure, loop.body[:-1])) and is_flat(inner[0]))


def iterations(loop: Loop) -> int:
    """How often the innermost statements of a loop run."""
    return loop.extent * max(_within(loop.body), 1)


def _within(body: Sequence[Statement]) -> int:
    """The iterations of the loops in ``body``; a `While` counts as if it ran once, for nobody knows."""
    loops = [iterations(s) if isinstance(s, Loop) else _within(s.body) for s in body if isinstance(s, (Loop, While))]
    return sum(loops)


def _size(statements: Sequence[Statement]) -> int:
    return sum(1 for _ in walk(statements))
