"""What a loop, a branch or a routine is in a flat program: one call, of which several values come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Literal as OneOf

from graphad.backends.loops.ir import Statement
from graphad.backends.lower.definitions import Definition, FlatProgram
from graphad.ir.graph import Atom
from graphad.ir.types import Aval, DType


@dataclass(slots=True, eq=False)
class Statements:
    """A loop or branch of scalar arithmetic, with all that is inside: statements over buffers that stand in for others.

    ``operands`` says which value each of the first lies in; then come results and temporaries, by dtype and size.
    """

    operands: dict[str, int]
    results: tuple[str, ...]
    temporaries: dict[str, tuple[Aval, bool]]  # with whether it is private
    body: tuple[Statement, ...]


@dataclass(slots=True, eq=False)
class Part:
    """A region of a loop of steps: a program of its own; where its inputs and outputs lie is said where it is used.

    ``plan`` is its `Plan` once there is one.
    """

    flat: FlatProgram
    inputs: tuple[Place, ...]
    plan: Any = None


@dataclass(slots=True, eq=False)
class Place:
    """What an input of a `Part` is: a value from outside, a slice of one, or carried value number ``value``."""

    kind: OneOf["whole", "slice", "carried"]
    value: int
    offset: int = 0
    stride: int = 0


@dataclass(slots=True, eq=False)
class Turns:
    """A loop of a known number of turns, made of steps: ``starts`` are the values that it begins with."""

    extent: int
    reverse: bool
    starts: tuple[int, ...]
    body: Part


@dataclass(slots=True, eq=False)
class TurnsWhile:
    """A loop that ends when its test says so, made of steps; the test takes what is carried."""

    starts: tuple[int, ...]
    test: Part
    body: Part


@dataclass(slots=True, eq=False)
class Branches:
    """Parts of which one runs: that whose value among ``conditions`` holds. All fill the same results."""

    conditions: tuple[int, ...]
    parts: tuple[Part, ...]
    results: tuple[tuple[int | None, ...], ...]  # per result: the output of each part that it is, if any


@dataclass(slots=True, eq=False)
class CountedPart:
    """A region in which `EXTENT` stands for the number ``count``; ``inside`` are its statements or steps."""

    count: int
    inside: Statements | Part


@dataclass(slots=True, eq=False)
class LibraryCall:
    """A call of a routine, for elements of ``dtype``, which works in buffers of the types ``workspace`` besides."""

    routine: str
    dtype: DType
    inputs: tuple[int, ...]
    workspace: tuple[Aval, ...]
    sizes: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Call:
    """A routine, or an equation with regions that are not inlined: several values come out of one step.

    ``reads`` are the values that it needs in buffers, ``values`` its results.
    """

    what: Statements | Turns | TurnsWhile | Branches | CountedPart | LibraryCall
    reads: tuple[int, ...]
    values: list[int]


@dataclass(slots=True, eq=False)
class ResultValue(Definition):
    """Result ``number`` of a call."""

    call: Call
    number: int

    @property
    def operands(self) -> tuple[Atom, ...]:
        return self.call.reads
