"""What a program is at run time, as plain data: it is kept on disk, and entered by nothing else.

An `Artifact` is made by a compiler and read by a loader. It knows what the program takes, gives and calls; the names
and lines of the user's program are those of the graph at hand, and so are not in it. Elementary functions and
routines are artifacts too, without inputs and outputs. On disk, it is a line of JSON and the code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from graphad.backends.outcome import GuardOutput, PrintOutput
from graphad.ir.params import parse_aval
from graphad.ir.types import Aval, format_literal, parse_literal


def symbol_of(program: str) -> str:
    """The linker's name of a program."""
    return f"ga_{program}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Code, and what it takes to load and to enter it.

    Attributes
    ----------
    code
        An object file for one kind of machine. It exports ``symbol``, and maybe others.
    exports
        The others.
    functions
        The elementary functions that the code calls by name, to be found by the loader.
    routines
        The external routines whose addresses the program expects in its table, behind the arena, in this order.
    inputs, outputs
        The types of the buffers in its table. The first ``results`` outputs are those of the graph; then come
        predicates of guards and operands of prints.
    guards, prints
        What the further outputs mean; without places in the user's program.
    arena_bytes
        Memory for temporaries that a run needs.
    callbacks
        The types of the functions of the host that the program calls, by number. The functions are those of the graph
        at hand.
    """

    code: bytes
    symbol: str
    exports: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    routines: tuple[str, ...] = ()
    inputs: tuple[Aval, ...] = ()
    outputs: tuple[Aval, ...] = ()
    results: int = 0
    guards: tuple[GuardOutput, ...] = ()
    prints: tuple[PrintOutput, ...] = ()
    arena_bytes: int = 0
    callbacks: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """For the disk."""
        head = {
            "symbol": self.symbol,
            "exports": self.exports,
            "functions": self.functions,
            "routines": self.routines,
            "inputs": [repr(a) for a in self.inputs],
            "outputs": [repr(a) for a in self.outputs],
            "results": self.results,
            "guards": [(g.output, format_literal(g.expected)) for g in self.guards],
            "prints": [(p.fmt, p.batch_axes, p.outputs) for p in self.prints],
            "arena_bytes": self.arena_bytes,
            "callbacks": self.callbacks,
        }
        return json.dumps(head).encode() + b"\n" + self.code

    @staticmethod
    def from_bytes(data: bytes) -> Artifact:
        """What `to_bytes` wrote. Any error says that it was something else."""
        text, _, code = data.partition(b"\n")
        head = json.loads(text)
        return Artifact(
            code,
            head["symbol"],
            tuple(head["exports"]),
            tuple(head["functions"]),
            tuple(head["routines"]),
            tuple(map(parse_aval, head["inputs"])),
            tuple(map(parse_aval, head["outputs"])),
            head["results"],
            tuple([GuardOutput(output, parse_literal(expected)) for output, expected in head["guards"]]),
            tuple([PrintOutput(fmt, batch_axes, tuple(outputs)) for fmt, batch_axes, outputs in head["prints"]]),
            head["arena_bytes"],
            tuple(head["callbacks"]),
        )
