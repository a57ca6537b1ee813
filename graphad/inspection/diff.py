"""The difference between two stages, equation by equation.

Values are numbered anew in every graph, so a comparison of the texts would find every line changed. Here equations of
the same kind (primitive, params, types, line of the user) are paired first, in order; a pair is unchanged where the
operands are paired as well. What only the first graph has is named ``%7'``, so that its numbers do not meet those of
the second.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, NamedTuple

from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.text import format_equations

_CONTEXT: Final = 3  # unchanged lines around a change
_VALUE: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|%(\d+)")  # not within the strings of params


class _Line(NamedTuple):
    mark: str  # "-", "+" or " "
    text: str


def diff_graphs(before: Graph, after: Graph, names: tuple[str, str]) -> str:
    """The equations of ``after`` with those of ``before`` that are gone, as in a unified diff.

    Parameters
    ----------
    before, after
        The graphs.
    names
        What they are called in the first lines.
    """
    paired = _pairs(before, after)
    name = _name_of(_counterparts(before, after, paired))
    old, new = _chunks(before, name), _chunks(after, str)
    lines: list[_Line] = [*_compared(old[:1], new[:1])]
    i = j = 0
    for a, b in [*paired, (len(before.eqns), len(after.eqns))]:
        lines += [_Line("-", text) for chunk in old[i + 1 : a + 1] for text in chunk]
        lines += [_Line("+", text) for chunk in new[j + 1 : b + 1] for text in chunk]
        lines += _compared(old[a + 1 : a + 2], new[b + 1 : b + 2])
        i, j = a + 1, b + 1
    lines += _compared(old[-1:], new[-1:])
    return "\n".join([f"--- {names[0]}", f"+++ {names[1]}", *_folded(lines)])


def diff_texts(before: str, after: str, names: tuple[str, str]) -> str:
    """A unified diff of two programs, line by line."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *names, n=_CONTEXT, lineterm="")
    return "\n".join(list(lines) or [f"--- {names[0]}", f"+++ {names[1]}"])


# ---------------------------------------------------------------------------------------------------------------------
# Which equations belong together


def _pairs(before: Graph, after: Graph) -> list[tuple[int, int]]:
    """Numbers of equations of the same kind, in the order of both graphs."""
    matcher = difflib.SequenceMatcher(None, _kinds(before), _kinds(after), autojunk=False)
    return [(block.a + k, block.b + k) for block in matcher.get_matching_blocks() for k in range(block.size)]


def _kinds(graph: Graph) -> list[Hashable]:
    return [_kind(graph, eqn, loc) for eqn, loc in zip(graph.eqns, graph.locs, strict=True)]


def _kind(graph: Graph, eqn: Eqn, loc: Loc) -> Hashable:
    types = tuple([graph.avals[o] for o in eqn.outputs])
    return (eqn.primitive.name, eqn.params, types, eqn.regions, format_loc(loc))


def _counterparts(before: Graph, after: Graph, paired: Sequence[tuple[int, int]]) -> dict[Atom, Atom]:
    """The value of ``after`` for each value of ``before`` that has one."""
    same: dict[Atom, Atom] = {k: k for k in range(min(before.n_inputs, after.n_inputs))}
    for a, b in paired:
        same.update(zip(before.eqns[a].outputs, after.eqns[b].outputs, strict=True))
    return same


def _name_of(same: dict[Atom, Atom]) -> Callable[[int], str]:
    return lambda value: str(same[value]) if value in same else f"{value}'"


# ---------------------------------------------------------------------------------------------------------------------
# Lines


def _chunks(graph: Graph, name: Callable[[int], str]) -> list[list[str]]:
    """The lines of the header, of every equation with its regions, of the end; the values under new names."""

    def renamed(found: re.Match[str]) -> str:
        return f"%{name(int(found[1]))}" if found[1] else found[0]

    header, *equations = format_equations(graph)
    # Within a region, which follows the first line of its equation, numbers mean something else.
    parts = [[_VALUE.sub(renamed, first), *rest] for first, *rest in equations]
    returned, closing = parts.pop()
    return [[_VALUE.sub(renamed, line) for line in header], *parts, [returned], [closing]]


def _compared(old: Sequence[list[str]], new: Sequence[list[str]]) -> Iterator[_Line]:
    """A pair of chunks: one of them, if they say the same but for spaces, else both."""
    for a, b in zip(old, new, strict=True):
        if [" ".join(text.split()) for text in a] == [" ".join(text.split()) for text in b]:
            yield from [_Line(" ", text) for text in b]
        else:
            yield from [_Line("-", text) for text in a]
            yield from [_Line("+", text) for text in b]


def _folded(lines: Sequence[_Line]) -> Iterator[str]:
    """The lines, without those far from any change."""
    changed = [k for k, line in enumerate(lines) if line.mark != " "]
    near = {k + d for k in changed for d in range(-_CONTEXT, _CONTEXT + 1)}
    hidden = 0
    for k, line in enumerate(lines):
        if k in near:
            if hidden:
                yield _elision(hidden)
            hidden = 0
            yield f"{line.mark}{line.text}"
        else:
            hidden += 1
    if hidden:
        yield _elision(hidden)


def _elision(count: int) -> str:
    return f"@@ {count} unchanged line{'s' if count > 1 else ''} @@"
