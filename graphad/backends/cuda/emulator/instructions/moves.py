"""Instructions that copy and choose: mov with packing and unpacking, selp, slct."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError
from graphad.backends.cuda.emulator.instructions.decoder import Decoder, Step, Values
from graphad.backends.cuda.emulator.instructions.opcodes import compute, opcode
from graphad.backends.cuda.emulator.machine.threads import Threads
from graphad.backends.cuda.emulator.ptx_types import TYPES, PtxType
from graphad.backends.cuda.emulator.syntax import Instruction

Array = np.ndarray[Any, np.dtype[Any]]


@opcode("selp")
def select(i: Instruction, d: Decoder) -> Step:
    """One of two values, by a predicate."""
    type_ = TYPES[f"b{i.type().bits}"]
    target, a, b, condition = i.operands
    slots = d.source(condition, TYPES["pred"]), d.source(a, type_), d.source(b, type_)
    return compute(np.where, d.target(target, type_), *slots)


@opcode("slct")
def select_by_sign(i: Instruction, d: Decoder) -> Step:
    """One of two values, by the sign of a third."""
    i.has("ftz")
    value, condition = i.type(0), i.type(1)
    target, a, b, c = i.operands
    slots = d.source(c, condition), d.source(a, value), d.source(b, value)
    return compute(lambda c, a, b: np.where(c >= 0, a, b), d.target(target, value), *slots)


@opcode("mov")
def move(i: Instruction, d: Decoder) -> Step:
    """A copy; registers in braces are the parts of a wider one."""
    type_ = i.type()
    if type_.kind != "pred":
        type_ = TYPES[f"b{type_.bits}"] if not type_.is_float else type_
    target, source = i.operands
    if source.startswith("{"):
        return _pack(d, type_, target, _parts(source))
    if target.startswith("{"):
        return _unpack(d, type_, _parts(target), source)
    slots = d.target(target, type_), d.source(source, type_)

    def step(values: Values, _: Threads) -> None:
        values[slots[0]][...] = values[slots[1]]

    return step


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.strip("{} ").split(",")]


def _part_type(type_: PtxType, count: int) -> PtxType:
    bits = type_.bits // count
    if count * bits != type_.bits or bits not in {8, 16, 32}:
        raise EmulatorError(f"cannot cut {type_.bits} bits into {count} parts")
    return TYPES[f"b{bits}"]


def _pack(d: Decoder, type_: PtxType, target: str, parts: list[str]) -> Step:
    part = _part_type(type_, len(parts))
    sources = [d.source(operand, part) for operand in parts]
    out = d.target(target, type_)

    def step(values: Values, _: Threads) -> None:
        destination = values[out]
        words = np.empty((len(destination), len(sources)), part.dtype)
        for column, source in enumerate(sources):
            words[:, column] = values[source]
        destination[...] = words.view(destination.dtype)[:, 0]

    return step


def _unpack(d: Decoder, type_: PtxType, parts: list[str], source: str) -> Step:
    part = _part_type(type_, len(parts))
    slot = d.source(source, type_)
    targets = [(column, d.target(operand, part)) for column, operand in enumerate(parts) if operand != "_"]

    def step(values: Values, _: Threads) -> None:
        words = np.atleast_1d(values[slot]).view(part.dtype).reshape(-1, len(parts)).copy()
        for column, target in targets:
            values[target][...] = words[:, column]

    return step
