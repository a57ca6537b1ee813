"""Reads graphs back from their text; the grammar is in ``README.md``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from graphad.errors import ParseError, did_you_mean
from graphad.ir.collector import without_collector
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.params import parse_aval
from graphad.ir.primitive import PRIMITIVES, Primitive
from graphad.ir.types import DTYPES, Aval, Literal, parse_literal

_STRING: Final = r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\""
_GRAPH: Final = re.compile(r"graph\s*@([\w.<>-]+)\s*\(\s*")
_TYPED: Final = re.compile(r"(%\w+)\s*:\s*(\w+\[[\dn,\s]*\])\s*")
_OUTPUT: Final = re.compile(r"(weak\s+)?(\w+\[[\dn,\s]*\])\s*")
_ARROW: Final = re.compile(r"->\s*\(\s*")
_OPEN: Final = re.compile(r"\{\s*")
_CLOSE: Final = re.compile(r"\)\s*")
_END: Final = re.compile(r"\}\s*")
_COMMA: Final = re.compile(r",\s*")
_EQUALS: Final = re.compile(r"=\s*")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_PARAMS: Final = re.compile(rf"\[((?:[^\[\]'\"]|{_STRING}|\[[^\[\]'\"]*+\])*+)\]")
_PARAM_PART: Final = re.compile(rf"{_STRING}|[\[\](),]|[^\[\](),'\"]+|.")
_ATOM: Final = re.compile(r"\s*([^\s,;{}]+)\s*")
_RETURN: Final = re.compile(r"return\b")
_LOC: Final = re.compile(r";\s*(.*?)\s*$")
_SPACE: Final = re.compile(r"\s*")


@without_collector
def parse_graph(text: str, rules: Mapping[str, Any] | None = None) -> Graph:
    """Read what `format_graph` prints, or a person writes.

    The types in the text are taken as they stand; `graphad.ir.verify.verify` checks them.

    Parameters
    ----------
    text
        One graph. Values may have any names (``%w``); lines that are empty or begin with ``;`` are skipped.
    rules
        The rules of custom derivatives that the text names (``rule=@relu``).

    Raises
    ------
    ParseError
        The text does not follow the grammar; the message shows the line with a caret.
    """
    reader = _Reader(text, rules or {})
    try:
        reader.next_line("graph @name(...) -> (...) {")
        graph = reader.graph()
    except RecursionError:
        raise reader.error("regions are nested too deeply") from None
    reader.end()
    return graph


class _Reader:
    """A cursor on the lines of a text. Types, literals and params are remembered by their text."""

    def __init__(self, text: str, rules: Mapping[str, Any]) -> None:
        self.lines = text.split("\n")
        self.number = -1
        self.line = ""
        self.pos = 0
        self.rules = rules
        self.types: dict[str, Aval] = {}
        self.literals: dict[str, Atom] = {}
        self.params_seen: dict[tuple[str, str], tuple[Any, ...]] = {}

    # -- the cursor

    def error(self, message: str, pos: int | None = None) -> ParseError:
        pos = self.pos if pos is None else pos
        line = self.line.replace("\t", " ")
        return ParseError(f"line {max(self.number, 0) + 1}, column {pos + 1}: {message}\n  {line}\n  {' ' * pos}^")

    def next_line(self, expected: str) -> None:
        """Go to the next line that says something."""
        for number in range(self.number + 1, len(self.lines)):
            line = self.lines[number]
            text = line.lstrip()
            if text and text[0] != ";":
                self.number, self.line, self.pos = number, line, len(line) - len(text)
                return
        self.number, self.line, self.pos = len(self.lines) - 1, self.lines[-1], len(self.lines[-1])
        raise self.error(f"the text ends where {expected} should follow")

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.line, self.pos)
        if found is not None:
            self.pos = found.end()
        return found

    def expect(self, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        found = pattern.match(self.line, self.pos)
        if found is None:
            raise self.error(f"expected {expected}")
        self.pos = found.end()
        return found

    def end(self) -> None:
        """Nothing may follow."""
        self.end_of_line()
        for number in range(self.number + 1, len(self.lines)):
            text = self.lines[number].lstrip()
            if text and text[0] != ";":
                self.number, self.line, self.pos = number, self.lines[number], len(self.lines[number]) - len(text)
                raise self.error("the graph has ended; expected no more text")

    def end_of_line(self) -> str | None:
        """The location at the end of the line."""
        if self.pos == len(self.line):
            return None
        loc = self.take(_LOC)
        if loc is None:
            raise self.error("expected the end of the line, or ; and a location")
        return loc[1] or None

    # -- the grammar

    def graph(self) -> Graph:
        """The graph that begins at the cursor; leaves the cursor behind its closing brace."""
        name = self.expect(_GRAPH, "graph @name(")[1]
        avals: list[Aval] = []
        env: dict[str, Atom] = {}
        self.listed(lambda: self.define(env, avals))
        n_inputs = len(avals)
        self.expect(_ARROW, "-> (")
        out_avals: list[Aval] = []
        weak: list[bool] = []
        self.listed(lambda: self.header_output(out_avals, weak))
        self.expect(_OPEN, "{ and a new line")
        self.end_of_line()
        eqns: list[Eqn] = []
        locs: list[Loc] = []
        self.next_line("an equation or return")
        while not self.take(_RETURN):
            self.eqn(env, avals, eqns, locs)
            self.next_line("an equation or return")
        at = self.pos
        outputs = self.atoms(env)
        self.end_of_line()
        types = [avals[a] if isinstance(a, int) else a.aval for a in outputs]
        if types != out_avals:
            got, said = ", ".join(map(repr, types)), ", ".join(map(repr, out_avals))
            raise self.error(f"the graph returns ({got}), but its first line says ({said})", at)
        self.next_line("}")
        self.expect(_END, "}")
        return Graph(tuple(avals), n_inputs, tuple(eqns), outputs, tuple(weak), tuple(locs), name)

    def listed(self, item: Callable[[], None]) -> None:
        """Items with commas between them up to a closing parenthesis, on as many lines as there are."""
        self.wrap()
        while not self.take(_CLOSE):
            item()
            self.wrap()
            if self.take(_COMMA):
                self.wrap()
            elif not _CLOSE.match(self.line, self.pos):
                raise self.error("expected , or )")

    def wrap(self) -> None:
        if self.pos == len(self.line):
            self.next_line(")")

    def header_output(self, out_avals: list[Aval], weak: list[bool]) -> None:
        at = self.pos
        found = self.expect(_OUTPUT, "a type like f32[3,4], or weak f32[]")
        out_avals.append(self.type(found[2], at))
        weak.append(found[1] is not None)

    def define(self, env: dict[str, Atom], avals: list[Aval]) -> None:
        """``%name: type``: the next value."""
        at = self.pos
        found = self.expect(_TYPED, "%name: type")
        name, text = found.groups()
        if name in env:
            raise self.error(f"{name} is defined twice", at)
        env[name] = len(avals)
        avals.append(self.types.get(text) or self.type(text, at))

    def type(self, text: str, at: int) -> Aval:
        if text not in self.types:
            try:
                self.types[text] = parse_aval(text)
            except ValueError as e:
                raise self.error(str(e), at) from None
        return self.types[text]

    def eqn(self, env: dict[str, Atom], avals: list[Aval], eqns: list[Eqn], locs: list[Loc]) -> None:
        """One equation. Its outputs are defined after its operands are read."""
        line, first = self.line, len(avals)
        defined: dict[str, Atom] = {}
        if line[self.pos] == "%":
            at = self.pos
            self.define(defined, avals)
            while self.take(_COMMA):
                self.define(defined, avals)
            for name in defined:
                if name in env:
                    raise self.error(f"{name} is defined twice", line.index(name, at))
            self.expect(_EQUALS, "=")
        at = self.pos
        name = self.expect(_NAME, "the name of a primitive, or return")[0]
        primitive = PRIMITIVES.get(name)
        if primitive is None:
            raise self.error(f"there is no primitive {name}. {did_you_mean(name, PRIMITIVES)}", at)
        params = self.params(primitive)
        inputs = self.atoms(env)
        regions: list[Graph] = []
        has_regions = self.take(_OPEN) is not None
        locs.append(self.end_of_line())
        if has_regions:
            self.next_line("graph @name(...) -> (...) {")
            while not self.take(_END):
                regions.append(self.graph())
                self.end_of_line()
                self.next_line("}")
            self.end_of_line()
        eqns.append(Eqn(primitive, inputs, params, tuple(range(first, len(avals))), tuple(regions)))
        env.update(defined)

    def atoms(self, env: dict[str, Atom]) -> tuple[Atom, ...]:
        """Values and literals with commas between them."""
        atoms: list[Atom] = []
        self.take(_SPACE)
        found = _ATOM.match(self.line, self.pos)
        while found is not None:
            text = found[1]
            atom = env.get(text)
            if atom is None:
                atom = self.literals.get(text)
                if atom is None:
                    atom = self.literal(text, found.start(1))
            atoms.append(atom)
            self.pos = found.end()
            if not self.take(_COMMA):
                break
            found = _ATOM.match(self.line, self.pos)
            if found is None:
                raise self.error("expected a value or a literal")
        return tuple(atoms)

    def literal(self, text: str, at: int) -> Literal:
        if text[0] == "%":
            raise self.error(f"{text} is used before it is defined", at)
        try:
            made = _checked_literal(text)
        except (ValueError, OverflowError) as e:
            raise self.error(str(e), at) from None
        self.literals[text] = made
        return made

    def params(self, primitive: Primitive) -> tuple[Any, ...]:
        """``[name=value, ...]``, all that the primitive has and in its order."""
        found = _PARAMS.match(self.line, self.pos)
        if found is None:
            if not primitive.params:
                return ()
            raise self.error(f"{primitive.name} has params: expected [{_expected(primitive)}]")
        key = (primitive.name, found[1])
        params = self.params_seen.get(key)
        if params is None:
            params = self.params_seen[key] = self.new_params(primitive, found[1], found.start(1))
        self.pos = found.end()
        return params

    def new_params(self, primitive: Primitive, text: str, at: int) -> tuple[Any, ...]:
        parts = _split(text)
        if len(parts) != len(primitive.params):
            raise self.error(f"expected {primitive.name}[{_expected(primitive)}], got {len(parts)} params", at)
        values: list[Any] = []
        for (start, part), (name, kind) in zip(parts, primitive.params.items(), strict=True):
            key, equals, value_text = part.partition("=")
            if not equals or key.strip() != name:
                raise self.error(f"expected {name}=..., as {primitive.name} has its params in this order", at + start)
            try:
                value = kind.parse(value_text.strip(), self.rules)
            except ValueError as e:
                raise self.error(str(e) or f"{value_text} is no {kind.name}", at + start) from None
            except (SyntaxError, TypeError, KeyError, IndexError, OverflowError, MemoryError, RecursionError):
                value = None
            if value is None or not kind.check(value):
                raise self.error(f"{name} of {primitive.name} is of kind {kind.name}, got {value_text}", at + start)
            values.append(value)
        return tuple(values)


def _expected(primitive: Primitive) -> str:
    return ", ".join(f"{name}=..." for name in primitive.params)


def _split(text: str) -> list[tuple[int, str]]:
    """The pieces of ``text`` between commas outside brackets and strings, with their positions."""
    parts: list[tuple[int, str]] = []
    depth = start = 0
    for found in _PARAM_PART.finditer(text):
        c = found[0]
        if c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append((start, text[start : found.start()]))
            start = found.end()
    if text[start:].strip():
        parts.append((start, text[start:]))
    return [(at + len(part) - len(part.lstrip()), part.strip()) for at, part in parts]


def _checked_literal(text: str) -> Literal:
    """`parse_literal`, refusing numbers that the dtype has not."""
    value, _, name = text.rpartition(":")
    dtype = DTYPES.get(name)
    if dtype is None or not value:
        raise ValueError(f"{text} is neither a value nor a literal; write e.g. %3 or 1.5:f32")
    if value.startswith("0x") and (not dtype.is_float or len(value) != 2 + dtype.bits // 4):
        raise ValueError(f"{text}: only floats are written by their bits, with {dtype.bits // 4} digits")
    if dtype.is_float:
        return parse_literal(text)
    if dtype.kind == "b":
        if value not in ("True", "False"):
            raise ValueError(f"{text} is no literal; write True:bool or False:bool")
        return parse_literal(text)
    low = -(2 ** (dtype.bits - 1)) if dtype.kind == "i" else 0
    if not low <= int(value) < low + 2**dtype.bits:
        raise ValueError(f"{value} does not fit into {dtype.name}")
    return parse_literal(text)
