"""What a compiled program does, step by step, as data and as a table: what ``explain`` of compiled functions gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Final

from graphad.backends.loops import memory
from graphad.backends.loops.costs import Cost, StepCost, Tally, costs, total_cost
from graphad.backends.loops.ir import (
    Buffer,
    Copy,
    Counted,
    Gemm,
    GuardStep,
    HostCall,
    KernelProgram,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
)
from graphad.backends.loops.visit import walk
from graphad.ir.loc import Loc, format_loc

#: Lines of the user's that a table shows of one step.
_LINES_SHOWN: Final = 3
#: Rows of a table that are alike but for their names are shown one by one up to so many.
_FEWEST_FOLDED: Final = 3
_PLACE: Final = re.compile(r"([^()]+):(\d+)\)*$")
#: What steps are called.
KINDS: Final[dict[type, str]] = {
    LoopNest: "loop nest", Gemm: "matrix product", RoutineCall: "call", Copy: "copy", GuardStep: "guard",
    HostCall: "callback", Repeat: "loop", RepeatWhile: "loop", Counted: "run-time size",
}  # fmt: skip

#: A title, and what stands below it for a step.
Column = tuple[str, Callable[[Any], str]]


@dataclass(frozen=True, slots=True)
class StepExplanation(StepCost):
    """One step of a program, with its cost.

    Attributes
    ----------
    kind
        ``"loop nest"`` or ``"kernel"``, ``"matrix product"``, ``"call"``, ``"copy"``, ``"guard"``, ``"callback"``; of
        those with others inside, ``"loop"``, ``"branch"``, ``"run-time size"``.
    lines
        Of the user's that it comes from, such as ``"model.py:14"``.
    inside
        The steps of a loop or branch, each with its cost in one turn. That of all turns is the loop's own, if it is
        known how many there are; else that of one.
    """

    kind: str = ""
    lines: tuple[str, ...] = ()
    inside: tuple[StepExplanation, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Cost):
    """A compiled program with its cost; printed, it is a table of its steps.

    Attributes
    ----------
    name, target
        What was compiled, and for what.
    temporaries, scratch_bytes
        How many arrays it keeps between its steps, and the memory that they share.
    held_bytes
        The memory of its arguments and results.
    notes
        What else there is to say.
    """

    steps: tuple[StepExplanation, ...]
    name: str
    target: str
    temporaries: int
    scratch_bytes: int
    held_bytes: int
    notes: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """How many steps are of a kind."""
        return sum(s.kind == kind for s in self.steps)

    @property
    def peak_bytes(self) -> int:
        """The memory that a call has at once: arguments, results, and what is between the steps."""
        return self.held_bytes + self.scratch_bytes

    @property
    def headline(self) -> str:
        """The whole program in one line."""
        kinds = dict.fromkeys(s.kind for s in self.steps)
        steps = " + ".join([_many(self.count(kind), kind) for kind in kinds]) or "nothing to run"
        moved = f"{format_bytes(self.moved_bytes)} moved ({self.excess:.2f} x the least)"
        scratch = f"{_many(self.temporaries, 'temporary')} in {format_bytes(self.scratch_bytes)}"
        parts = [steps, moved, f"{format_count(self.operations)} operations", scratch if self.temporaries else ""]
        parts.append(f"{format_bytes(self.peak_bytes)} at the peak")
        return f"{self.name} on {self.target}: {', '.join([p for p in parts if p])}"

    def columns(self) -> list[Column]:
        """Titles of the table, each with what stands below it for a step."""
        return [
            ("step", lambda s: f"{s.kind} {s.name}".rstrip()),
            ("line", lambda s: _lines_text(s.lines)),
            *self.launch_columns(),
            ("read", lambda s: format_bytes(s.read_bytes)),
            ("written", lambda s: format_bytes(s.written_bytes)),
            ("operations", lambda s: format_count(s.operations) if s.operations else ""),
            *self.code_columns(),
        ]

    def launch_columns(self) -> list[Column]:
        """Columns about how a step is started."""
        return []

    def code_columns(self) -> list[Column]:
        """Columns about the machine code of a step."""
        return []

    def table(self) -> list[list[str]]:
        """The titles and then a row for each step; columns with nothing to say are left out, and long repetitions."""
        steps = list(_with_depths(self.steps))
        columns = [(title, [text(s) for _, s in steps]) for title, text in self.columns()]
        columns[0] = columns[0][0], ["  " * depth + cell for (depth, _), cell in zip(steps, columns[0][1], strict=True)]
        said = [(title, cells) for title, cells in columns if any(cells)]
        rows = [list(row) for row in zip(*[cells for _, cells in said], strict=True)]
        return [[title for title, _ in said], *_without_repetitions(rows)]

    def __repr__(self) -> str:
        rows = _aligned(self.table()) if self.steps else []
        return "\n".join([self.headline, *[f"  {row}" for row in rows], *[f"  {note}" for note in self.notes]])

    def _repr_html_(self) -> str:
        titles, *rows = self.table() if self.steps else [[]]
        parts = [f"<table><caption>{escape(self.headline)}</caption>"]
        parts += [_html_row("th", titles), *[_html_row("td", row) for row in rows], "</table>"]
        return "".join([*parts, *[f"<p>{escape(note)}</p>" for note in self.notes]])


def explain(program: KernelProgram, target: str) -> Explanation:
    """What a loop program does, step by step, on a target of that name that runs it as it is."""
    cost = costs(program)
    steps = _explained(program.steps, cost.steps, program.buffers)
    temporaries = sum(b.role == "temporary" for b in program.buffers)
    scratch = memory.plan(program).size
    return Explanation(
        steps, cost.minimum_bytes, program.name, target, temporaries, scratch, held_bytes(program.buffers)
    )


def held_bytes(buffers: Iterable[Buffer]) -> int:
    """The memory of the arguments and results among ``buffers``."""
    return sum([memory.buffer_bytes(b) for b in buffers if b.role in ("input", "output")])


def _explained(
    steps: Sequence[Any], found: Sequence[StepCost], buffers: Sequence[Buffer]
) -> tuple[StepExplanation, ...]:
    return tuple([_step(step, cost, buffers) for step, cost in zip(steps, found, strict=True)])


def _step(step: Any, cost: StepCost, buffers: Sequence[Buffer]) -> StepExplanation:
    body = walk(step.body) if isinstance(step, LoopNest) else ()
    kind = kind_of(step)
    name = "" if isinstance(step, (LoopNest, Copy, GuardStep)) else cost.name
    inside: tuple[StepExplanation, ...] = ()
    if isinstance(step, (Repeat, RepeatWhile, Counted)):
        around = {step.var: 1} if isinstance(step, Repeat) and step.parallel else {}
        one_turn = total_cost(buffers, [(s, Tally(buffers, around)) for s in step.body])
        inside = _explained(step.body, one_turn.steps, buffers)
    lines = lines_of([step.loc, *[s.loc for s in body]])
    return StepExplanation(name, cost.read_bytes, cost.written_bytes, cost.operations, kind, lines, inside)


def kind_of(step: Any) -> str:
    """What a step is called."""
    return "branch" if isinstance(step, RepeatWhile) and step.once else KINDS[type(step)]


def lines_of(locs: Iterable[Loc]) -> tuple[str, ...]:
    """The user's lines in locations, transforms left out, by file and number.

    Examples
    --------
    >>> lines_of(["transpose(jvp(model.py:14))", "model.py:9", None, "model.py:14"])
    ('model.py:9', 'model.py:14')
    """
    found = {_PLACE.search(text) for text in {format_loc(loc) for loc in locs}}
    places = sorted({(m[1], int(m[2])) for m in found if m is not None})
    return tuple([f"{file}:{number}" for file, number in places])


def _with_depths(steps: Iterable[StepExplanation], depth: int = 0) -> Iterator[tuple[int, StepExplanation]]:
    """All steps, each with the number of those that it is in."""
    for step in steps:
        yield depth, step
        yield from _with_depths(step.inside, depth + 1)


# ---- how it is written


def format_bytes(count: int) -> str:
    """A number of bytes with its unit.

    >>> format_bytes(96), format_bytes(12_288), format_bytes(312_000), format_bytes(4_200_000_000)
    ('96 B', '12.3 kB', '312 kB', '4.2 GB')
    """
    return _scaled(count, (" B", " kB", " MB", " GB", " TB"))


def format_count(count: int) -> str:
    """A large number in few digits.

    >>> format_count(96), format_count(1_204_321)
    ('96', '1.2 M')
    """
    return _scaled(count, ("", " k", " M", " G", " T"))


def _scaled(count: int, units: Sequence[str]) -> str:
    if count < 1000:
        return f"{count}{units[0]}"
    value, power = float(count), 0
    while value >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g}{units[power]}"


def _many(count: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}{'es' if what.endswith('ch') else 's'}"
    return f"{count} {what if count == 1 else plural}"


def _lines_text(lines: Sequence[str]) -> str:
    """``model.py:9,14``, or at first ``model.py:9 layers.py:3``."""
    shown = list[str]()
    for line in lines[:_LINES_SHOWN]:
        file, _, number = line.rpartition(":")
        if shown and shown[-1].startswith(f"{file}:"):
            shown[-1] += f",{number}"
        else:
            shown.append(line)
    return " ".join(shown) + " ..." * (len(lines) > _LINES_SHOWN)


def _without_repetitions(rows: Sequence[list[str]]) -> Iterator[list[str]]:
    """The rows, the first alone of many in a row that differ in their first cell only."""
    for _, alike in groupby(rows, key=lambda row: row[1:]):
        first, *others = alike
        yield first
        if len(others) < _FEWEST_FOLDED:
            yield from others
        else:
            yield [f"  and {len(others)} more alike", *[""] * (len(first) - 1)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([c.ljust(w) for c, w in zip(row, widths, strict=True)]).rstrip() for row in rows]


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join([f'<{tag}>{escape(c)}</{tag}>' for c in cells])}</tr>"
