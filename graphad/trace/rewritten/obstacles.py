"""What keeps a loop or a branch from being one equation as it stands, each with what to write instead.

The sentences go on from ``while_loop would make one equation of the `while` of line 3, but for``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from graphad.trace.rewritten.liveness import (
    FUNCTIONS,
    Loop,
    Names,
    Place,
    bound_before,
    closures_before,
    free_names,
    nodes_of,
    read_after,
)
from graphad.trace.rewritten.user_source import UserSource

#: What is written otherwise, each with the remedy.
_LEAVING: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.Break: ("break", "carry a boolean that says whether the loop has ended, and look at it in the condition"),
    ast.Continue: ("continue", "choose with cond, or graphad.numpy.where, between what follows it and nothing"),
    ast.Return: ("return", "carry what it returns, and a boolean that ends the loop, and return behind the loop"),
    ast.Yield: ("yield", "let lax.scan stack the values of all turns"),
    ast.YieldFrom: ("yield", "let lax.scan stack the values of all turns"),
    ast.Await: ("await", "only what is computed can be in a loop that is compiled"),
    ast.Delete: ("del", "leave it out"),
    ast.Global: ("global", "give the value a name of the function, and store it behind the loop"),
    ast.Nonlocal: ("nonlocal", "give the value a name of the function, and store it behind the loop"),
}


#: Methods of Python's containers that a loop collects values by.
_COLLECTING: Final = ("append", "extend", "insert", "add", "update")


def of_statements(loop: Loop) -> str:
    """What in its statements keeps a loop from being rewritten, with the remedy; empty if there is nothing."""
    for node in _leaving(loop.body, within=False):
        word, remedy = _LEAVING[type(node)]
        return f"its `{word}` (line {getattr(node, 'lineno', loop.lineno)}): {remedy}."
    if loop.orelse:
        return "its `else`, which always runs where there is no `break`: put it behind the loop."
    return _stores(loop.body)


def of_branch(branch: ast.If) -> str:
    """What keeps an ``if`` from being rewritten."""
    for node in _leaving([*branch.body, *branch.orelse], within=False):
        word, remedy = _LEAVING[type(node)]
        if isinstance(node, ast.Return):
            remedy = "let both sides give a value, and return that behind it"
        elif isinstance(node, (ast.Break, ast.Continue)):
            remedy = "rewrite the loop around it first"
        return f"its `{word}` (line {getattr(node, 'lineno', branch.lineno)}): {remedy}."
    return _stores([*branch.body, *branch.orelse])


def _leaving(nodes: Iterable[ast.AST], within: bool) -> Iterator[ast.AST]:
    """Statements that leave the loop, or do what none of its turns can; ``within`` another, with breaks of its own."""
    for node in nodes:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            continue
        if type(node) in _LEAVING and not (within and isinstance(node, (ast.Break, ast.Continue))):
            yield node
        if isinstance(node, Loop):
            yield from _leaving(node.body, within=True)
            yield from _leaving(node.orelse, within)
        else:
            yield from _leaving(ast.iter_child_nodes(node), within)


def _stores(statements: Sequence[ast.stmt]) -> str:
    """What to write in place of stores into objects, which are no values that an equation could give."""
    for node in nodes_of(statements):
        match node:
            case ast.Subscript(ctx=ast.Store()):
                a, index = ast.unparse(node.value), ast.unparse(node.slice)
                what = f"{a}[{index}] = ..."
                remedy = f"make {a} an array of graphad, and write {a} = {a}.at[{index}].set(...)"
            case ast.Attribute(ctx=ast.Store()):
                what = f"{ast.unparse(node)} = ..."
                remedy = f"give the value a name, as {node.attr} = {ast.unparse(node)} before, and store it behind"
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name) as called)) if name in _COLLECTING:
                what = f"{ast.unparse(called)}(...)"
                remedy = "let it give what is collected; lax.scan stacks what each turn gives"
            case _:
                continue
        return f"`{what}` (line {node.lineno}), which changes an object: {remedy}."
    return ""


def of_range(source: UserSource, loop: ast.For) -> str:
    """What to write for a ``for`` that does not count."""
    counts = isinstance(loop.iter, ast.Call) and isinstance(loop.iter.func, ast.Name) and loop.iter.func.id == "range"
    if not counts or not isinstance(loop.target, ast.Name):
        scan, rows = source.spelled("graphad.lax", "scan"), source.text(loop.iter)
        return f"what it runs over, {rows}: it counts, and the rows of an array are for {scan}."
    assert isinstance(loop.iter, ast.Call), "it counts"
    if len(loop.iter.args) == 3 or loop.iter.keywords or any([isinstance(a, ast.Starred) for a in loop.iter.args]):
        i = loop.target.id
        return f"the step of its range: it counts by ones; compute {i} from the number of the turn."
    return ""


def of_names(loop: Loop, path: Sequence[Place], names: Sequence[str]) -> str:
    """What keeps the carried values from being all that turns hand on."""
    for function in closures_before(path):
        shared = [n for n in names if n in free_names(function)]
        if shared:
            what = getattr(function, "name", "the lambda")
            return f"{what} (line {function.lineno}), which reads {shared[0]} while it changes: make it an argument."
    before = bound_before(path)
    missing = [n for n in names if n not in before]
    if missing:
        return f"{missing[0]}, which has no value before it: give it one, of the type that it has behind the loop."
    if isinstance(loop, ast.For):
        if isinstance(loop.target, ast.Name) and loop.target.id in read_after(path):
            return f"{loop.target.id}, which is read behind it and known in it alone: carry a copy under another name."
        return "" if names else "its results: nothing that it computes is read behind it."
    nodes = list(ast.walk(loop.test))
    read = dict.fromkeys([n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)])
    changing = any([isinstance(n, (ast.Call, ast.Attribute, ast.Subscript)) for n in nodes])
    if not names or not (changing or any([n in names for n in read])):
        return f"its condition: no turn changes what that reads ({', '.join(read) or 'nothing'}), so it never ends."
    nested = [n for n in nodes if isinstance(n, (ast.BoolOp, ast.IfExp))]
    if any([isinstance(n, ast.NamedExpr) for b in nested for n in ast.walk(b)]):
        return "the assignment in its condition, which `and`, `or` or `if` may pass by: make it a statement."
    return ""


def note(source: UserSource, loop: Loop, names: Iterable[str]) -> str:
    """What in the body is to be rewritten too, because it looks at values that differ from turn to turn."""
    varying = {*names, *Names().run(loop.body).stored}
    if isinstance(loop, ast.For):
        varying |= set(Names().run([loop.target]).stored)
    for node in nodes_of(loop.body):
        test, word = _tested(node)
        if test is not None and varying & {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}:
            line = test.lineno
            if word in ("while", "for"):
                return f"Rewrite the `{word}` of line {line} within it as well."
            conditional = source.spelled("graphad.lax", "cond")
            return f"What the `{word}` of line {line} chooses is chosen by {conditional}, or by graphad.numpy.where."
    return ""


def _tested(node: ast.AST) -> tuple[ast.expr | None, str]:
    """The expression that Python looks at, and the word for what looks."""
    match node:
        case ast.If() | ast.IfExp():
            return node.test, "if"
        case ast.While():
            return node.test, "while"
        case ast.For(iter=ast.Call(func=ast.Name(id="range"))):
            return node.iter, "for"
        case ast.Assert():
            return node.test, "assert"
        case ast.BoolOp():
            return node, "and" if isinstance(node.op, ast.And) else "or"
        case _:
            return None, ""
