"""The user's source around a line: its function, statements as text, and how it spells graphad's modules."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Sequence
from types import CodeType
from typing import Final, NamedTuple

from graphad.ir.loc import line_of
from graphad.trace.rewritten.liveness import COMPREHENSIONS

#: Code whose frames are parts of the function around them; Python 3.12 gives list comprehensions none of their own.
_COMPREHENSION_CODE: Final = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Position(NamedTuple):
    """A place in a file. The column is counted in bytes, and None if Python does not know it."""

    line: int
    column: int | None

    def is_in(self, node: ast.expr | ast.stmt) -> bool:
        """Whether it is in the text of ``node``."""
        first, last, ends = node.lineno, node.end_lineno, node.end_col_offset
        assert last is not None, "parsed nodes have an end"
        assert ends is not None, "parsed nodes have an end"
        if not first <= self.line <= last or self.column is None:
            return first <= self.line <= last
        return not (self.line == first and self.column < node.col_offset) and not (
            self.line == last and self.column >= ends
        )


class UserSource(NamedTuple):
    """The source of the code at ``(code, instruction offset)``.

    Attributes
    ----------
    lines
        The lines of the file.
    module, function
        The file's tree, and the function that the code is of.
    position
        Where the code is.
    """

    lines: Sequence[str]
    module: ast.Module
    function: Function
    position: Position

    @property
    def is_in_comprehension(self) -> bool:
        """Whether the code is in a comprehension of the function."""
        return any([self.position.is_in(n) for n in ast.walk(self.function) if isinstance(n, COMPREHENSIONS)])

    def text(self, node: ast.AST) -> str:
        """An expression on one line."""
        found = ast.get_source_segment("".join(self.lines), node)
        return found if found is not None and "\n" not in found else ast.unparse(node)

    def block(self, statements: Sequence[ast.stmt], indent: str) -> list[str]:
        """The lines of statements, with the comments above and behind them, indented anew."""
        if any([_is_text_of_lines(n) for statement in statements for n in ast.walk(statement)]):
            # Its text would change with the indentation: texts are written on one line.
            return [indent + line for line in ast.unparse(ast.Module(list(statements), [])).splitlines()]
        first = min([statements[0].lineno, *[d.lineno for d in getattr(statements[0], "decorator_list", [])]])
        line = self.lines[first - 1]
        begins = len(line.encode()[: statements[0].col_offset].decode())
        margin = line[:begins]
        if margin.strip():  # behind the colon
            return [
                indent + line[begins:].rstrip(),
                *[x.rstrip() for x in self.lines[first : statements[-1].end_lineno]],
            ]
        while first > 1 and self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return [_reindented(x.rstrip(), margin, indent) for x in self.lines[first - 1 : statements[-1].end_lineno]]

    def spelled(self, module: str, name: str) -> str:
        """``module.name`` as this file would write it: by what it imports."""
        package, _, last = module.rpartition(".")
        found = f"{module}.{name}"
        for node in ast.walk(self.module):
            if isinstance(node, ast.ImportFrom) and node.module in (module, package):
                for alias in node.names:
                    if node.module == module and alias.name == name:
                        return alias.asname or name
                    if node.module == package and alias.name == last:
                        found = f"{alias.asname or last}.{name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname is not None and alias.name in (module, package):
                        found = f"{alias.asname}{module.removeprefix(alias.name)}.{name}"
        return found


def source_at(code: CodeType, lasti: int) -> UserSource | None:
    """The source of the user's function at ``(code, lasti)``, or None where it cannot be read, or is not what runs."""
    lines = linecache.getlines(code.co_filename)
    try:
        module = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return None
    position = Position(line_of(code, lasti), list(code.co_positions())[lasti // 2][2])
    function = _function_of(module, code, position)
    return None if function is None else UserSource(lines, module, function, position)


def _function_of(module: ast.Module, code: CodeType, position: Position) -> Function | None:
    functions = [n for n in ast.walk(module) if isinstance(n, Function)]
    if code.co_name in _COMPREHENSION_CODE or code.co_name == "<lambda>":
        around = [f for f in functions if position.is_in(f)]
        if code.co_name == "<lambda>":
            around = [f for f in around if isinstance(f, ast.Lambda)]
        return max(around, key=lambda f: (f.lineno, f.col_offset), default=None)
    named = [f for f in functions if not isinstance(f, ast.Lambda) and f.name == code.co_name]
    return next((f for f in named if _first_line(f) == code.co_firstlineno), None)


def _first_line(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([function.lineno, *[d.lineno for d in function.decorator_list]])


def _is_text_of_lines(node: ast.AST) -> bool:
    """Whether it is a string of several lines of source."""
    is_text = isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    )
    return is_text and isinstance(node, ast.expr) and node.lineno != node.end_lineno


def _reindented(line: str, margin: str, indent: str) -> str:
    if not line.strip():
        return ""
    rest = line.removeprefix(margin) if line.startswith(margin) else line.lstrip()
    text = rest.lstrip("\t ")
    return indent + rest[: len(rest) - len(text)].replace("\t", "    ") + text
