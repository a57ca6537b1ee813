"""Liveness of names in the user's source: what a loop must carry, and what a branch must give.

`Names` walks statements in the order in which they run. It counts a name as bound only if it is on every path; so what
it calls read or live may be a name too many, never one too few.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

Loop = ast.While | ast.For
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Names(ast.NodeVisitor):
    """The names in statements, which are walked by `run`.

    Attributes
    ----------
    read
        Names that are read where they may not have been bound yet.
    stored
        Names that are bound on some path.
    bound
        Names that are bound on every path.
    """

    def __init__(self, bound: Iterable[str] = ()) -> None:
        self.read: dict[str, None] = {}
        self.stored: dict[str, None] = {}
        self.bound = set(bound)

    def run(self, nodes: Iterable[ast.AST]) -> Names:
        for node in nodes:
            self.visit(node)
        return self

    def branches(self, *alternatives: Iterable[ast.AST]) -> None:
        """Walk alternatives, one of which runs."""
        before, after = self.bound, []
        for nodes in alternatives:
            self.bound = set(before)
            after.append(self.run(nodes).bound)
        self.bound = set.intersection(*after)

    def _load(self, names: Iterable[str]) -> None:
        self.read.update(dict.fromkeys([n for n in names if n not in self.bound]))

    def _bind(self, name: str) -> None:
        self.stored[name] = None
        self.bound.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._load([node.id])
        else:
            self._bind(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.run([node.value, *node.targets])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._load([node.target.id])
        self.run([node.value, node.target])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.run([node.value, node.target])

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.run([node.value, node.target])

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.branches(node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self.branches([node.body], [node.orelse])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        self.branches(node.values[1:], [])

    def visit_Compare(self, node: ast.Compare) -> None:
        self.run([node.left, node.comparators[0]])
        self.branches(node.comparators[1:], [])

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.branches([*node.body, *node.orelse], node.orelse)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.branches([node.target, *node.body, *node.orelse], node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        self.branches([*node.body, *node.orelse], *[[handler] for handler in node.handlers])
        self.run(node.finalbody)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self.visit(node.type)
        if node.name is not None:
            self._bind(node.name)
        self.run(node.body)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        self.branches(*[[case] for case in node.cases], [])

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.generic_visit(node)
        if node.name is not None:
            self._bind(node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name is not None:
            self._bind(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest is not None:
            self._bind(node.rest)

    def visit_alias(self, node: ast.alias) -> None:
        self._bind(node.asname or node.name.partition(".")[0])

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.run([*node.decorator_list, *node.args.defaults, *[d for d in node.args.kw_defaults if d is not None]])
        self._load(free_names(node))
        self._bind(node.name)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._load([n.id for n in ast.walk(node) if isinstance(n, ast.Name)])
        self._bind(node.name)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.run(node.args.defaults)
        self._load(free_names(node))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, COMPREHENSIONS):
            self._comprehension(node)
        else:
            super().visit(node)

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        targets = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id not in targets]
        self._load([n.id for n in names if isinstance(n.ctx, ast.Load)])
        self.stored.update(dict.fromkeys([n.id for n in names if isinstance(n.ctx, ast.Store)]))


def free_names(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """The names that a function has from around it."""
    nodes = list(ast.walk(function))
    outer = {name for n in nodes if isinstance(n, ast.Nonlocal) for name in n.names}
    own = {n.arg for n in nodes if isinstance(n, ast.arg)}
    own |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return {n.id for n in nodes if isinstance(n, ast.Name)} - (own - outer)


def own_nodes(owner: ast.AST) -> Iterator[ast.AST]:
    """The nodes below ``owner`` without those of functions and classes within, outer before inner."""
    for child in ast.iter_child_nodes(owner):
        if not isinstance(child, (*FUNCTIONS, ast.ClassDef)):
            yield child
            yield from own_nodes(child)


def nodes_of(statements: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of statements, in the same way."""
    return own_nodes(ast.Module(list(statements), []))


# ---------------------------------------------------------------------------------------------------------------------
# The place of a statement


class Place(NamedTuple):
    """``block[at]``, in a body of ``owner``."""

    owner: ast.AST
    block: Sequence[ast.AST]
    at: int


def path_to(owner: ast.AST, statement: ast.AST) -> list[Place]:
    """The way from a function to a statement of its own, outermost block first; empty if it has no such statement."""
    for _, block in ast.iter_fields(owner):
        if not isinstance(block, list):
            continue
        for index, node in enumerate(block):
            if node is statement:
                return [Place(owner, block, index)]
            if isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)) and not isinstance(
                node, (*FUNCTIONS, ast.ClassDef)
            ):
                path = path_to(node, statement)
                if path:
                    return [Place(owner, block, index), *path]
    return []


def read_after(path: Sequence[Place]) -> set[str]:
    """The names that the function may read after a statement without binding them first."""
    read: set[str] = set()
    bound: set[str] = set()
    for owner, block, at in reversed(path):
        rest = Names(bound).run(block[at + 1 :])
        read |= set(rest.read)
        if isinstance(owner, Loop):
            # `break` and `continue` may have left out the rest of the block.
            head = [owner.test] if isinstance(owner, ast.While) else [owner.target]
            read |= set(Names(bound).run([*head, *owner.body]).read)
            read |= set(Names(bound).run(owner.orelse).read)
        elif isinstance(owner, ast.Try):
            read |= set(Names(bound).run([*owner.handlers, *owner.orelse, *owner.finalbody]).read)
        elif not isinstance(owner, (ast.ExceptHandler, ast.Match)):
            bound = rest.bound
    return read


def around(path: Sequence[Place]) -> list[ast.AST]:
    """The nodes of the function that may have run before the statement, apart from it."""
    statement = path[-1].block[path[-1].at]
    assert isinstance(statement, ast.stmt), "paths lead to statements"
    own = set(ast.walk(statement))
    loops = [p.owner for p in path if isinstance(p.owner, Loop)]
    end = loops[0].end_lineno if loops else statement.lineno - 1
    assert end is not None, "parsed statements have an end"
    return [n for n in ast.walk(path[0].owner) if n not in own and getattr(n, "lineno", 0) <= end]


def bound_before(path: Sequence[Place]) -> set[str]:
    """The names that may be bound when the statement is first reached."""
    nodes = around(path)
    names = Names().run([n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))]).stored
    return (
        {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        | {n.arg for n in nodes if isinstance(n, ast.arg)}
        | {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        | set(names)
    )


def closures_before(path: Sequence[Place]) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda]:
    """The functions within the function that may have been made when the statement is reached."""
    return [n for n in around(path) if isinstance(n, FUNCTIONS) and n is not path[0].owner]
