"""Instructions that access memory: ld, st, atom, red, and what orders them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError, Fault
from graphad.backends.cuda.emulator.instructions import rounding
from graphad.backends.cuda.emulator.instructions.decoder import Decoder, Step, Values, parameter_offset
from graphad.backends.cuda.emulator.instructions.formats import lifted
from graphad.backends.cuda.emulator.instructions.opcodes import opcode
from graphad.backends.cuda.emulator.machine.threads import Threads
from graphad.backends.cuda.emulator.ptx_types import BITS, TYPES, PtxType
from graphad.backends.cuda.emulator.syntax import Instruction, Variable

Array = np.ndarray[Any, np.dtype[Any]]

_SUMS_ARE_NORMAL = 2.0**-100
_SPACES = ("global", "shared", "local", "const", "param")
_WITHOUT_EFFECT = {
    "weak", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "cta", "cluster", "gpu", "sys", "unified",
    "L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
    "L2::64B", "L2::128B", "L2::256B", "L2::evict_last", "L2::evict_normal", "L2::evict_first",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Access:
    """The qualifiers of an access to memory."""

    space: str
    strong: bool
    """Whether others may make such accesses at the same time."""
    releases: bool
    acquires: bool

    def ordered(self, step: Step) -> Step:
        """The step, with the fences that acquire and release imply."""
        if not (self.releases or self.acquires):
            return step

        def fenced(values: Values, threads: Threads) -> None:
            if self.releases:
                threads.launch.order.fence(threads)
            step(values, threads)
            if self.acquires:
                threads.launch.order.fence(threads)

        return fenced


def _qualifiers(i: Instruction) -> _Access:
    i.unread -= _WITHOUT_EFFECT
    if i.has("shared::cta"):
        space = "shared"
    else:
        space = i.one_of(*_SPACES, default="generic")
    both = i.has("acq_rel")
    releases, acquires = i.has("release") or both, i.has("acquire") or both
    strong = any([i.has(name) for name in ("volatile", "relaxed", "mmio")])
    return _Access("global" if space == "const" else space, strong or releases or acquires, releases, acquires)


def _columns(i: Instruction, operand: str) -> list[str]:
    """Registers of a vector operand."""
    count = {"v2": 2, "v4": 4, "v8": 8, "": 1}[i.one_of("v2", "v4", "v8")]
    names = [name.strip() for name in operand.strip("{} ").split(",")] if operand.startswith("{") else [operand]
    if len(names) != count:
        raise EmulatorError(f"has {len(names)} registers where {count} are due")
    return names


def addresses_of(d: Decoder, operand: str) -> Callable[[Values, Threads], Array]:
    """The function that computes the addresses of an operand, one per thread."""
    base, offset = d.address(operand)

    def addresses(values: Values, threads: Threads) -> Array:
        start = values[base]
        if start.ndim == 0:
            return np.full(threads.count, int(start) + offset, np.int64)
        return np.add(start.view(np.int64) if start.itemsize == 8 else start, offset, dtype=np.int64)

    return addresses


@opcode("ld", "ldu")
def load(i: Instruction, d: Decoder) -> Step:
    """Words of memory into registers; narrow ones are extended by their sign or zeros."""
    type_ = i.type()
    constant = i.has("nc")
    access = _qualifiers(i)
    space = access.space
    target, source = i.operands
    columns = _columns(i, target)
    if space == "param":
        if d.is_register(source):
            return _load_parameter_at(d, type_, columns, source)
        variable, offset = d.parameter(source)
        if d.is_kernel_parameter(variable):
            return _load_parameter(d, type_, columns, variable, offset)
        space = "local"
    addresses = addresses_of(d, source)
    targets = [d.target(name, type_, wider=True) for name in columns]
    size, dtype = type_.nbytes, type_.dtype

    def step(values: Values, threads: Threads) -> None:
        found = threads.launch.load(
            space, addresses(values, threads), size, len(targets), threads, strong=access.strong, constant=constant
        )
        for column, slot in enumerate(targets):
            values[slot][...] = found[:, column].view(dtype)

    return access.ordered(step)


def _load_parameter(d: Decoder, type_: PtxType, columns: list[str], variable: Variable, offset: int) -> Step:
    """Parameters of the launch are the same for all threads."""
    start = parameter_offset(d.kernel.parameters, variable) + offset
    size, dtype = type_.nbytes, type_.dtype
    if offset < 0 or offset + size * len(columns) > variable.nbytes or start % size:
        raise EmulatorError(f"reads outside of the parameter {variable.name}, or misaligned")
    targets = [d.target(name, type_, wider=True) for name in columns]

    def step(values: Values, threads: Threads) -> None:
        given = threads.launch.parameters[start : start + size * len(targets)].view(dtype)
        for column, slot in enumerate(targets):
            values[slot][...] = given[column]

    return step


def _load_parameter_at(d: Decoder, type_: PtxType, columns: list[str], source: str) -> Step:
    """Parameters of the launch at computed addresses."""
    addresses, dtype = addresses_of(d, source), type_.dtype
    targets = [d.target(name, type_, wider=True) for name in columns]

    def step(values: Values, threads: Threads) -> None:
        given, start = threads.launch.parameters, addresses(values, threads)
        wrong = (start < 0) | (start + dtype.itemsize * len(targets) > len(given)) | (start % dtype.itemsize != 0)
        if wrong.any():
            raise Fault("reads outside of the parameters, or misaligned", int(np.argmax(wrong)))
        words = given[: len(given) // dtype.itemsize * dtype.itemsize].view(dtype)
        for column, slot in enumerate(targets):
            values[slot][...] = words[start // dtype.itemsize + column]

    return step


@opcode("st")
def store(i: Instruction, d: Decoder) -> Step:
    """Registers into memory; wide registers are truncated."""
    type_ = i.type()
    access = _qualifiers(i)
    space = access.space
    target, source = i.operands
    if space == "param":
        variable, _ = d.parameter(target)
        if d.is_kernel_parameter(variable):
            raise EmulatorError("writes to a parameter of the launch")
        space = "local"
    addresses = addresses_of(d, target)
    word = TYPES[f"b{type_.bits}"] if type_.kind != "pred" else type_
    sources = [d.source(name, type_, wider=True) for name in _columns(i, source)]

    def step(values: Values, threads: Threads) -> None:
        words = np.empty((threads.count, len(sources)), word.dtype)
        for column, slot in enumerate(sources):
            words[:, column] = values[slot].view(word.dtype)
        threads.launch.store(space, addresses(values, threads), words, threads, strong=access.strong)

    return access.ordered(step)


@opcode("prefetch", "prefetchu", "nanosleep")
def nothing(i: Instruction, d: Decoder) -> Step:
    """No operation: there are no caches and no clock."""
    i.unread.clear()
    return lambda values, threads: None


@opcode("membar", "fence")
def fence(i: Instruction, d: Decoder) -> Step:
    """A memory fence: with a fence of the other thread, it orders accesses of different blocks."""
    if "proxy" in i.modifiers or i.operands:
        raise EmulatorError("is not supported")
    i.unread.clear()
    return lambda values, threads: threads.launch.order.fence(threads)


Update = Callable[[Any, Any], Any]


def _wrapping_increment(old: Array, most: Array) -> Array:
    return np.where(old >= most, 0, old + old.dtype.type(1))


def _wrapping_decrement(old: Array, most: Array) -> Array:
    return np.where((old == 0) | (old > most), most, old - old.dtype.type(1))


_UPDATES: dict[str, Update] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "exch": lambda old, given: given,
    "inc": _wrapping_increment,
    "dec": _wrapping_decrement,
    "cas": lambda old, given: given,
}


def _update(name: str, type_: PtxType) -> Update:
    function = _UPDATES[name]
    if not type_.is_float:
        return function
    if name not in {"add", "exch", "cas"} or type_.name == "f32x2":
        raise EmulatorError(f"is not supported with .{name} of {type_.name}")
    if name == "add" and type_.name not in {"f32", "f64"}:
        return lifted(np.add, type_)
    return function


@opcode("atom", "red")
def atomic(i: Instruction, d: Decoder) -> Step:
    """An atomic update, by threads in ascending order, so that results are deterministic."""
    type_ = i.type()
    access = _qualifiers(i)
    space = access.space
    i.has("noftz")
    name = i.one_of(*_UPDATES)
    if not name or space not in {"global", "shared", "generic"} or any(v in i.modifiers for v in ("v2", "v4", "v8")):
        raise EmulatorError("is not supported")
    operands = list(i.operands)
    target = operands.pop(0) if i.opcode == "atom" else "_"
    address, *given = operands
    if len(given) != (2 if name == "cas" else 1):
        raise EmulatorError("has another number of operands than it needs")
    addresses = addresses_of(d, address)
    sources = [d.source(operand, type_) for operand in given]
    out = d.target(target, type_) if target != "_" else None
    update = _update(name, type_)
    flushes = name == "add" and type_.name == "f32" and space != "shared"

    def step(values: Values, threads: Threads) -> None:
        operands = [np.broadcast_to(values[source], (threads.count,)) for source in sources]
        launch = threads.launch
        launch.counters.atomics += threads.count
        for piece in launch.pieces(space, addresses(values, threads), type_.nbytes, threads, "updates"):
            everyone = piece.chosen is None
            given = operands if everyone else [operand[piece.chosen] for operand in operands]
            launch.count_traffic(piece, type_.nbytes, reads=True)
            launch.count_traffic(piece, type_.nbytes, reads=False)
            launch.check_initialised(piece, type_.nbytes)
            launch.note_update(piece, type_.nbytes)
            words = piece.region.view(type_.dtype)
            index = piece.offsets // type_.nbytes
            small = flushes and (_is_small(given[0]) or _is_small(words[index]))
            if out is None and isinstance(update, np.ufunc) and not small:
                update.at(words, index, given[0])
                continue
            old = _in_turns(words, index, _flushed_sum if small else update, given)
            if out is not None:
                values[out][slice(None) if everyone else piece.chosen] = old

    return access.ordered(step)


def _is_small(x: Array) -> bool:
    """Whether some numbers are so small that sums of them may be subnormal."""
    return bool(((x != 0) & (np.abs(x) < _SUMS_ARE_NORMAL)).any())


def _flushed_sum(old: Array, given: Array) -> Array:
    """The sum as the hardware's atomic units compute it for f32 in global memory: always with .ftz."""
    return rounding.flush(rounding.flush(old) + rounding.flush(given))


def _in_turns(words: Array, index: Array, update: Update, given: list[Array]) -> Array:
    """Update words, thread by thread where several update the same one; returns the old values."""
    old: Array = np.empty(len(index), words.dtype)
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(np.append(first, len(index)))
    for turn in range(int(lengths.max())):
        now = order[first[lengths > turn] + turn]
        before = old[now] = words[index[now]]
        if len(given) == 2:
            expected, value = given[0][now], given[1][now]
            word = BITS[words.dtype.itemsize]
            words[index[now]] = np.where(before.view(word) == expected.view(word), value, before)
        else:
            words[index[now]] = update(before, given[0][now])
    return old
