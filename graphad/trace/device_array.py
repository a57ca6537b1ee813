"""`DeviceArray`: an array in the memory of a device that is not the CPU.

Operations on one run on its device: a single primitive as a program of one equation, a transformed function as one
program. Programs are compiled and run on a higher floor, which registers how by `set_runner`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from graphad.device import Device, Memory
from graphad.errors import GraphadError, LoweringError
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Graph
from graphad.ir.primitive import Primitive
from graphad.ir.types import Aval, Literal, LiteralType, OperandType, aval, b1, dtype_of, literal
from graphad.primitives.layout import broadcast
from graphad.trace import dlpack
from graphad.trace.array import Array, deleted, dtype_of_scalars
from graphad.trace.interop import CPU, export_dlpack
from graphad.trace.source import located, where

NDArray = np.ndarray[Any, Any]
Runner = Callable[[Graph, Sequence[Any]], list[Array]]

_NO_WAIT: Final = -1  # for `stream`: the consumer synchronizes by itself

_runner: list[Runner] = []


def set_runner(run: Runner) -> None:
    """Register how a graph is run on arrays of which some are on a device; the results are there as well."""
    _runner[:] = [run]


def run_on_device(graph: Graph, operands: Sequence[Any]) -> list[Array]:
    """The outputs of ``graph`` on arrays, on the device where some of them are."""
    return _runner[0](graph, operands)


def any_on_device(xs: Sequence[Any]) -> bool:
    """Whether one of ``xs`` is a `DeviceArray`."""
    return any([type(x) is DeviceArray for x in xs])


class DeviceArray(Array):
    """An `Array` on a GPU, or on the emulated one. Made by `graphad.device_put` and by programs that run there.

    It is committed to its device: what is computed from it is computed there, and operands on another device are
    refused. Its value comes to the CPU when Python looks at it (``np.asarray(x)``, ``float(x)``, printing), once.
    Pickled, it becomes an array on the CPU.
    """

    __slots__ = ("_aval", "_host", "memory")
    takes_over = True

    memory: Memory
    _aval: Aval
    _host: NDArray | None

    def __init__(self, memory: Memory, a: Aval, weak_type: bool = False) -> None:
        self.memory = memory
        self.weak_type = weak_type
        self._aval = a
        self._host = None

    # --- properties: known without a download

    @property
    def aval(self) -> Aval:
        return self._aval

    @property
    def shape(self) -> tuple[int, ...]:
        return self._aval.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._aval.dtype.numpy

    @property
    def ndim(self) -> int:
        return len(self._aval.shape)

    @property
    def size(self) -> int:
        return self._aval.size

    @property
    def nbytes(self) -> int:
        return self._aval.size * self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def device(self) -> Device:
        return self.memory.device

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{where()}len() of an array without axes")
        return self.shape[0]

    def as_weak(self, weak_type: bool) -> DeviceArray:
        """The same memory, its dtype marked weak or not."""
        return DeviceArray(self.memory, self._aval, weak_type)

    # --- the value, on the CPU

    @property
    def _value(self) -> NDArray:  # pyright: ignore[reportIncompatibleVariableOverride] (the slot of an Array)
        memory = self.memory
        if self._host is None:
            host = np.empty(self.shape, self.dtype)
            memory.download(host)
            host.flags.writeable = False
            self._host = host
        return self._host

    def block_until_ready(self) -> Array:
        """The array itself, when all work of its device has ended."""
        self.memory.synchronize()
        return self

    def delete(self) -> None:
        if not self.is_deleted():
            del self.memory
            self._host = None

    def is_deleted(self) -> bool:
        try:
            _ = self.memory
        except GraphadError:
            return True
        return False

    if not TYPE_CHECKING:  # it would give every misspelt name a type

        def __getattr__(self, name: str) -> Any:  # only of what is not there
            if name == "memory":
                raise deleted()
            return super().__getattr__(name)

    # --- to other libraries

    def __dlpack__(  # pyright: ignore[reportIncompatibleMethodOverride] (that of Array leaves the names to NumPy)
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        """The memory itself, which the other library must not write to; for a consumer on the CPU a copy."""
        if dl_device == CPU:
            if copy is False:
                raise BufferError(f"{where()}__dlpack__(copy=False): this array is on {self.device}, not on the CPU")
            return export_dlpack(self._value, max_version=max_version, copy=copy)
        place = self.memory.dlpack_device
        if place is None:
            owner = "the emulator's own" if self.device.is_emulated else "its own"
            raise BufferError(
                f"{where()}__dlpack__: the memory of {self.device} is {owner}, and no other library can read it. "
                "Pass np.asarray(x)."
            )
        if dl_device not in (None, place):
            raise BufferError(f"{where()}__dlpack__: this array is on {self.device}, and is not copied to {dl_device}")
        x = self.copied() if copy else self
        if stream != _NO_WAIT:
            x.memory.synchronize()
        x.memory.lend()
        versioned = max_version is not None and max_version >= (1, 0)
        return dlpack.capsule(x.memory.address, place, self._aval.dtype, self.shape, x.memory, versioned=versioned)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.memory.dlpack_device or (dlpack.KDL_EXTENSION, 0)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        of_cuda = self.__dlpack_device__()[0] == dlpack.KDL_CUDA
        if not of_cuda or self.dtype.kind == "V":  # bfloat16: the protocol has no code for it
            raise AttributeError("__cuda_array_interface__")
        self.memory.synchronize()
        self.memory.lend()
        address = self.memory.address if self.size else 0
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (address, True), "version": 3, "stream": None}

    def copied(self) -> DeviceArray:
        """A copy."""
        (copy,) = run_on_device(Graph((self._aval,), 1, (), (0,), (self.weak_type,), name="copy"), [self])
        return copy  # pyright: ignore[reportReturnType] (what runs on a device is on a device)

    # --- computing with it

    def __emit__(
        self, primitive: Primitive, operands: Sequence[Any], params: tuple[Any, ...], regions: tuple[Graph, ...] = ()
    ) -> Any:
        for x in operands:
            if getattr(type(x), "is_tracer", False):
                return x.__emit__(primitive, operands, params, regions)
        types, arrays = _typed(primitive, operands)
        try:
            graph = _equation(primitive, types, params, regions)
        except (TypeError, ValueError) as error:
            raise located(error) from None
        try:
            results = run_on_device(graph, arrays)
        except LoweringError as error:
            raise located(error) from None
        if primitive.multiple:
            return results
        return results[0] if results else None


def _typed(
    primitive: Primitive, operands: Sequence[Any]
) -> tuple[tuple[OperandType | Literal, ...], list[Array | NDArray]]:
    """The types of ``operands``, and the arrays that the program takes.

    Numbers are constants of the program, but for those of elementwise primitives: it takes them as arrays without axes,
    so that it is compiled once for ``p - lr * g`` with a ``lr`` that changes. Booleans are constants everywhere.
    """
    types: list[OperandType | Literal] = []
    arrays: list[Array | NDArray] = []
    for x in operands:
        if isinstance(x, (Array, np.ndarray)):
            types.append(aval(x.shape, dtype_of(x.dtype)))
            arrays.append(x)
            continue
        number = x if type(x) is Literal else literal(x, dtype_of_scalars(primitive, operands))
        if primitive.elementwise and number.dtype is not b1:
            types.append(number.type)
            arrays.append(np.asarray(number.value))
        else:
            types.append(number)
    return tuple(types), arrays


@lru_cache(1024)
def _equation(
    primitive: Primitive,
    types: tuple[OperandType | Literal, ...],
    params: tuple[Any, ...],
    regions: tuple[Graph, ...],
) -> Graph:
    """The graph of one equation. Its inputs are the operands that are no literals; numbers are broadcast."""
    builder = Builder()
    atoms: list[Atom] = [t if isinstance(t, Literal) else builder.input(aval(t.shape, t.dtype)) for t in types]
    if LiteralType in map(type, types):
        seen = tuple([t.type if isinstance(t, Literal) else t for t in types])
        shape = primitive.infer(seen, params, regions)[0].shape
        for k, t in enumerate(types):
            if type(t) is LiteralType and shape:
                (atoms[k],) = builder.emit(broadcast, (atoms[k],), (shape, ()))
    outputs = builder.emit(primitive, tuple(atoms), params, regions)
    return builder.close(outputs, name=primitive.name)
