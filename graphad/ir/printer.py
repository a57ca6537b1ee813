"""Prints graphs: the text of ``README.md``, which `graphad.ir.parser` reads back."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.params import NAMED
from graphad.ir.primitive import Primitive
from graphad.ir.types import Literal

_HEAD_WIDTH: Final = 32  # heads (`%3: f32[4]`) up to this width are padded to line up their `=`
_BODY_WIDTH: Final = 100  # lines up to this width are padded to line up their `; file.py:12`
_HEADER_WIDTH: Final = 100  # a longer `graph @name(...)` line is broken, one input a line


class Mark(NamedTuple):
    """A line to point at: equation number ``eqn`` of ``graph`` (-1: its header; past the end: `return`)."""

    graph: Graph
    eqn: int


class _Line(NamedTuple):
    text: str
    loc: str
    marked: bool


def format_graph(graph: Graph, rules: dict[str, Any] | None = None, mark: Mark | None = None) -> str:
    """The text of ``graph``.

    Parameters
    ----------
    graph
        What to print. It need not be valid: the verifier prints broken graphs.
    rules
        Filled with the rules of custom derivatives, under the names they have in the text; `parse_graph` takes it.
    mark
        The line to mark with ``>>>``.
    """
    printer = _Printer({} if rules is None else rules, mark)
    lines = printer.graph(graph)
    if mark is None:
        return "\n".join(_joined(line) for line in lines)
    return "\n".join((">>> " if line.marked else "    ") + _joined(line) for line in lines)


def format_equations(graph: Graph) -> list[list[str]]:
    """The lines of ``graph`` in parts: its header, every equation with its regions, the end."""
    return [[_joined(line) for line in part] for part in _Printer({}, None).parts(graph)]


def _joined(line: _Line) -> str:
    return f"{line.text}   ; {line.loc}" if line.loc else line.text.rstrip()


class _Printer:
    def __init__(self, rules: dict[str, Any], mark: Mark | None) -> None:
        self.rules = rules
        self.mark = mark

    def graph(self, graph: Graph) -> list[_Line]:
        """The lines of one graph, those of its regions among them."""
        return [line for part in self.parts(graph) for line in part]

    def parts(self, graph: Graph) -> list[list[_Line]]:
        """The lines of one graph in parts: its header, every equation with its regions, the end."""
        heads = [self.head(graph, eqn) for eqn in graph.eqns]
        column = max((len(h) for h in heads if len(h) <= _HEAD_WIDTH), default=0)
        texts: list[str] = []
        for head, eqn in zip(heads, graph.eqns, strict=True):
            body = self.body(eqn)
            texts.append(f"  {head:<{column}} = {body}" if head else f"  {body}")
        column = max((len(t) for t in texts if len(t) <= _BODY_WIDTH), default=0)
        parts = [[_Line(t, "", self.marks(graph, -1)) for t in self.header(graph)]]
        locs = graph.locs if len(graph.locs) == len(graph.eqns) else (None,) * len(graph.eqns)
        for k, (text, eqn, loc) in enumerate(zip(texts, graph.eqns, locs, strict=True)):
            part = [_Line(f"{text:<{column}}", _loc_text(loc), self.marks(graph, k))]
            if eqn.regions:
                for region in eqn.regions:
                    part += [_Line(f"    {t}", loc, marked) for t, loc, marked in self.graph(region)]
                part.append(_Line("  }", "", False))
            parts.append(part)
        returned = ", ".join(_atom_text(a) for a in graph.outputs)
        end = _Line(f"  return {returned}", "", self.marks(graph, len(graph.eqns)))
        return [*parts, [end, _Line("}", "", False)]]

    def header(self, graph: Graph) -> list[str]:
        """``graph @name(%0: f32[3]) -> (f32[]) {``, on several lines if it is long."""
        name = re.sub(r"[^\w.<>-]", "_", graph.name) or "main"
        inputs = [f"%{i}: {_aval_text(graph, i)}" for i in range(graph.n_inputs)]
        weak = graph.weak if len(graph.weak) == len(graph.outputs) else (False,) * len(graph.outputs)
        outputs = [f"{'weak ' if w else ''}{_aval_text(graph, a)}" for a, w in zip(graph.outputs, weak, strict=True)]
        end = f") -> ({', '.join(outputs)}) {{"
        line = f"graph @{name}({', '.join(inputs)}{end}"
        if len(line) <= _HEADER_WIDTH or not inputs:
            return [line]
        return [f"graph @{name}(", *(f"    {text}," for text in inputs[:-1]), f"    {inputs[-1]}", end]

    def head(self, graph: Graph, eqn: Eqn) -> str:
        return ", ".join([f"%{o}: {_aval_text(graph, o)}" for o in eqn.outputs])

    def body(self, eqn: Eqn) -> str:
        primitive = eqn.primitive
        text = primitive.name
        if eqn.params or primitive.params:
            text += f"[{self.params(primitive, eqn.params)}]"
        if eqn.inputs:
            text += " " + ", ".join([_atom_text(a) for a in eqn.inputs])
        return text + " {" if eqn.regions else text

    def params(self, primitive: Primitive, params: tuple[Any, ...]) -> str:
        parts: list[str] = []
        for (name, kind), value in zip(primitive.params.items(), params, strict=False):
            if not kind.check(value):
                text = repr(value)  # a broken graph
            else:
                text = f"@{self.rule_name(value)}" if kind in NAMED else kind.format(value)
            parts.append(f"{name}={text}")
        parts += [f"?={value!r}" for value in params[len(primitive.params) :]]
        return ", ".join(parts)

    def rule_name(self, rule: Any) -> str:
        """The name of ``rule`` in this text: its own, numbered where another rule has it."""
        own = name = re.sub(r"[^\w.]", "_", rule.rule_name) or "rule"
        count = 0
        while self.rules.setdefault(name, rule) is not rule:
            count += 1
            name = f"{own}.{count}"
        return name

    def marks(self, graph: Graph, index: int) -> bool:
        return self.mark is not None and self.mark.graph is graph and self.mark.eqn == index


def _aval_text(graph: Graph, atom: Atom) -> str:
    if isinstance(atom, Literal):
        return repr(atom.aval)
    return repr(graph.avals[atom]) if 0 <= atom < len(graph.avals) else "?"


def _atom_text(atom: Atom) -> str:
    return f"%{atom}" if isinstance(atom, int) else repr(atom)


def _loc_text(loc: Loc) -> str:
    return " ".join(format_loc(loc).split())
