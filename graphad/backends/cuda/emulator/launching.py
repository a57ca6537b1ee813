"""Modules, their kernels, and launches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from weakref import finalize

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError
from graphad.backends.cuda.emulator.instructions.decoder import Values, parameter_offset
from graphad.backends.cuda.emulator.interpreter import execute
from graphad.backends.cuda.emulator.machine.memory import Memory
from graphad.backends.cuda.emulator.machine.state import LaunchState, Size
from graphad.backends.cuda.emulator.program import Program, decode
from graphad.backends.cuda.emulator.ptx_types import BITS, literal
from graphad.backends.cuda.emulator.syntax import Function, Registers, Source, Variable, parse
from graphad.backends.cuda.ptx.occupancy import MULTIPROCESSORS

Array = np.ndarray[Any, np.dtype[Any]]

MOST_THREADS = 1024
MOST_STATIC_SHARED_BYTES = 48 * 1024
# Bytes of parameters, until and from version 8.1 of PTX ("Kernel Function Parameters" of the PTX ISA).
_MOST_PARAMETERS = {False: 4352, True: 32764}
_VERSION = re.compile(r"^\s*\.version\s+(\d+)\.(\d+)", re.MULTILINE)
_TARGET = re.compile(r"^\s*\.target\s+(sm_\d+)", re.MULTILINE)
_MOST_GRID = (2**31 - 1, 65535, 65535)
_MOST_BLOCK = (1024, 1024, 64)


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """One kernel of a module."""

    name: str
    parameters: tuple[str, ...]
    """Types of the parameters, as PTX names them."""
    shared_bytes: int
    """Static shared memory."""
    registers: int
    """Registers that the text declares; the assembler needs other numbers of them."""
    module: Module
    function: Function
    program: Program


@dataclass(frozen=True, slots=True)
class LaunchReport:
    """What a launch did."""

    instructions: int
    """Instructions executed, each counted for each thread."""
    global_read_bytes: int
    global_written_bytes: int
    """Bytes moved by all threads."""
    read_transactions: int
    write_transactions: int
    """Sectors of 32 bytes that warps touched, counted for each access of a warp: few are coalesced accesses."""
    distinct_read_bytes: int
    distinct_written_bytes: int
    """Bytes of global memory touched at all."""
    barriers: int
    """Barriers passed by blocks."""
    atomics: int
    """Atomic updates by threads."""


class Module:
    """A text of PTX, read and decoded once.

    Raises
    ------
    EmulatorError
        At text that is no PTX, and at instructions that the emulator does not know.
    """

    def __init__(self, ptx_text: str) -> None:
        self.source: Source = parse(ptx_text)
        self.most_shared, self.most_parameters = _limits(ptx_text)
        self.kernels: dict[str, Kernel] = {}
        for function in self.source.functions.values():
            if function.is_kernel:
                self.kernels[function.name] = self._kernel(function)

    def _kernel(self, function: Function) -> Kernel:
        program = decode(self.source, function)
        types = tuple(p.type.name if p.count == 1 else f"{p.type.name}[{p.count}]" for p in function.parameters)
        registers = sum(len(part.names) for part in function.body if isinstance(part, Registers))
        for what, size, most in (
            ("bytes of parameters", parameter_offset(function.parameters, None), self.most_parameters),
            ("bytes of static shared memory", program.shared_bytes, MOST_STATIC_SHARED_BYTES),
        ):
            if size > most:
                raise EmulatorError(f"kernel {function.name} has {size:,} {what}; the most is {most:,}.")
        return Kernel(function.name, types, program.shared_bytes, registers, self, function, program)

    def addresses(self, memory: Memory) -> dict[str, int]:
        """Where the module's variables lie in a memory; they are written there at the first launch."""
        found = memory.modules.get(self)
        if found is None:
            variables = [v for v in self.source.variables.values() if v.space in {"global", "const"}]
            memory.free_unused()
            found = memory.modules[self] = {v.name: memory.allocate(v.nbytes) for v in variables}
            finalize(self, memory.unused.extend, list(found.values()))
            for variable in variables:
                memory.view(found[variable.name], variable.nbytes)[:] = _initial(variable, found)
        return found


def _limits(ptx_text: str) -> tuple[int, int]:
    """The most bytes of shared memory of a block, and of parameters of a kernel, for what a module says it is for."""
    target, version = _TARGET.search(ptx_text), _VERSION.search(ptx_text)
    known = MULTIPROCESSORS.get(target[1]) if target else None
    shared = max([m.shared_bytes - m.shared_reserved for m in ([known] if known else MULTIPROCESSORS.values())])
    is_new = version is None or (int(version[1]), int(version[2])) >= (8, 1)
    return shared, _MOST_PARAMETERS[is_new]


_ADDRESS_OF = re.compile(r"(?:generic\(\s*)?([A-Za-z_$%][\w$]*)\s*\)?\s*(?:\+\s*(\d+))?\)?")


def _initial(variable: Variable, addresses: dict[str, int]) -> Array:
    """The initial bytes of a variable; zeros by default."""
    type_ = variable.type
    data = np.zeros(variable.count or 0, type_.dtype)
    text = variable.initial.replace("{", " ").replace("}", " ").strip()
    for index, part in enumerate(text.split(",") if text else ()):
        value = literal(part.strip(), type_)
        if value is None:
            match = _ADDRESS_OF.fullmatch(part.strip())
            if match is None or match[1] not in addresses or type_.bits != 64:
                raise EmulatorError(f"the variable {variable.name} begins with {part.strip()}, which is not supported")
            value = type_.dtype.type(addresses[match[1]] + int(match[2] or 0))
        data[index] = value
    return data.view(np.uint8)


def launch(
    kernel: Kernel,
    memory: Memory,
    grid: Size,
    block: Size,
    shared_bytes: int,
    arguments: tuple[int | float, ...],
    *,
    checks: bool = True,
) -> LaunchReport:
    """Run a kernel.

    Parameters
    ----------
    kernel
        Of a `Module`.
    memory
        The memory that its addresses refer to.
    grid, block
        Blocks in the grid and threads in a block, in three dimensions.
    shared_bytes
        Dynamic shared memory of each block.
    arguments
        A number for each parameter; addresses are ints.
    checks
        Look for data races. Accesses out of bounds, misaligned accesses and barriers are always checked.

    Raises
    ------
    EmulatorError
        At the first error, with the place.
    """
    program = kernel.program
    _check_sizes(kernel, grid, block, shared_bytes)
    parameters = _pack(kernel, arguments)
    shared = -(-program.shared_bytes // 16) * 16 + shared_bytes if shared_bytes else program.shared_bytes
    sizes = shared, shared_bytes, program.layout.local_bytes
    state = LaunchState(kernel.name, memory, grid, block, parameters, sizes, checks=checks)
    execute(program, state, _template(kernel, memory))
    counters = state.counters
    shadows = [shadow for region, shadow in state.shadows.values() if region is not state.shared]
    return LaunchReport(
        counters.instructions,
        counters.global_read_bytes,
        counters.global_written_bytes,
        counters.read_transactions,
        counters.write_transactions,
        sum(shadow.bytes_read() for shadow in shadows),
        sum(shadow.bytes_written() for shadow in shadows),
        counters.barriers,
        counters.atomics,
    )


def _template(kernel: Kernel, memory: Memory) -> Values:
    """The values of the slots that are the same for all threads."""
    storage = kernel.program.storage
    values: Values = [None] * len(kernel.program.layout.slots)
    for slot, value in storage.constants:
        values[slot] = value
    addresses = kernel.module.addresses(memory) if storage.addresses else {}
    for slot, name, offset, dtype in storage.addresses:
        values[slot] = dtype.type(addresses[name] + offset)
    return values


def _pack(kernel: Kernel, arguments: tuple[int | float, ...]) -> Array:
    """The arguments as bytes, as kernels read them."""
    parameters = kernel.function.parameters
    if len(arguments) != len(parameters):
        raise EmulatorError(f"kernel {kernel.name} takes {len(parameters)} arguments, not {len(arguments)}.")
    data = np.zeros(parameter_offset(parameters, None), np.uint8)
    for parameter, argument in zip(parameters, arguments, strict=True):
        type_ = parameter.type
        if parameter.count != 1:
            raise EmulatorError(f"kernel {kernel.name}: the parameter {parameter.name} is no number.")
        if type_.kind == "float":
            value = np.array([argument]).astype(type_.dtype)
        else:
            if not hasattr(argument, "__index__") or not -(1 << type_.bits - 1) <= int(argument) < 1 << type_.bits:
                raise EmulatorError(f"kernel {kernel.name}: {argument!r} is no {type_.name} for {parameter.name}.")
            value = np.array([int(argument) & ((1 << type_.bits) - 1)], BITS[type_.nbytes])
        start = parameter_offset(parameters, parameter)
        data[start : start + type_.nbytes] = value.view(np.uint8)
    return data


def _check_sizes(kernel: Kernel, grid: Size, block: Size, shared_bytes: int) -> None:
    """Refuse what a driver would refuse."""
    threads, function = block[0] * block[1] * block[2], kernel.function
    most = function.most_threads or MOST_THREADS
    problem = ""
    if not all(1 <= size <= limit for size, limit in zip(grid, _MOST_GRID, strict=True)):
        problem = f"a grid of {grid}; the most is {_MOST_GRID}, the least 1"
    elif not all(1 <= size <= limit for size, limit in zip(block, _MOST_BLOCK, strict=True)) or threads > most:
        problem = f"blocks of {block}; the most is {_MOST_BLOCK} and {most} threads in all, the least 1"
    elif function.required_block not in {None, block}:
        problem = f"blocks of {block}; the kernel is for blocks of {function.required_block}"
    elif kernel.shared_bytes + shared_bytes > kernel.module.most_shared or shared_bytes < 0:
        problem = (
            f"{kernel.shared_bytes + shared_bytes} bytes of shared memory; the most is {kernel.module.most_shared}"
        )
    if problem:
        raise EmulatorError(f"kernel {kernel.name} cannot be launched with {problem}.")
