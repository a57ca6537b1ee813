"""Loads and stores of one to many lanes: contiguous, strided, reversed, gathered, masked."""

from __future__ import annotations

from dataclasses import dataclass

from graphad.backends.llvm.scalar import Scalars
from graphad.backends.llvm.text import (
    Code,
    element_type,
    lanes_of,
    offsets_text,
    storage_type,
    suffix,
)
from graphad.ir.frozen import light
from graphad.ir.types import DType


@dataclass(frozen=True, slots=True)
class Lanes:
    """``count`` lanes of which the first ``live`` are active; the others must not access memory.

    Where their number is dynamic, ``register`` holds the mask.
    """

    count: int
    live: int
    register: str = ""

    @property
    def whole(self) -> bool:
        """Whether all lanes are known to be active."""
        return self.live == self.count and not self.register

    @property
    def mask(self) -> str:
        """The mask of active lanes, a vector of i1."""
        if self.register:
            return self.register
        return "<" + ", ".join(f"i1 {int(lane < self.live)}" for lane in range(self.count)) + ">"


@light
class Place:
    """Where lane 0 of an access lies: ``pointer[index]``; lane ``k`` lies ``k * stride + dynamic[k]`` further."""

    pointer: str
    index: str
    stride: int
    dynamic: str | None = None  # a vector of i64
    kind: str = "ptr"  # type of the pointer


class Access:
    """Emits memory accesses into ``code``."""

    def __init__(self, code: Code, scalars: Scalars) -> None:
        self.code = code
        self.scalars = scalars
        self.index_type = "i64"

    def address(self, place: Place, element: str) -> str:
        """Pointer to lane 0 without ``dynamic``; this pointer may lie outside the buffer."""
        if place.index == "0":
            return place.pointer
        inbounds = "inbounds " if place.dynamic is None else ""
        base = f"{place.kind} {place.pointer}"
        return self.code.let(f"getelementptr {inbounds}{element}, {base}, {self.index_type} {place.index}", "at")

    def load_one(self, place: Place, dtype: DType, hint: str) -> str:
        """A scalar."""
        element = storage_type(dtype)
        if element == element_type(dtype):
            return self.code.let(f"load {element}, {place.kind} {self.address(place, element)}", hint)
        raw = self.code.let(f"load {element}, {place.kind} {self.address(place, element)}", "raw")
        return self.scalars.loaded(raw, dtype, 1, hint)

    def store_one(self, place: Place, dtype: DType, value: str) -> None:
        """Store a scalar."""
        element = storage_type(dtype)
        raw = self.scalars.stored(value, dtype, 1)
        self.code.do(f"store {element} {raw}, {place.kind} {self.address(place, element)}")

    def load(self, place: Place, dtype: DType, lanes: Lanes, hint: str) -> str:
        """A vector; inactive lanes read 0."""
        element = storage_type(dtype)
        kind, size = lanes_of(element, lanes.count), dtype.bits // 8
        whole = lanes.whole
        if place.dynamic is None and whole and place.stride in (1, -1):
            pointer = self.address(self._first_of(place, lanes.count), element)
            raw = self.code.let(f"load {kind}, ptr {pointer}, align {size}", hint)
            if place.stride == -1:
                raw = self.code.shuffle(raw, element, lanes.count, list(range(lanes.count))[::-1])
        elif place.dynamic is None and place.stride == 1:
            args = [("ptr", self.address(place, element)), ("i32", str(size)),
                    (lanes_of("i1", lanes.count), lanes.mask), (kind, "zeroinitializer")]  # fmt: skip
            raw = self.code.call(f"llvm.masked.load.{suffix(element, lanes.count)}.p0", kind, args, hint)
        elif place.dynamic is None and whole and place.stride:
            raw = self._loaded_one_by_one(place, element, lanes.count, hint)
        else:
            pointers = self._addresses(place, element, lanes.count)
            args = [(lanes_of("ptr", lanes.count), pointers), ("i32", str(size)),
                    (lanes_of("i1", lanes.count), lanes.mask), (kind, "zeroinitializer")]  # fmt: skip
            name = f"llvm.masked.gather.{suffix(element, lanes.count)}.{suffix('ptr', lanes.count)}"
            raw = self.code.call(name, kind, args, hint)
        return self.scalars.loaded(raw, dtype, lanes.count, hint)

    def store(self, place: Place, dtype: DType, value: str, lanes: Lanes, mask: str | None) -> None:
        """Store the active lanes of a vector, where ``mask`` (a vector of i1) holds if one is given."""
        element = storage_type(dtype)
        kind, bools, size = lanes_of(element, lanes.count), lanes_of("i1", lanes.count), dtype.bits // 8
        raw = self.scalars.stored(value, dtype, lanes.count)
        whole = lanes.whole
        if mask is None:
            where = lanes.mask
        else:
            where = mask if whole else self.code.let(f"and {bools} {mask}, {lanes.mask}", "where")
        if place.dynamic is None and place.stride == -1 and whole and mask is None:
            place = self._first_of(place, lanes.count)
            raw = self.code.shuffle(raw, element, lanes.count, list(range(lanes.count))[::-1])
        if place.dynamic is None and place.stride == 1:
            pointer = self.address(place, element)
            if whole and mask is None:
                self.code.do(f"store {kind} {raw}, ptr {pointer}, align {size}")
                return
            args = [(kind, raw), ("ptr", pointer), ("i32", str(size)), (bools, where)]
            self.code.call(f"llvm.masked.store.{suffix(element, lanes.count)}.p0", "void", args)
            return
        if place.dynamic is None and whole and mask is None and place.stride:
            self._store_one_by_one(place, element, lanes.count, raw)
            return
        pointers = self._addresses(place, element, lanes.count)
        args = [(kind, raw), (lanes_of("ptr", lanes.count), pointers), ("i32", str(size)), (bools, where)]
        name = f"llvm.masked.scatter.{suffix(element, lanes.count)}.{suffix('ptr', lanes.count)}"
        self.code.call(name, "void", args)

    def _loaded_one_by_one(self, place: Place, element: str, lanes: int, hint: str) -> str:
        """A vector whose lanes lie apart: loads and insertions take less time than a gather."""
        kind, found = lanes_of(element, lanes), "poison"
        for lane, pointer in enumerate(self.lanes_apart(place, element, lanes)):
            one = self.code.let(f"load {element}, ptr {pointer}", "one")
            found = self.code.let(f"insertelement {kind} {found}, {element} {one}, i64 {lane}", hint)
        return found

    def _store_one_by_one(self, place: Place, element: str, lanes: int, value: str) -> None:
        """Store the lanes of a vector apart: a scatter takes more time."""
        kind = lanes_of(element, lanes)
        for lane, pointer in enumerate(self.lanes_apart(place, element, lanes)):
            one = self.code.let(f"extractelement {kind} {value}, i64 {lane}", "one")
            self.code.do(f"store {element} {one}, ptr {pointer}")

    def lanes_apart(self, place: Place, element: str, lanes: int, inbounds: bool = True) -> list[str]:
        """A pointer for each lane of a place without ``dynamic``."""
        step = f"getelementptr {'inbounds ' if inbounds else ''}{element}, ptr "
        base = self.address(place, element) if inbounds else self.code.let(f"{step}{place.pointer}, i64 {place.index}")
        return [self.code.let(f"{step}{base}, i64 {k * place.stride}", "lane") if k else base for k in range(lanes)]

    def _first_of(self, place: Place, count: int) -> Place:
        """The place of the lowest address, stride 1, for an access of stride 1 or -1."""
        if place.stride == 1:
            return place
        index = self.code.let(f"sub nsw i64 {place.index}, {count - 1}", "low")
        return Place(place.pointer, index, 1)

    def _addresses(self, place: Place, element: str, lanes: int) -> str:
        """A pointer for every lane."""
        base = self.address(place, element)
        steps = offsets_text(place.stride, lanes)
        if place.dynamic is not None:
            steps = place.dynamic
            if place.stride:
                both = f"add <{lanes} x i64> {place.dynamic}, {offsets_text(place.stride, lanes)}"
                steps = self.code.let(both, "steps")
        # Not inbounds: the addresses of inactive lanes may lie anywhere.
        return self.code.let(f"getelementptr {element}, ptr {base}, <{lanes} x i64> {steps}", "all")
