"""Python's loops over traced values, written with `while_loop` and `fori_loop`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from graphad.ir.loc import Loc
from graphad.trace.rewritten import obstacles
from graphad.trace.rewritten.conditions import truth
from graphad.trace.rewritten.liveness import Loop, Names, Place, own_nodes, path_to, read_after
from graphad.trace.rewritten.user_source import UserSource, source_at
from graphad.trace.source import user_frames

#: Of longer bodies the middle is left out.
_MOST_LINES: Final = 12
_TAB: Final = "    "


def rewritten_loop(loc: Loc, observed: bool) -> str:
    """The loop around ``loc`` written with `while_loop` or `fori_loop`, for the end of a message.

    ``observed`` says that the loop looks at a value at ``loc``; else it is somewhere around, and the outermost is taken
    for it, whose turns have the most equations.
    """
    for code, lasti in user_frames(loc):
        source = source_at(code, lasti)
        if source is None:
            return ""
        loops = [n for n in own_nodes(source.function) if isinstance(n, Loop) and source.position.is_in(n)]
        if loops:
            tested = [n for n in loops if isinstance(n, ast.While) and source.position.is_in(n.test)]
            return of_loop(source, tested[-1] if tested else loops[-1] if observed else loops[0])
        if source.is_in_comprehension:
            return ""
    return ""


def of_loop(source: UserSource, loop: Loop) -> str:
    """``loop`` rewritten, or what is in the way."""
    keyword, function = ("while", "while_loop") if isinstance(loop, ast.While) else ("for", "fori_loop")
    path = path_to(source.function, loop)
    carried = _carried(loop, path)
    obstacle = obstacles.of_statements(loop)
    if not obstacle and isinstance(loop, ast.For):
        obstacle = obstacles.of_range(source, loop)
    obstacle = obstacle or obstacles.of_names(loop, path, carried.names)
    called = source.spelled("graphad.lax", function)
    if obstacle:
        return f"{called} would make one equation of the `{keyword}` of line {loop.lineno}, but for {obstacle}"
    code = _while_code(source, loop, carried) if isinstance(loop, ast.While) else _for_code(source, loop, carried)
    note = obstacles.note(source, loop, carried.names)
    return f"The `{keyword}` of line {loop.lineno} as one equation, for any number of turns:\n{indented(code)}{note}"


# ---------------------------------------------------------------------------------------------------------------------
# Carried values


class _Carried(NamedTuple):
    """What a loop carries from turn to turn.

    Attributes
    ----------
    names
        In the order in which they occur.
    again
        Assignments within the condition, to be done at the start of each turn.
    behind
        Those to be done behind the loop.
    """

    names: list[str]
    again: list[ast.NamedExpr]
    behind: list[ast.NamedExpr]


def _carried(loop: Loop, path: Sequence[Place]) -> _Carried:
    head = loop.test if isinstance(loop, ast.While) else loop.target
    assignments = [n for n in ast.walk(head) if isinstance(n, ast.NamedExpr)]
    in_head = Names().run([head]).stored
    turn, body = Names().run([head, *loop.body]), Names().run(loop.body)
    after = read_after(path)
    stored = [n for n in in_order(loop, turn.stored) if n in turn.read or (n in after and n not in in_head)]
    again = [a for a in assignments if a.target.id in body.read or a.target.id in stored]
    return _Carried(stored, again, [a for a in assignments if a.target.id in after])


def in_order(statement: ast.AST, names: Iterable[str]) -> list[str]:
    """``names`` in the order in which they occur in the text."""
    occurring = [n for n in ast.walk(statement) if isinstance(n, ast.Name)]
    occurring.sort(key=lambda n: (n.lineno, n.col_offset))
    found = dict.fromkeys([n.id for n in occurring])
    wanted = set(names)
    return [n for n in [*found, *[n for n in names if n not in found]] if n in wanted]


# ---------------------------------------------------------------------------------------------------------------------
# Code


def _while_code(source: UserSource, loop: ast.While, carried: _Carried) -> list[str]:
    goes_on, turn, state = fresh(source, "goes_on", "turn", "state")
    names = carried.names
    parameter, unpacked = _unpacked(names, state)
    again, behind = [
        [f"{a.target.id} = {source.text(a.value)}" for a in assignments]
        for assignments in (carried.again, carried.behind)
    ]
    return [
        f"def {goes_on}({parameter}):",
        *unpacked,
        f"{_TAB}return {truth(source, loop.test)}",
        f"def {turn}({parameter}):",
        *unpacked,
        *[_TAB + line for line in again],
        *_shortened(source.block(loop.body, _TAB)),
        f"{_TAB}return {', '.join(names)}",
        f"{', '.join(names)} = {source.spelled('graphad.lax', 'while_loop')}({goes_on}, {turn}, {_tuple(names)})",
        *behind,
    ]


def _for_code(source: UserSource, loop: ast.For, carried: _Carried) -> list[str]:
    turn, state = fresh(source, "turn", "state")
    names = carried.names
    parameter, unpacked = _unpacked(names, state)
    assert isinstance(loop.iter, ast.Call), "it is a range"
    bounds = [source.text(x) for x in loop.iter.args]
    lower, upper = bounds if len(bounds) == 2 else ["0", *bounds]
    called = source.spelled("graphad.lax", "fori_loop")
    return [
        f"def {turn}({source.text(loop.target)}, {parameter}):",
        *unpacked,
        *_shortened(source.block(loop.body, _TAB)),
        f"{_TAB}return {', '.join(names)}",
        f"{', '.join(names)} = {called}({lower}, {upper}, {turn}, {_tuple(names)})",
    ]


def _unpacked(names: Sequence[str], state: str) -> tuple[str, list[str]]:
    """The parameter for carried values, and the line that gives them their names."""
    return (names[0], []) if len(names) == 1 else (state, [f"{_TAB}{', '.join(names)} = {state}"])


def _tuple(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def fresh(source: UserSource, *names: str) -> list[str]:
    """``names``, made different from those that the function uses."""
    used = {n.id for n in ast.walk(source.function) if isinstance(n, ast.Name)}
    used |= {n.arg for n in ast.walk(source.function) if isinstance(n, ast.arg)}
    found: list[str] = []
    for name in names:
        while name in used:
            name += "_"
        found.append(name)
    return found


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    if more <= 0:
        return lines
    half = _MOST_LINES // 2
    return [*lines[:half], f"{_TAB}# ... {more} more lines of the body", *lines[half + more :]]


def indented(code: Sequence[str]) -> str:
    """Lines of code as a part of a message."""
    return "".join([f"{_TAB}{line}\n" if line else "\n" for line in code])
