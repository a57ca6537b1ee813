"""From operands to slots: where an instruction, decoded once, finds its operands in every launch.

A *slot* is an index into the list of values that each step gets. A value is an array with one element per thread,
viewed in the type that the instruction wants, or a NumPy scalar if the operand is a literal or an address. A register
has a slot for each type in which it is used; all are views of the same storage.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError
from graphad.backends.cuda.emulator.machine.threads import SPECIAL, Threads
from graphad.backends.cuda.emulator.ptx_types import BITS, TYPES, PtxType, integer_literal, literal
from graphad.backends.cuda.emulator.syntax import Function, Instruction, Registers, Variable

Values = list[Any]
Step = Callable[[Values, Threads], None]
"""What an instruction does to the values of the threads that execute it."""

Successor = Callable[[Values, Threads], Any]
"""What a block does at its end: the index of the next one, or an array of one index a thread."""


@dataclass(slots=True)
class Slot:
    """The source of a slot's values."""

    kind: str
    """register, constant, special, shared (an address) or global (an address)."""
    source: Any
    """Number of the register, the scalar, or a name."""
    dtype: np.dtype[Any]


@dataclass(slots=True)
class Block:
    """A basic block."""

    steps: list[Step] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    """One for each step, for error messages."""
    accesses: list[tuple[list[int], list[int]]] = field(default_factory=list)
    """Registers that each step, and at last the successor, read and write."""
    slots: set[int] = field(default_factory=set)
    successor: Successor = lambda values, threads: 0
    end: Instruction | None = None
    length: int = 0
    """Instructions that count as executed."""
    waits_for: str = ""
    """Who must arrive before the first instruction is executed: warp or block."""
    mask: int = -1
    """Slot of the lanes that a warp's instruction names."""
    barrier: tuple[int, int | None] = (0, None)
    """Number of the barrier and of the threads it waits for, None for the whole block."""


_ADDRESS = re.compile(r"\[\s*([\w$%.]+)\s*(?:\+\s*(-?\w+))?\s*\]")
_SYMBOL = re.compile(r"([\w$%.]+?)\s*(?:\+\s*(-?\w+))?")


class Layout:
    """What the functions of one kernel share: registers, slots, and the addresses of variables."""

    def __init__(self, variables: dict[str, Variable]) -> None:
        self.variables = variables
        self.registers: list[np.dtype[Any]] = []
        self.slots: list[Slot] = []
        self.found: dict[tuple[Any, ...], int] = {}
        self.local_bytes = 0
        self.shared: dict[str, int | None] = {}
        """Offsets of shared variables; None for what comes behind all others."""
        self.shared_bytes = 0

    def register(self, dtype: np.dtype[Any]) -> int:
        """A new register."""
        self.registers.append(dtype)
        return len(self.registers) - 1

    def slot(self, kind: str, source: Any, dtype: np.dtype[Any], key: Any = None) -> int:
        """The slot of a value."""
        name = (kind, source if key is None else key, dtype)
        number = self.found.get(name)
        if number is None:
            number = self.found[name] = len(self.slots)
            self.slots.append(Slot(kind, source, dtype))
        return number

    def place_local(self, variable: Variable) -> int:
        """Allocate a variable in each thread's local memory."""
        offset = -(-self.local_bytes // variable.align) * variable.align
        self.local_bytes = offset + variable.nbytes
        return offset

    def place_shared(self, variable: Variable) -> None:
        """Allocate a variable in the block's shared memory."""
        if variable.name in self.shared:
            return
        if variable.count is None:
            self.shared[variable.name] = None
            return
        offset = -(-self.shared_bytes // variable.align) * variable.align
        self.shared[variable.name] = offset
        self.shared_bytes = offset + variable.nbytes


class Decoder:
    """Decodes the operands of one function's instructions."""

    def __init__(self, layout: Layout, kernel: Function, function: Function) -> None:
        self.layout = layout
        self.kernel = kernel
        self.function = function
        self.names: dict[str, int | Variable] = {}
        self.outer: list[dict[str, int | Variable]] = []
        self.local: dict[int, int] = {}
        """Offsets of variables in the thread's memory, by identity: names come again in other scopes."""
        self.block = Block()
        self.reads: list[int] = []
        self.writes: list[int] = []
        for variable in function.parameters + function.results:
            self.declare(variable)

    def declare(self, statement: Registers | Variable) -> None:
        """Enter a declaration into the scope."""
        if isinstance(statement, Registers):
            for name in statement.names:
                self.names[name] = self.layout.register(statement.type.dtype)
            return
        self.names[statement.name] = statement
        if statement.space == "shared":
            self.layout.place_shared(statement)
        elif statement.space == "local" or (statement.space == "param" and not self.is_kernel_parameter(statement)):
            self.local[id(statement)] = self.layout.place_local(statement)
        elif statement.space in {"global", "const"}:
            raise EmulatorError(f"declares {statement.name} inside a function, which is not supported")

    def is_kernel_parameter(self, variable: Variable) -> bool:
        """Whether a variable is a parameter of the launch rather than of a call."""
        return self.function.is_kernel and any(variable is parameter for parameter in self.function.parameters)

    def open_scope(self) -> None:
        self.outer.append(self.names)
        self.names = dict(self.names)

    def close_scope(self) -> None:
        self.names = self.outer.pop()

    def source(self, text: str, type_: PtxType, *, wider: bool = False) -> int:
        """Slot of an operand that is read; with `wider`, a wider register is allowed, and its low bits are read."""
        register = self.names.get(text)
        if isinstance(register, int):
            self.reads.append(register)
            return self.register_slot(register, type_.dtype, text, wider)
        value = literal(text, type_)
        if value is not None:
            return self.constant(value)
        if text in SPECIAL:
            return self.note(self.layout.slot("special", text, type_.dtype))
        return self.symbol(text, type_)

    def target(self, text: str, type_: PtxType, *, wider: bool = False) -> int:
        """Slot of the register that is written; with `wider`, it may be wider: the value is sign- or zero-extended."""
        if text == "_":
            register = self.layout.register(type_.dtype)
        else:
            found = self.names.get(text)
            if not isinstance(found, int):
                raise EmulatorError(f"writes {text}, which is not a register declared before")
            register = found
        self.writes.append(register)
        dtype = type_.dtype
        size = self.layout.registers[register].itemsize
        if wider and size > dtype.itemsize and dtype.kind in "iu":
            dtype = np.dtype(f"{dtype.kind}{size}")
        return self.register_slot(register, dtype, text, wider)

    def temporary(self, dtype: np.dtype[Any], name: str) -> int:
        """Slot of a register that the program does not declare; ``name`` stands for it in all instructions."""
        register = self.names.get(name)
        if not isinstance(register, int):
            register = self.layout.register(dtype)
            for scope in (*self.outer, self.names):
                scope[name] = register
        self.reads.append(register)
        self.writes.append(register)
        return self.register_slot(register, dtype, name, wider=False)

    def register_slot(self, register: int, dtype: np.dtype[Any], text: str, wider: bool) -> int:
        own = self.layout.registers[register]
        fits = own.itemsize == dtype.itemsize or (wider and own.itemsize > dtype.itemsize)
        if not fits or (own.kind == "b") != (dtype.kind == "b"):
            raise EmulatorError(f"does not take the register {text}, which is {_size(own)}, as {_size(dtype)}")
        return self.note(self.layout.slot("register", register, dtype))

    def constant(self, value: Any) -> int:
        """Slot of a number."""
        return self.note(self.layout.slot("constant", value, value.dtype, key=value.tobytes()))

    def note(self, slot: int) -> int:
        self.block.slots.add(slot)
        return slot

    def symbol(self, text: str, type_: PtxType) -> int:
        """Slot of the address of a variable, ``table+8``."""
        match = _SYMBOL.fullmatch(text)
        variable = None
        if match:
            variable = self.names.get(match[1], self.layout.variables.get(match[1]))
        if match is None or not isinstance(variable, Variable):
            raise EmulatorError(f"has the operand {text}, which is no register, literal or variable declared before")
        offset = (integer_literal(match[2]) or 0) if match[2] else 0
        dtype = BITS[type_.nbytes]
        if id(variable) in self.local:
            return self.constant(dtype.type(self.local[id(variable)] + offset))
        if variable.space == "shared":
            self.layout.place_shared(variable)
            return self.note(self.layout.slot("shared", (variable.name, offset), dtype))
        if variable.space in {"global", "const"}:
            return self.note(self.layout.slot("global", (variable.name, offset), dtype))
        if self.is_kernel_parameter(variable):
            return self.constant(dtype.type(parameter_offset(self.kernel.parameters, variable) + offset))
        raise EmulatorError(f"takes the address of {text}, which is not supported")

    def address(self, text: str) -> tuple[int, int]:
        """Slot of the base of ``[base+offset]``, and the offset."""
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise EmulatorError(f"has the address {text}, which is not supported")
        base = match[1]
        offset = (integer_literal(match[2]) or 0) if match[2] else 0
        register = self.names.get(base)
        if isinstance(register, int):
            bits = 8 * self.layout.registers[register].itemsize
            return self.source(base, TYPES["u32" if bits == 32 else "u64"]), offset
        return self.source(base, TYPES["u64"]), offset

    def is_register(self, text: str) -> bool:
        """Whether ``[base+offset]`` is relative to what a register holds."""
        match = _ADDRESS.fullmatch(text)
        return match is not None and isinstance(self.names.get(match[1]), int)

    def parameter(self, text: str) -> tuple[Variable, int]:
        """The parameter of the launch in which ``[name+offset]`` lies, and the offset within it."""
        match = _ADDRESS.fullmatch(text)
        variable = self.names.get(match[1]) if match else None
        if match is None or not isinstance(variable, Variable) or variable.space != "param":
            raise EmulatorError(f"reads {text}, which is no parameter")
        return variable, (integer_literal(match[2]) or 0) if match[2] else 0


def parameter_offset(parameters: list[Variable], variable: Variable | None) -> int:
    """The offset of a parameter among those of the launch; without a parameter, the size of all of them."""
    offset = 0
    for parameter in parameters:
        offset = -(-offset // parameter.align) * parameter.align
        if parameter is variable:
            return offset
        offset += parameter.nbytes
    return offset


def _size(dtype: np.dtype[Any]) -> str:
    return "a predicate" if dtype.kind == "b" else f"{8 * dtype.itemsize} bits wide"
