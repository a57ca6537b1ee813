"""A kernel with the functions it calls, decoded into basic blocks of steps over slots, with storage for registers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError, Fault, locate
from graphad.backends.cuda.emulator.instructions import accesses, bits, conversions, floats, moves, warps
from graphad.backends.cuda.emulator.instructions.decoder import Block, Decoder, Layout, Step, Successor, Values
from graphad.backends.cuda.emulator.instructions.opcodes import DECODERS
from graphad.backends.cuda.emulator.machine.threads import Threads
from graphad.backends.cuda.emulator.ptx_types import TYPES
from graphad.backends.cuda.emulator.storage import Storage, assign
from graphad.backends.cuda.emulator.syntax import (
    BranchTargets,
    Function,
    Instruction,
    Label,
    Registers,
    Scope,
    Source,
    Statement,
    Variable,
)

OPCODE_MODULES = (accesses, bits, conversions, floats, moves, warps)
"""Imported for what they enter into the table of opcodes."""

ENDS = {"bra", "brx", "ret", "exit", "call", "trap"}
"""Opcodes after which another block begins."""


@dataclass(slots=True)
class Program:
    """The decoded kernel; execution begins with the block `entry`."""

    name: str
    blocks: list[Block]
    entry: int
    layout: Layout
    storage: Storage
    shared_bytes: int
    """Static shared memory."""
    waits: np.ndarray[Any, np.dtype[np.bool_]]
    """For each block, whether threads wait at its beginning."""


def decode(source: Source, kernel: Function) -> Program:
    """Decode a kernel and what it calls."""
    layout = Layout(source.variables)
    builder = _Builder(source, kernel, layout)
    entry = builder.function(kernel, [])
    blocks = builder.blocks
    for slot in layout.slots:
        if slot.kind == "shared":
            name, offset = slot.source
            start = layout.shared[name]
            if start is None:
                start = -(-layout.shared_bytes // 16) * 16
            slot.kind, slot.source = "constant", slot.dtype.type(start + offset)
    waits = np.array([bool(block.waits_for) for block in blocks])
    storage = assign(layout, blocks)
    return Program(kernel.name, blocks, entry, layout, storage, layout.shared_bytes, waits)


@dataclass(slots=True)
class _Piece:
    """Statements of a block before they are decoded."""

    statements: list[Statement] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skip: Instruction | None = None
    """The guarded instruction that the next block has alone: not executed where its guard does not hold."""
    begun: bool = False
    """Whether it has instructions, or copies the results of a call."""


def _cut(function: Function) -> tuple[list[_Piece], dict[str, list[str]]]:
    """Cut a body into basic blocks; returns the tables of indexed branches as well."""
    pieces: list[_Piece] = [_Piece()]
    tables: dict[str, list[str]] = {}

    def fresh() -> _Piece:
        if pieces[-1].begun:
            pieces.append(_Piece())
        return pieces[-1]

    for statement in function.body:
        if isinstance(statement, BranchTargets):
            tables[pieces[-1].labels[-1]] = statement.labels
        elif isinstance(statement, Label):
            fresh().labels.append(statement.name)
        elif not isinstance(statement, Instruction):
            pieces[-1].statements.append(statement)
        else:
            alone = bool(statement.guard) and statement.opcode != "bra"
            if alone:
                pieces[-1].skip, pieces[-1].begun = statement, True
            piece = fresh() if alone or statement.opcode in warps.SYNCHRONISING else pieces[-1]
            piece.statements.append(statement)
            piece.begun = True
            if alone or statement.opcode in ENDS:
                pieces.append(_Piece(begun=statement.opcode == "call"))
    return pieces, tables


class _Builder:
    """Collects the basic blocks of a kernel, after those of the functions it calls."""

    def __init__(self, source: Source, kernel: Function, layout: Layout) -> None:
        self.source = source
        self.kernel = kernel
        self.layout = layout
        self.blocks: list[Block] = []
        self.entries: dict[str, tuple[int, int, Decoder]] = {}
        """Of each function decoded: its first block, the register with the block to return to, its decoder."""

    def function(self, function: Function, callers: list[str]) -> int:
        """Decode a function after those that it calls; returns the index of its first block."""
        callers = [*callers, function.name]
        for statement in function.body:
            if isinstance(statement, Instruction) and statement.opcode == "call":
                name = _callee(statement)
                if name in callers:
                    raise locate("recursion is not supported", self.kernel.name, statement.line, statement.text)
                if name not in self.source.functions:
                    message = f"calls {name or 'through a register'}, which is no function of this module"
                    raise locate(message, self.kernel.name, statement.line, statement.text, statement.user_line)
                if name not in self.entries:
                    self.function(self.source.functions[name], callers)
        pieces, tables = _cut(function)
        entry = len(self.blocks)
        back = self.layout.register(np.dtype(np.int32))
        decoder = Decoder(self.layout, self.kernel, function)
        self.entries[function.name] = entry, back, decoder
        labels: dict[str, int] = {}
        for index, piece in enumerate(pieces):
            for label in piece.labels:
                if labels.setdefault(label, entry + index) != entry + index:
                    raise EmulatorError(f"function {function.name}: the label {label} is there twice.")
        body = _Body(self, decoder, labels, tables, None if function.is_kernel else back)
        for piece in pieces:
            self.blocks.append(body.block(piece, len(self.blocks)))
        return entry


def _callee(call: Instruction) -> str:
    names = [operand for operand in call.operands if not operand.startswith("(")]
    return names[0] if names and not names[0].startswith("%") else ""


EXIT = 1 << 30
"""Successor of what ends a thread."""


class _Body:
    """Decodes the blocks of one function."""

    def __init__(
        self,
        builder: _Builder,
        decoder: Decoder,
        labels: dict[str, int],
        tables: dict[str, list[str]],
        back: int | None,
    ) -> None:
        self.builder = builder
        self.decoder = decoder
        self.labels = labels
        self.tables = tables
        self.back = back
        self.results: tuple[Instruction, Step] | None = None
        """A call, and what copies its results in the next block."""

    def block(self, piece: _Piece, index: int) -> Block:
        decoder = self.decoder
        block = decoder.block = Block()
        if self.results is not None:
            self.add(block, self.results[1], self.results[0])
            self.results = None
        block.successor = _goto(index + 1)
        for statement in piece.statements:
            match statement:
                case Registers() | Variable():
                    decoder.declare(statement)
                case Scope(opens=opens):
                    decoder.open_scope() if opens else decoder.close_scope()
                case Instruction():
                    self.instruction(statement, block, index)
                case _:
                    pass
        if piece.skip is not None:
            self.skip(block, piece.skip, index)
        return block

    def instruction(self, i: Instruction, block: Block, index: int) -> None:
        try:
            if i.opcode in ENDS:
                i.unread -= {"uni", "idx"}
                block.successor, block.end = self.end(i, index), i
                self.note_accesses(block)
            elif i.opcode in DECODERS:
                self.add(block, DECODERS[i.opcode](i, self.decoder), i)
            else:
                raise EmulatorError("the emulator does not know this instruction")
            if i.unread:
                raise EmulatorError(f"is not supported with .{', .'.join(sorted(i.unread))}")
        except EmulatorError as error:
            raise self.located(error, i) from None
        except ValueError:
            raise self.located(EmulatorError("has another number of operands than it needs"), i) from None
        block.length += 1

    def located(self, error: EmulatorError, i: Instruction) -> EmulatorError:
        return locate(str(error), self.builder.kernel.name, i.line, i.text, i.user_line)

    def add(self, block: Block, step: Step, i: Instruction) -> None:
        """Append a step."""
        block.steps.append(step)
        block.instructions.append(i)
        self.note_accesses(block)

    def note_accesses(self, block: Block) -> None:
        """Record the registers that were used since the last call."""
        block.accesses.append((self.decoder.reads, self.decoder.writes))
        self.decoder.reads, self.decoder.writes = [], []

    def skip(self, block: Block, i: Instruction, index: int) -> None:
        """Skip the next block, which is one instruction, if its guard does not hold."""
        try:
            condition = self.decoder.source(i.guard, TYPES["pred"])
        except EmulatorError as error:
            raise self.located(error, i) from None
        block.successor = _branch(condition, i.negated, index + 1, index + 2)
        self.note_accesses(block)

    def end(self, i: Instruction, index: int) -> Successor:
        """Decode an instruction of `ENDS`."""
        match i.opcode:
            case "bra":
                target = self.label(i.operands[0])
                if not i.guard:
                    return _goto(target)
                return _branch(self.decoder.source(i.guard, TYPES["pred"]), i.negated, target, index + 1)
            case "brx":
                return self.indexed(i)
            case "ret" if self.back is not None:
                slot = self.builder.layout.slot("register", self.back, np.dtype(np.int32))
                self.decoder.reads.append(self.back)
                self.decoder.note(slot)
                return lambda values, threads: values[slot].copy()
            case "call":
                return self.call(i, index)
            case "trap":
                return _trap
            case _:
                return _goto(EXIT)

    def label(self, name: str) -> int:
        if name not in self.labels:
            raise EmulatorError(f"branches to {name}, which is no label of this function")
        return self.labels[name]

    def indexed(self, i: Instruction) -> Successor:
        operand, table = i.operands
        if table not in self.tables:
            raise EmulatorError(f"has no table of targets {table}")
        targets = np.array([self.label(name) for name in self.tables[table]])
        slot = self.decoder.source(operand, TYPES["u32"])
        return lambda values, threads: targets[np.minimum(values[slot], len(targets) - 1)]

    def call(self, i: Instruction, index: int) -> Successor:
        """Copy the arguments, save the return address, and jump to the function."""
        lists = [operand[1:-1] for operand in i.operands if operand.startswith("(")]
        name = _callee(i)
        function = self.builder.source.functions[name]
        entry, back, callee = self.builder.entries[name]
        expected = [variables for variables in (function.results, function.parameters) if variables]
        given = [[part.strip() for part in text.split(",")] for text in lists if text.strip()]
        if [len(names) for names in given] != [len(variables) for variables in expected]:
            raise EmulatorError(f"has other arguments than {name} takes")
        copies: dict[str, list[tuple[int, int, int]]] = {"in": [], "out": []}
        for names, variables in zip(given, expected, strict=True):
            for text, variable in zip(names, variables, strict=True):
                mine = self.decoder.names.get(text)
                if not isinstance(mine, Variable) or mine.nbytes != variable.nbytes:
                    raise EmulatorError(f"passes {text}, which is no .param variable of the size that {name} takes")
                offsets = self.decoder.local[id(mine)], callee.local[id(variable)]
                if variables is function.results:
                    copies["out"].append((offsets[0], offsets[1], mine.nbytes))
                else:
                    copies["in"].append((offsets[1], offsets[0], mine.nbytes))
        self.results = i, _copy(copies["out"])
        copy = _copy(copies["in"])
        slot = self.builder.layout.slot("register", back, np.dtype(np.int32))
        self.decoder.writes.append(back)
        self.decoder.note(slot)

        def successor(values: Values, threads: Threads) -> int:
            copy(values, threads)
            values[slot][...] = index + 1
            return entry

        return successor


def _goto(index: int) -> Successor:
    return lambda values, threads: index


def _branch(slot: int, negated: bool, target: int, otherwise: int) -> Successor:
    if negated:
        target, otherwise = otherwise, target

    def successor(values: Values, threads: Threads) -> Any:
        holds = values[slot]
        count = np.count_nonzero(holds)
        if count == 0:
            return otherwise
        return target if count == holds.size else np.where(holds, target, otherwise)

    return successor


def _trap(values: Values, threads: Threads) -> Any:
    raise Fault("the kernel gives up here", 0)


def _copy(copies: list[tuple[int, int, int]]) -> Step:
    """Copies between parameters of functions, which are in local memory."""

    def step(values: Values, threads: Threads) -> None:
        launch = threads.launch
        rows = launch.local.data.reshape(-1, launch.local_stride)
        for target, source, size in copies:
            rows[threads.position, target : target + size] = rows[threads.position, source : source + size]

    return step
