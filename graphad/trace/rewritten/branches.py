"""Python's branches on traced values, written with `cond`."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from graphad.ir.loc import Loc
from graphad.trace.rewritten import obstacles
from graphad.trace.rewritten.conditions import truth
from graphad.trace.rewritten.liveness import Loop, Names, Place, bound_before, own_nodes, path_to, read_after
from graphad.trace.rewritten.loops import fresh, in_order, indented, of_loop
from graphad.trace.rewritten.user_source import UserSource, source_at
from graphad.trace.source import user_frames

_TAB = "    "


def rewritten_branch(loc: Loc) -> str:
    """The branch, or the loop, whose condition is looked at by ``loc``, as an equation, for the end of a message."""
    frames = user_frames(loc)
    source = source_at(*frames[0]) if frames else None
    if source is None:
        return ""
    kinds = (ast.If, ast.IfExp, ast.While, ast.For)
    statements = [n for n in own_nodes(source.function) if isinstance(n, kinds)]
    tested = [n for n in statements if source.position.is_in(n.iter if isinstance(n, ast.For) else n.test)]
    if not tested:
        return ""
    if isinstance(tested[-1], Loop):
        return of_loop(source, tested[-1])
    (code, obstacle), line = _of_branch(source, tested[-1]), tested[-1].lineno
    where = f"{source.spelled('graphad.numpy', 'where')}(condition, a, b), which computes both sides and chooses"
    if obstacle:
        return (
            f"{_cond(source)} would make one equation of the `if` of line {line}, but for {obstacle} Or write {where}."
        )
    return f"The `if` of line {line} as one equation:\n{indented(code)}Or write {where}."


def _cond(source: UserSource) -> str:
    return source.spelled("graphad.lax", "cond")


def _of_branch(source: UserSource, branch: ast.If | ast.IfExp) -> tuple[list[str], str]:
    """The code, or what is in the way."""
    if isinstance(branch, ast.IfExp):
        return [_chosen(source, branch.test, branch.body, branch.orelse)], ""
    path = path_to(source.function, branch)
    returned = _returned(branch, path[-1])
    if returned is not None:
        return [f"return {_chosen(source, branch.test, *returned)}"], ""
    assigned = _assigned(branch)
    if assigned is not None:
        name, first, second = assigned
        if name in bound_before(path) or branch.orelse:
            return [f"{name} = {_chosen(source, branch.test, first, second)}"], ""
    obstacle = obstacles.of_branch(branch)
    if obstacle:
        return [], obstacle
    return _as_functions(source, branch, path)


def _chosen(source: UserSource, test: ast.expr, first: ast.expr, second: ast.expr) -> str:
    sides = ", ".join([f"lambda: {_side(source, side)}" for side in (first, second)])
    return f"{_cond(source)}({truth(source, test)}, {sides})"


def _side(source: UserSource, value: ast.expr) -> str:
    text = source.text(value)
    return f"({text})" if isinstance(value, ast.Tuple) and not text.startswith("(") else text


def _returned(branch: ast.If, place: Place) -> tuple[ast.expr, ast.expr] | None:
    """What the two sides return, if they do nothing else; without an ``else`` that is the statement behind it."""
    behind = place.block[place.at + 1 :]
    sides = branch.body, branch.orelse or behind[:1]
    match sides:
        case [ast.Return(value=ast.expr() as first)], [ast.Return(value=ast.expr() as second)]:
            return first, second
        case _:
            return None


def _assigned(branch: ast.If) -> tuple[str, ast.expr, ast.expr] | None:
    """A name, and the two values that it is given, if the sides do nothing else."""
    match branch.body, branch.orelse:
        case [ast.Assign(targets=[ast.Name(id=name)], value=first)], []:
            return name, first, ast.Name(name, ast.Load())
        case (
            [ast.Assign(targets=[ast.Name(id=name)], value=first)],
            [ast.Assign(targets=[ast.Name(id=other)], value=second)],
        ) if name == other:
            return name, first, second
        case _:
            return None


def _as_functions(source: UserSource, branch: ast.If, path: Sequence[Place]) -> tuple[list[str], str]:
    sides = [Names().run(block) for block in (branch.body, branch.orelse)]
    stored = in_order(branch, [*sides[0].stored, *sides[1].stored])
    after = read_after(path)
    results = [n for n in stored if n in after]
    if not results:
        return [], "its results: nothing that it computes is read behind it."
    taken = [n for n in stored if any([n in s.read or (n in results and n not in s.bound) for s in sides])]
    missing = [n for n in taken if n not in bound_before(path)]
    if missing:
        return [], f"{missing[0]}, to which only one side gives a value: give it one before, of the same type."
    if_true, if_false = fresh(source, "if_true", "if_false")
    listed = ", ".join(results)
    code: list[str] = []
    for name, block in ((if_true, branch.body), (if_false, branch.orelse)):
        code += [f"def {name}({', '.join(taken)}):", *_lines(source, block), f"{_TAB}return {listed}"]
    operands = "".join([f", {n}" for n in taken])
    return [*code, f"{listed} = {_cond(source)}({truth(source, branch.test)}, {if_true}, {if_false}{operands})"], ""


def _lines(source: UserSource, block: Sequence[ast.stmt]) -> list[str]:
    """The lines of a side; an ``elif`` is an ``if`` there."""
    lines = source.block(block, _TAB) if block else []
    at = next((k for k, line in enumerate(lines) if line.lstrip()[:1] not in ("", "#")), 0)
    return [
        line.replace("elif", "if", 1) if k == at and line.lstrip().startswith("elif") else line
        for k, line in enumerate(lines)
    ]
