"""The table of instructions: the decoder of each opcode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphad.backends.cuda.emulator.instructions.decoder import Decoder, Step
from graphad.backends.cuda.emulator.syntax import Instruction

Decode = Callable[[Instruction, Decoder], Step]

DECODERS: dict[str, Decode] = {}
"""What decodes each opcode, filled by the modules `integers`, `floats`, `conversions`, `accesses` and `warps`."""


def opcode(*names: str) -> Callable[[Decode], Decode]:
    """Enter a decoder under the `names` of its opcodes."""

    def enter(decode: Decode) -> Decode:
        for name in names:
            DECODERS[name] = decode
        return decode

    return enter


def compute(function: Callable[..., Any], target: int, *sources: int) -> Step:
    """The step that computes a register by a function of arrays."""
    if len(sources) == 1:
        (a,) = sources

        def unary(values: list[Any], _: Any) -> None:
            values[target][...] = function(values[a])

        return unary
    if len(sources) == 2:
        a, b = sources

        def binary(values: list[Any], _: Any) -> None:
            values[target][...] = function(values[a], values[b])

        return binary

    def general(values: list[Any], _: Any) -> None:
        values[target][...] = function(*[values[source] for source in sources])

    return general


def compute_into(ufunc: Any, target: int, *sources: int) -> Step:
    """The step that computes a register by a ufunc of NumPy, in place."""
    if len(sources) == 1:
        (a,) = sources

        def unary(values: list[Any], _: Any) -> None:
            ufunc(values[a], values[target])

        return unary
    a, b = sources

    def binary(values: list[Any], _: Any) -> None:
        ufunc(values[a], values[b], out=values[target])

    return binary
